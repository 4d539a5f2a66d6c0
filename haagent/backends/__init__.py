"""Backends steer clients to the holder of a group: by ARP, a route table, a DNS record, a load balancer.

The contract, for whoever writes one:

- The class has `Options`, a section of the configuration (config/schema.py); it is what the group's `backend:` may
  contain beside `kind`. `Backend(context, options)` is called once per group. It must not block, connect or
  import anything slow.
- `open` is awaited once at start, before anything is taken: load libraries, open sockets, build messages.
- `take` returns when clients are steered here, or raises `BackendError` with the cause in words for an operator.
  `drop` returns when they are not steered here by us any more. `holds` asks the world (the cloud, the kernel), not
  a memory.
- Every call is idempotent, and may be repeated at any time: taking what is held succeeds.
- `take` may be cancelled at any await, when the lease is lost. It need not undo anything then: `drop` follows. A
  take that reached the provider late is found by `holds` and undone by that `drop`, so `drop` must not trust what
  `take` remembered.
- Calls of one group never overlap, whatever was cancelled; calls of different groups do. Nothing here delays a
  heartbeat or another group, provided that the coroutines await and do not block the loop.
- A ballot comes with `take` and `drop`. It grows with every change of holder in the whole cluster: where the
  provider has a conditional write, store it and refuse a smaller one, and a paused host cannot steal the address
  afterwards.
- Traffic stops at this host's own address: `Dropped` is reported before `drop` of a backend has even begun. What
  clients notice of a slow `drop` is only what the successor's `take` does not repair.
- Every call is given `timeout_s` seconds and then cancelled; a take that ran out of time has failed.

A backend whose whole work is to send bytes that lie ready may also be `Immediate`. Then its work is done inside
the turn of the loop in which the lease was won, and its coroutines are not used on that path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from haagent.config.plugins import BACKENDS
from haagent.core.event_kinds import Remark
from haagent.core.messages import Ballot
from haagent.kernel.facts import IpAddress, IpInterface, Link
from haagent.kernel.layouts import Layouts
from haagent.plugins import finding


class BackendError(Exception):
    """The backend could not do it. The text is for an operator: what, and what to do."""


class Context(msgspec.Struct, frozen=True):
    """What a backend is told of its group."""

    cluster: str
    node: str
    group: str
    interface: str
    addresses: tuple[IpInterface, ...]
    note: Remark  # a line of this node's history, of a kind that `core.event_kinds` declares
    layouts: Layouts  # of frames for the neighbours
    may_announce: Callable[[], bool] = lambda: True  # False: the lease is over, whatever a timer still wants to say
    serves: Callable[[IpAddress], bool] = lambda _: True  # False: of `addresses` this one is still with another node


class Backend(Protocol):
    Options: ClassVar[type[msgspec.Struct]]
    timeout_s: float

    def __init__(self, context: Context, options: Any) -> None: ...

    async def open(self) -> None: ...
    async def take(self, ballot: Ballot) -> None: ...
    async def drop(self, ballot: Ballot) -> None: ...
    async def holds(self) -> bool: ...
    async def close(self) -> None: ...


@runtime_checkable
class Immediate(Protocol):
    """A backend that needs no waiting: microseconds on this host's own links."""

    def take_now(self, ballot: Ballot) -> None: ...
    def drop_now(self, ballot: Ballot) -> None: ...
    def announce(self) -> None:
        """Tell the neighbours again, at once: a rival was heard, or an address was put back."""

    def link_changed(self, link: Link | None) -> None:
        """The group's interface appeared, changed (carrier, hardware address) or went (None)."""


def find(kind: str) -> type[Backend]:
    """Raises `plugins.UnknownKind` or `plugins.PluginBroken`."""
    return finding.load(BACKENDS, kind)
