"""What happens to a store where one leads, and what it wants to be done."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from haagent.core.messages import Ballot
from haagent.core.store.effects import Effect
from haagent.core.store.events import HangUp, Linked, Note, Unlinked, Woke
from haagent.core.store.strong.messages import Message
from haagent.core.store.strong.record import Record


class StrongSettings(msgspec.Struct, frozen=True, kw_only=True):
    me: str
    sync_timeout_s: float = 0.5
    backlog_bytes: int = 64 * 1024 * 1024
    window_bytes: int = 1024 * 1024  # under way to one peer


# Events, beside Linked, Unlinked and Woke

Key = tuple[int, bytes]  # a database, and what is in it


class Received(NamedTuple):
    peer: str
    message: Message


class Appointed(NamedTuple):
    """This life leads: its lease holds until then, and it is in the record that was agreed to."""

    record: Record
    until: float


class Renewed(NamedTuple):
    until: float


class Agreed(NamedTuple):
    """To what was proposed, or to something older."""

    record: Record


class Dismissed(NamedTuple):
    """The lease is over."""


class Wrote(NamedTuple):
    """What a command has changed, while this store serves."""

    effects: list[Effect]
    ticket: int


class Looked(NamedTuple):
    """What a command has told of, without changing anything; None: of all keys."""

    keys: list[Key] | None
    ticket: int


Event = Linked | Unlinked | Received | Appointed | Renewed | Agreed | Dismissed | Wrote | Looked | Woke


# Actions, beside HangUp and Note


class Send(NamedTuple):
    peer: str
    message: Message


class Outcome(Enum):
    SAFE = "everybody has it that may lead"
    UNKNOWN = "this store leads no more: it may come to be, or not"


class Answer(NamedTuple):
    ticket: int
    outcome: Outcome


class Propose(NamedTuple):
    """These should be the members."""

    epoch: Ballot
    version: int
    members: dict[str, int]


Action = Send | HangUp | Answer | Propose | Note
