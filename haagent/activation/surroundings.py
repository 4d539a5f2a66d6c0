"""What all groups of a node have around them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from haagent.core.event_kinds import Note
from haagent.core.events import AnyEvent
from haagent.fencing import Fences
from haagent.gate import Gate, NoGate
from haagent.kernel.host import Host
from haagent.kernel.layouts import Layouts

Post = Callable[[AnyEvent], None]  # enqueues; never runs the core from inside
Clock = Callable[[], float]  # seconds of the host's counter (`agent.clock`)
AnyGate = Gate | NoGate


class Surroundings(msgspec.Struct, frozen=True):
    cluster: str
    node: str
    post: Post
    note: Note
    now: Clock
    host: Host
    gate: AnyGate
    fences: Fences
    layouts: Layouts
