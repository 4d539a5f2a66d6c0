"""How long a client may go without the service, fault by fault: the one table the campaign judges by. Pure.

    bound = leases x lease + reaction + ALLOWANCE_MS + noise

where *noise* is what the machine does by itself: the longest gap of the same prober while nothing was done, plus how
late the prober and an ordinary process (`metronome.py`) were in this very episode. The design's targets are narrower
and about medians and p99 of many runs; they are read from the report. This table is what no single run may exceed.

A fault of a node that holds nothing may cost nothing at all. Two faults at once may cost the sum of both, wherever
they hit, because the second may find the group on the node it hits. When too few voters are left, nobody may hold
anything until the faults are over: then the bound counts from the last mend (`RECOVERY_MS`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trials.chaos.schedule import Mode, Strike

ALLOWANCE_MS = 50.0  # a process that is ready to run may have to wait so long on a loaded machine of two cores
START_MS = 5000.0  # an agent's start on such a machine, with everybody else starting too
ALONE_MS = 5000.0  # `alone_after`: in `available` a node that starts and hears nobody waits so long


class Bound(msgspec.Struct, frozen=True):
    leases: float  # how many leases must run out before somebody else may serve
    reaction_ms: float  # what it takes beyond that
    takes_vote: bool  # while it lasts (and one lease longer) the node does not vote


BOUNDS: dict[str, Bound] = {
    # Somebody is left who says "released": nothing need run out.
    "agent killed": Bound(0, 10, takes_vote=True),
    "guardian killed": Bound(0, 10, takes_vote=True),
    "agent restarted": Bound(0, 10, takes_vote=True),
    "planned move": Bound(0, 5, takes_vote=False),
    # Nobody is left to say it, or nobody hears it.
    "agent and guardian killed": Bound(1, 30, takes_vote=True),
    "agent frozen": Bound(1, 30, takes_vote=True),
    "everything frozen": Bound(1, 30, takes_vote=True),
    "host lost": Bound(1, 30, takes_vote=True),
    "link down": Bound(1, 30, takes_vote=True),
    "cut from the nodes": Bound(1, 30, takes_vote=True),
    "deaf to the nodes": Bound(1, 30, takes_vote=True),
    "mute to the nodes": Bound(1, 30, takes_vote=True),
    "cut from everybody": Bound(1, 30, takes_vote=True),
    # Renewals, releases, claims and the client's own probes are lost by chance, and claims are repeated each interval.
    "frames lost": Bound(3, 30, takes_vote=True),
    # The agent mends these itself. An address that is gone is seen at once; a gate that is gone lets through; the wall
    # clock decides nothing.
    "rules flushed": Bound(0, 0, takes_vote=False),
    "address removed": Bound(0, 20, takes_vote=False),
    "clock stepped": Bound(0, 0, takes_vote=False),
    # All hosts alike, as far as a time service goes: no lease is longer or shorter for it. One host, and further: it
    # hands over when it has measured that, and has no vote.
    "clock steered": Bound(0, 0, takes_vote=False),
    "clock steered too far": Bound(0, 20, takes_vote=True),
    # The address stays where it is. What is to move meanwhile waits for the kernel: see `_waiting_ms`.
    "RTNL held": Bound(0, 0, takes_vote=False),
    # A planned move, and nobody waits for a hook.
    "hook hung": Bound(0, 5, takes_vote=False),
    # It is silent for a lease, is told then, and stands down. The name's vote is in doubt meanwhile.
    "twin started": Bound(0, 10, takes_vote=True),
    # What is held goes on with the new configuration.
    "one node reloaded": Bound(0, 10, takes_vote=False),
    # Of two that change places one is free from the first reload of a holder to the second: see `_waiting_ms`.
    "addresses swapped": Bound(1, 30, takes_vote=False),
}


class Force(msgspec.Struct, frozen=True):
    """A strike as it was dealt."""

    strike: Strike
    lasted_ms: float
    hits: bool  # the address in question, or its holder


def after_strike_ms(forces: Sequence[Force], *, lease_ms: float, noise_ms: float) -> float:
    """For an outage that begins while faults are in force or their lease runs."""
    if len(forces) == 1 and not forces[0].hits:
        return ALLOWANCE_MS + noise_ms
    lease_ms *= _stretch(forces)
    bounds = [BOUNDS[one.strike.fault] for one in forces]
    least_ms = sum(one.leases * lease_ms + one.reaction_ms for one in bounds)
    return least_ms + _waiting_ms(forces) + ALLOWANCE_MS + noise_ms


def _stretch(forces: Sequence[Force]) -> float:
    """A counter that is slow beside the kernel's clock: so much longer are the leases that it counts."""
    steered = (one.strike.amount for one in forces if one.strike.fault.startswith("clock steered"))
    return max([1.0, *(1 + amount / 100 for amount in steered)])


def _waiting_ms(forces: Sequence[Force]) -> float:
    """For somebody else. A move needs the kernel twice, to let go and to take, and each may come just too late; alone
    the lock moves nothing. An address that changes places waits for the last holder's reload."""
    holds_ms = [2e3 * one.strike.amount for one in forces if one.strike.fault == "RTNL held" and len(forces) > 1]
    return sum(holds_ms) + sum(one.lasted_ms for one in forces if one.strike.fault == "addresses swapped")


def after_mend_ms(*, noise_ms: float) -> float:
    """For an outage that begins when everything is well again: a node that comes back disturbs nobody."""
    return ALLOWANCE_MS + noise_ms


def recovery_ms(mode: Mode, *, lease_ms: float, noise_ms: float) -> float:
    """From the last mend until somebody serves, when there was no majority: restarted voters are silent for a lease."""
    alone_ms = ALONE_MS if mode is Mode.AVAILABLE else 0.0
    return START_MS + alone_ms + 3 * lease_ms + ALLOWANCE_MS + noise_ms


def has_majority(strikes: Sequence[Strike]) -> bool:
    """Whether enough voters are left when all of these are in force at once: of three two, of two one."""
    lost = {strike.role for strike in strikes if BOUNDS[strike.fault].takes_vote}
    return len(lost) <= 1
