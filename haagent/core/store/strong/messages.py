"""What stores say to each other where one leads. `epoch` is the ballot of its lease.

As in messages.py beside: `array_like`, and append only.
"""

from __future__ import annotations

import msgspec

from haagent.core.messages import Ballot
from haagent.core.store.effects import Effect


class Lead(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """I lead. Who hears it obeys nobody of an older epoch, and says where it stands."""

    epoch: Ballot
    turn: int  # how often I have asked you so


class Stand(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """So far I have followed, the latest of it in the epoch `within`. Without `since` I lack something of before."""

    epoch: Ballot
    turn: int  # of the question
    index: int
    since: Ballot | None
    within: Ballot | None


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """You have more than I, who lead: give me what comes after this."""

    epoch: Ballot
    after: int


class Fetched(msgspec.Struct, frozen=True, array_like=True, tag=35):
    epoch: Ballot
    after: int
    entries: list[list[Effect]]


class Entries(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """What follows this number; up to `safe` all have it that may lead."""

    epoch: Ballot
    after: int
    entries: list[list[Effect]]
    safe: int


class Got(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """All up to this is here."""

    epoch: Ballot
    index: int


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """Forget all. What was up to this follows in parts, and the rest as to everybody."""

    epoch: Ballot
    index: int


class Part(msgspec.Struct, frozen=True, array_like=True, tag=39):
    epoch: Ballot
    effects: list[Effect]
    since: Ballot | None = None  # with the last part: now it is whole, and of that beginning


class Took(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """The part is here."""

    epoch: Ballot


Message = Lead | Stand | Fetch | Fetched | Entries | Got | Begin | Part | Took
