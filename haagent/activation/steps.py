"""The steps of every group, in the order of design section 7: fence, address, gate; then its backend (`steer`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from haagent.activation.share import Share
from haagent.activation.step import Later, Step, Tenure
from haagent.activation.surroundings import AnyGate, Clock
from haagent.core.messages import Ballot
from haagent.fencing import FenceError, Fences
from haagent.gate import GateError
from haagent.kernel.facts import AddressError, Vip
from haagent.kernel.host import Host

AHEAD_S = 1.0  # how long before the take addresses may be there, behind a shut gate
SPARE_S = 1  # the kernel counts whole seconds and looks now and then: it must not be earlier than we are
SHORTEST_S = 2  # and 1 was measured to end as early as 1.01 s


class FenceStep(Step):
    """Who vanished is made sure to be down. Nothing to undo, and no traffic before it is done."""

    name = "fence"
    faults = (FenceError,)

    def __init__(self, fences: Fences) -> None:
        self._fences = fences

    @property
    def timeout_s(self) -> float:
        return self._fences.timeout_s

    def take(self, tenure: Tenure) -> Later | None:
        if not tenure.vanished:
            return None
        return lambda: self._fences.fence_all(tenure.vanished)


class AddressStep(Step):
    """The addresses in the kernel, with a lifetime a little longer than the lease."""

    name = "address"
    faults = (AddressError,)
    shuts = True

    def __init__(self, share: Share, host: Host, now: Clock) -> None:
        self._share = share
        self._host = host
        self._now = now
        self._ahead_until = 0.0  # these addresses have just been added
        self._ahead: tuple[Vip, ...] = ()

    def take_ahead(self) -> None:
        self._ahead = self._share.served
        self._host.add(self._ahead, lifetime_s(2 * AHEAD_S))
        self._ahead_until = self._now() + AHEAD_S

    def take(self, tenure: Tenure) -> Later | None:
        if self._share.withheld:
            self._host.remove(self._share.withheld)
        if self._share.served != self._ahead or self._now() >= self._ahead_until:
            self._host.add(self._share.served, lifetime_s(tenure.until - self._now()))
        self._ahead_until = 0.0
        return None

    def drop(self, ballot: Ballot) -> Later | None:
        self._ahead_until = 0.0
        self._host.remove(self._share.every)
        return None


class GateStep(Step):
    """The kernel lets traffic to the addresses through, for as long as the lease lasts and no longer."""

    name = "gate"
    faults = (GateError,)
    shuts = True

    def __init__(self, share: Share, gate: AnyGate) -> None:
        self._share, self._gate = share, gate

    def take(self, tenure: Tenure) -> Later | None:
        if self._share.withheld:
            self._gate.shut(self._share.withheld_packed)
        self._gate.open(self._share.served_packed, tenure.until)
        return None

    def drop(self, ballot: Ballot) -> Later | None:
        self._gate.shut(self._share.every_packed)
        return None

    def rehearse(self) -> None:
        self._gate.rehearse()

    def renew(self, until: float) -> None:
        """Of a gate that is open. It opens none."""
        self._gate.renew(self._share.served_packed, until)

    @property
    def is_proof(self) -> bool:
        return self._gate.holds_back(self._share.every_packed)

    def facts(self) -> Mapping[str, Any]:
        state, why = self._gate.state(self._share.served_packed)
        return {"gate": {"state": str(state), "why": why}}


class Leftover(Step):
    """Addresses that the configuration has taken from a group: they go, however often that has to be tried."""

    name = "leftover"
    faults = (AddressError, GateError)
    shuts = True

    def __init__(self, vips: Sequence[Vip], host: Host, gate: AnyGate) -> None:
        self.vips = tuple(vips)
        self._packed = tuple(vip.packed for vip in vips)
        self._host, self._gate = host, gate

    def without(self, packed: Collection[bytes]) -> Leftover:
        return Leftover([vip for vip in self.vips if vip.packed not in packed], self._host, self._gate)

    def drop(self, ballot: Ballot) -> Later | None:
        self._gate.shut(self._packed)
        self._host.remove(self.vips)
        return None

    @property
    def is_proof(self) -> bool:
        return self._gate.holds_back(self._packed)


def lifetime_s(remaining_s: float) -> int:
    return max(SHORTEST_S, math.ceil(remaining_s) + SPARE_S)
