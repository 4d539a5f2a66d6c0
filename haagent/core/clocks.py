"""What is assumed of clocks, what follows from it, and what a node does where it does not hold.

The assumption. *The hardware counters of two hosts run apart by at most one percent (`settings.DRIFT`), and on no host
does a time service steer the kernel's clock away from the counter by more than ten (`settings.SLEW`).* Ten is what
Linux lets it; chrony uses 8.33 unless it is told otherwise, ntpd and timesyncd less (`haagent doctor` reads what they
are told).

What follows. `now` counts the counter, so no time service makes a lease longer or shorter on one node than on another,
and one percent of the lease is the whole margin between a holder and its voters (`Settings.drift_margin_s`). What the
kernel does by itself it does by the steered clock: the gate of a frozen agent shuts after a time-out. That may begin to
run slower at the very moment at which the agent freezes, so what was measured does not help, and the kernel is always
told ten percent less than what is left (`settings.time_out_s`).

Where it does not hold. The shell measures the one clock against the other all the time, and says when they are further
apart (`ClockSteered`). Then nobody knows which of the two is wrong: a time service may do what none should, or the
counter may (a virtual machine that was moved to another kind of processor). So the node lets go of what it has, while
others hear that and take it; and it gives no vote, because it does not know how long it is bound. It goes on one lease
after the clocks agree again.

What it does not cover: a counter that is wrong by more than one percent on a host whose time service steers the clock
back to the truth, by less than ten. It shows as steering that does not end (`clock_slew_percent` of `status`).
"""

from __future__ import annotations

from haagent.core import election
from haagent.core.event_kinds import Kind
from haagent.core.group import handover
from haagent.core.node_state import NodeState
from haagent.core.settings import SLEW


def hear(state: NodeState, now: float, slew: float) -> None:
    was_wrong, state.clock_fault = bool(state.clock_fault), _fault(slew)
    if state.clock_fault:
        state.note(Kind.CLOCK, "", explain(state), now=now)
    elif was_wrong:
        state.note(Kind.CLOCK_OK, "", "this host's clock and its hardware counter agree again", now=now)
    state.urge()


def _fault(slew: float) -> str:
    if abs(slew) <= SLEW:
        return ""
    pace = "faster" if slew > 0 else "slower"
    return f"this host's clock runs {100 * abs(slew):.0f} % {pace} than its hardware counter"


def explain(state: NodeState) -> str:
    """Empty: there is nothing to explain."""
    if not state.clock_fault:
        return ""
    return (
        f"{state.clock_fault}, and {100 * SLEW:.0f} % is the most that leases are made for: the node gives no vote and "
        "serves nothing until one lease after that is over; see what its time service does"
    )


def advance(state: NodeState, now: float) -> None:
    if not state.clock_fault:
        return
    for group in state.groups.values():
        election.drop(group, state, now, state.clock_fault, yield_to=handover.best_other(group, state, now))
    state.silent_until = max(state.silent_until, now + state.settings.lease_s)
    state.voice_seq, state.has_voice = 0, False
