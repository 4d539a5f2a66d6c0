"""What all guards of a node have around them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from haagent.core.event_kinds import Note
from haagent.core.events import GatewayChanged, Guarded
from haagent.kernel.layouts import Layouts
from haagent.kernel.links import Links


class Surroundings(msgspec.Struct, frozen=True):
    lease_s: float
    links: Links
    layouts: Layouts
    is_held: Callable[[str], bool]
    defend: Callable[[str], None]
    post: Callable[[Guarded | GatewayChanged], None]
    note: Note
    now: Callable[[], float]  # the agent's clock
    is_withheld: Callable[[str, bytes], bool] = lambda group, address: False  # another node may serve it
