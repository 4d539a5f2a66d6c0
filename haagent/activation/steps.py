"""The steps of the pipeline. A step does its work at once, or says what is to be awaited.

`take` and `drop` return None when the work is done, or a `Later` when something outside must answer first. Both are
idempotent. A step that fails raises one of `FAULTS`, at once or from its `Later`.

A step that `shuts` is one whose drop stops the traffic: those are dropped first, and what they report is `Dropped`.
The units of a later release are further members of the tuple, in the order of design section 7.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from haagent.activation.ports import Clock, FencePort, GatePort, HostPort
from haagent.address.facts import AddressError, Vip
from haagent.backends import BackendError
from haagent.contained import Broke
from haagent.core.messages import Ballot
from haagent.fencing import FenceError
from haagent.gate import GateError, GateState

Later = Callable[[], Awaitable[None]]
FAULTS = (AddressError, BackendError, Broke, FenceError, GateError)

AHEAD_S = 1.0  # how long before the take addresses may be there, behind a shut gate
SPARE_S = 1  # the kernel counts whole seconds and looks now and then: it must not be earlier than we are
SHORTEST_S = 2  # and 1 was measured to end as early as 1.01 s


class Tenure(msgspec.Struct):
    """The right to hold, as last told by the core."""

    ballot: Ballot
    until: float
    vanished: tuple[str, ...] = ()  # members that may still serve: to be fenced before anything else


class Step(Protocol):
    name: str
    shuts: bool

    @property
    def timeout_s(self) -> float: ...

    def take(self, tenure: Tenure) -> Later | None: ...
    def drop(self, ballot: Ballot) -> Later | None: ...


class FenceStep:
    """Who vanished is made sure to be down. Nothing to undo, and no traffic before it is done."""

    name = "fence"
    shuts = False

    def __init__(self, fences: FencePort) -> None:
        self._fences = fences

    @property
    def timeout_s(self) -> float:
        return self._fences.timeout_s

    def take(self, tenure: Tenure) -> Later | None:
        if not tenure.vanished:
            return None
        return lambda: self._fences.fence_all(tenure.vanished)

    def drop(self, ballot: Ballot) -> Later | None:
        return None


class AddressStep:
    """The addresses in the kernel, with a lifetime a little longer than the lease."""

    name = "address"
    timeout_s = 1.0  # synchronous: netlink answers before the call returns
    shuts = True

    def __init__(self, vips: Sequence[Vip], host: HostPort, now: Clock) -> None:
        self._vips = tuple(vips)
        self._host = host
        self._now = now
        self._ahead_until = 0.0  # the addresses have just been added

    def prepare(self) -> None:
        """The take is expected soon, and traffic is kept off meanwhile."""
        self._host.add(self._vips, lifetime_s(2 * AHEAD_S))
        self._ahead_until = self._now() + AHEAD_S

    def take(self, tenure: Tenure) -> Later | None:
        if self._now() >= self._ahead_until:
            self._host.add(self._vips, lifetime_s(tenure.until - self._now()))
        self._ahead_until = 0.0
        return None

    def drop(self, ballot: Ballot) -> Later | None:
        self._ahead_until = 0.0
        self._host.remove(self._vips)
        return None


class Leftover:
    """Addresses that the configuration has taken from a group: they go, however often that has to be tried."""

    def __init__(self, vips: Sequence[Vip], host: HostPort, gate: GatePort) -> None:
        self.vips = tuple(vips)
        self._packed = tuple(vip.packed for vip in vips)
        self._host, self._gate = host, gate

    def drop(self) -> None:
        self._gate.shut(self._packed)
        self._host.remove(self.vips)

    @property
    def is_silent(self) -> bool:
        """No traffic can arrive, although they are there."""
        return self._gate.holds_back(self._packed)


class GateStep:
    """The kernel lets traffic to the addresses through, for as long as the lease lasts and no longer."""

    name = "gate"
    timeout_s = 1.0  # synchronous
    shuts = True

    def __init__(self, vips: Sequence[Vip], gate: GatePort) -> None:
        self._addresses = tuple(vip.packed for vip in vips)
        self._gate = gate

    def take(self, tenure: Tenure) -> Later | None:
        self._gate.open(self._addresses, tenure.until)
        return None

    def drop(self, ballot: Ballot) -> Later | None:
        self._gate.shut(self._addresses)
        return None

    def rehearse(self) -> None:
        self._gate.rehearse()

    def renew(self, until: float) -> None:
        """Of a gate that is open. It opens none."""
        self._gate.renew(self._addresses, until)

    @property
    def is_proof(self) -> bool:
        """No traffic can arrive, whatever else could not be undone."""
        return self._gate.holds_back(self._addresses)

    @property
    def state(self) -> tuple[GateState, str]:
        return self._gate.state(self._addresses)


def lifetime_s(remaining_s: float) -> int:
    return max(SHORTEST_S, math.ceil(remaining_s) + SPARE_S)
