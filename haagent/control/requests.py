"""What may be asked over the control socket. A line that is not exactly one of these is answered with an error.

Lengths are bounded here so that nothing a client wrote reaches the core, the log or another client at any length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from haagent.control.client import ControlError
from haagent.core.event_kinds import Severity
from haagent.core.limits import MAX_NAME, MAX_RECORDS

MAX_WAIT_S = 3600.0

Word = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
WaitS = Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    pass


class Status(Request, frozen=True, tag="status"):
    pass


class Counters(Request, frozen=True, tag="counters"):
    pass


class Reload(Request, frozen=True, tag="reload"):
    pass


class Failover(Request, frozen=True, tag="failover"):
    to: Word
    group: Word = ""  # empty: the only one there is
    wait_s: WaitS = 10.0  # 0: give the order and do not wait
    force: bool = False


class Standby(Request, frozen=True, tag="standby"):
    node: Word
    wait_s: WaitS = 10.0


class Unstandby(Request, frozen=True, tag="unstandby"):
    node: Word


class Maintenance(Request, frozen=True, tag="maintenance"):
    on: bool
    force: bool = False


class Clear(Request, frozen=True, tag="clear"):
    group: Word = ""  # empty: all


class Fence(Request, frozen=True, tag="fence"):
    node: Word
    wait_s: WaitS = 60.0  # how long the client waits; the agent has its own limit


class ConfirmDown(Request, frozen=True, tag="confirm-down"):
    node: Word


class Events(Request, frozen=True, tag="events"):
    follow: bool = False
    group: Word = ""
    severity: Severity = Severity.INFO  # and what is graver
    last: Annotated[int, msgspec.Meta(ge=0, le=100 * MAX_RECORDS)] = 50  # 0: all


class SaveTrace(Request, frozen=True, tag="trace"):
    pass


AnyRequest = (
    Status
    | Counters
    | Reload
    | Failover
    | Standby
    | Unstandby
    | Maintenance
    | Clear
    | Events
    | SaveTrace
    | Fence
    | ConfirmDown
)


class Listener(msgspec.Struct, frozen=True):
    """The client that asked, as far as a command that takes its time needs it."""

    say: Callable[[str], Awaitable[None]]  # a progress line
    tell: Callable[[dict[str, object]], Awaitable[None]]  # an event
    is_leaving: Callable[[], bool]  # it sends nothing more; whether it still reads, only writing to it shows


class Refusal(ControlError):
    """The request cannot be done: what the client will raise, at this end."""
