"""Which faults, on whom, when: drawn from a seed and nothing else. Pure.

An episode is one fault, or two at once. Episodes come from a deck that is shuffled and dealt: every fault hits the
holder once per deck, some hit a node that holds nothing (which must move nothing), and some come in pairs. So a
campaign of any length has tried everything about equally often, and the order is the seed's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec

BYSTANDERS = 8  # episodes per deck in which a node is hit that holds nothing
PAIRS = 12  # episodes per deck with two faults at once


class Mode(Enum):
    CONSISTENT = "consistent"  # two nodes and a witness: at most one answers, whatever happens
    AVAILABLE = "available"  # two nodes: at most one answers as long as nothing is cut or lost


class Kind(Enum):
    """What a fault does to, which says what may not be combined on one node."""

    LIFE = "processes end and begin"
    PAUSE = "processes stand still"
    NETWORK = "frames do not arrive"
    HOST = "all of it"
    STATE = "somebody meddles with the host"
    CLOCK = "the clock and the hardware counter part"
    NAME = "two hosts have one name"
    ORDER = "an operator's order"
    FILE = "an operator edits files"


class Fault(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    splits: bool = False  # nodes that run may not hear each other: nothing for `available`
    needs_guardian: bool = False
    needs_clock: bool = False  # the agents' wall clock must be ours to step
    needs_rtnl: bool = False  # the kernel's lock must be ours to hold
    holder_only: bool = False
    is_wide: bool = False  # there is no second one at the same time, wherever it hits


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("agent killed", Kind.LIFE),
        Fault("guardian killed", Kind.LIFE, needs_guardian=True),
        Fault("agent and guardian killed", Kind.LIFE, needs_guardian=True),
        Fault("agent restarted", Kind.LIFE),
        Fault("agent frozen", Kind.PAUSE),
        Fault("everything frozen", Kind.PAUSE, needs_guardian=True),
        Fault("host lost", Kind.HOST),
        Fault("link down", Kind.NETWORK),
        Fault("cut from the nodes", Kind.NETWORK, splits=True),
        Fault("deaf to the nodes", Kind.NETWORK, splits=True),
        Fault("mute to the nodes", Kind.NETWORK, splits=True),
        Fault("cut from everybody", Kind.NETWORK, splits=True),
        Fault("frames lost", Kind.NETWORK, splits=True),
        Fault("rules flushed", Kind.STATE),
        Fault("address removed", Kind.STATE, holder_only=True),
        Fault("clock stepped", Kind.STATE, needs_clock=True),
        Fault("clock steered", Kind.CLOCK, holder_only=True),
        Fault("clock steered too far", Kind.CLOCK),
        Fault("RTNL held", Kind.STATE, needs_rtnl=True, holder_only=True, is_wide=True),
        Fault("twin started", Kind.NAME, is_wide=True),
        Fault("planned move", Kind.ORDER, holder_only=True),
        Fault("hook hung", Kind.ORDER, holder_only=True, is_wide=True),
        Fault("one node reloaded", Kind.FILE),
        Fault("addresses swapped", Kind.FILE, is_wide=True),
    )
}


SWAP = "addresses swapped"
STEERED_PERCENT = {"clock steered": (5.0, 9.9), "clock steered too far": (12.0, 15.0, 30.0)}


class Strike(msgspec.Struct, frozen=True):
    """One fault, aimed. `amount`: percent of frames lost or of steering; seconds of a clock step or of a hold."""

    fault: str
    role: str  # of the node: holder, other, witness
    after_s: float  # since the episode began
    lasts_s: float
    amount: float = 0.0


class Chances(msgspec.Struct, frozen=True):
    """What can be done in this campaign."""

    mode: Mode
    lease_s: float
    has_guardian: bool = True
    has_clock: bool = True
    has_rtnl: bool = True
    only: tuple[str, ...] = ()

    def faults(self) -> list[Fault]:
        return [fault for fault in FAULTS.values() if self._allows(fault)]

    def _allows(self, fault: Fault) -> bool:
        return (
            (not self.only or fault.name in self.only)
            and (self.has_guardian or not fault.needs_guardian)
            and (self.has_clock or not fault.needs_clock)
            and (self.has_rtnl or not fault.needs_rtnl)
            and (self.mode is Mode.CONSISTENT or not fault.splits)
        )

    @property
    def bystanders(self) -> tuple[str, ...]:
        return ("other", "witness") if self.mode is Mode.CONSISTENT else ("other",)


def episodes(rng: random.Random, chances: Chances) -> Iterator[tuple[Strike, ...]]:
    """Without end."""
    faults = chances.faults()
    while True:
        deck: list[tuple[Strike, ...]] = [(_strike(rng, fault, "holder", chances.lease_s),) for fault in faults]
        anywhere = [fault for fault in faults if not fault.holder_only]
        if anywhere:
            for _ in range(min(BYSTANDERS, len(anywhere))):
                role = rng.choice(chances.bystanders)
                deck.append((_strike(rng, rng.choice(anywhere), role, chances.lease_s),))
        if len(faults) > 1:
            deck += [_pair(rng, faults, chances) for _ in range(min(PAIRS, len(faults)))]
        rng.shuffle(deck)
        yield from deck


def _pair(rng: random.Random, faults: Sequence[Fault], chances: Chances) -> tuple[Strike, ...]:
    """Two that may be combined; the second begins while the first has just begun, most of the time."""
    while True:
        first, second = rng.choice(faults), rng.choice(faults)
        roles = [
            "holder" if fault.holder_only else rng.choice(("holder", *chances.bystanders)) for fault in (first, second)
        ]
        if not may_meet(first, second, is_same_node=roles[0] == roles[1]):
            continue
        one = _strike(rng, first, roles[0], chances.lease_s)
        other = _strike(rng, second, roles[1], chances.lease_s)
        after_s = rng.choice((0.0, rng.uniform(0.0, 2 * chances.lease_s)))
        return (one, msgspec.structs.replace(other, after_s=round(after_s, 3)))


def may_meet(first: Fault, second: Fault, *, is_same_node: bool) -> bool:
    """Not twice the same kind on one node, and nothing more for a node whose host is lost.

    Rules that are flushed while the agent does not run stay flushed: somebody else has opened the gate then, and
    nothing is promised.
    """
    if (first is second and first.is_wide) or first.kind is second.kind is Kind.CLOCK:
        return False
    if not is_same_node:
        return True
    kinds = {first.kind, second.kind}
    flushed = "rules flushed" in (first.name, second.name)
    return len(kinds) == 2 and Kind.HOST not in kinds and not (flushed and kinds & {Kind.LIFE, Kind.PAUSE})


def _strike(rng: random.Random, fault: Fault, role: str, lease_s: float) -> Strike:
    """Half of the faults are over within two leases (the races are there), the others last for several. A second host
    is silent for one."""
    lasts_s = rng.uniform(0.1, 2.0) * lease_s if rng.random() < 0.5 else rng.uniform(2.0, 8.0) * lease_s
    if fault.kind is Kind.NAME:
        lasts_s += 2.0 * lease_s
    amount = 0.0
    if fault.name == "frames lost":
        amount = rng.choice((2.0, 5.0, 10.0, 20.0, 30.0))
    elif fault.needs_clock:
        amount = rng.choice((-1.0, 1.0)) * rng.choice((0.5, 5.0, 3600.0, 86400.0 * 365))
    elif fault.name in STEERED_PERCENT:
        amount = rng.choice((-1.0, 1.0)) * rng.choice(STEERED_PERCENT[fault.name])
    elif fault.name == "RTNL held":
        amount = rng.choice((0.1, 0.2, 0.4, 0.8))
    return Strike(fault.name, role, 0.0, round(lasts_s, 3), amount)
