"""What whoever decides about a group wants done to its state, and why. `election` does it, or refuses."""

from __future__ import annotations

import msgspec


class LetGo(msgspec.Struct, frozen=True):
    why: str
    yield_to: str = ""


class HandOver(msgspec.Struct, frozen=True):
    """Name a successor, and go on serving until it is ready."""

    to: str
    patience_s: float
    why: str = ""  # where neither an order nor `prefer` says it


class Stay(msgspec.Struct, frozen=True):
    """The successor did not get ready."""


class StepBack(msgspec.Struct, frozen=True):
    """Somebody else is ahead, or was."""


class RaiseBallot(msgspec.Struct, frozen=True):
    """Go on with a ballot above all that was seen."""


Want = LetGo | HandOver | Stay | StepBack | RaiseBallot
