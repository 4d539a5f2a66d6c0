"""The contract of a step: one thing that has to be so while a group is active here, and not otherwise.

A step does its work at once, or says what is to be awaited: `take` and `drop` return None when the work is done, or a
`Later` when something outside must answer first. Both are idempotent, and may come again at any time. A `take` may be
cancelled at any await; `drop` follows. What fails raises one of the step's own `faults`, at once or from its `Later`;
anything else that it raises is a bug of this agent. The pipeline puts the step's name before each fault.

Only `name` is needed; everything else has a default that does nothing. The pipeline asks no step what it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from haagent.core.messages import Ballot

Later = Callable[[], Awaitable[None]]
NO_BALLOT = Ballot(0, "")


class Tenure(msgspec.Struct):
    """The right to hold, as last told by the core."""

    ballot: Ballot
    until: float
    vanished: tuple[str, ...] = ()  # members that may still serve: to be fenced before anything else


class Step:
    name: str
    faults: tuple[type[Exception], ...] = ()
    shuts = False  # its drop stops the traffic: those are dropped first, and `Dropped` is said when all are

    @property
    def timeout_s(self) -> float:
        """Of each `Later`, which has failed then."""
        return 1.0

    def take(self, tenure: Tenure) -> Later | None:
        return None

    def drop(self, ballot: Ballot) -> Later | None:
        """Of a step that shuts: at once."""
        return None

    @property
    def is_proof(self) -> bool:
        """It is dropped, and while it is no traffic arrives, whatever other steps could not undo."""
        return False

    def rehearse(self) -> None:
        """A take or a drop is expected within milliseconds: what makes no difference to anybody may be done now."""

    def take_ahead(self) -> None:
        """The take is expected within milliseconds, and another step proves that no traffic arrives until then."""

    def retire(self, ballot: Ballot) -> None:
        """Another configuration is in force: what is there stays, and nothing is said or repeated by this step."""

    def renew(self, until: float) -> None:
        """The lease has been renewed. With every heartbeat: as quick as can be."""

    def announce(self) -> bool:
        """Say again that it is so, at once: a rival was heard. False: there is nothing to say; `verify` instead."""
        return False

    @property
    def is_asked(self) -> bool:
        """Whether `verify` asks anybody."""
        return False

    async def verify(self, ballot: Ballot) -> bool:
        """Ask whether it is still so. False: it was not, and has been taken again."""
        return True

    def facts(self) -> Mapping[str, Any]:
        """Sections of its own in the group's status."""
        return {}
