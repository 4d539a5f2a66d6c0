"""One episode on a live cluster: quiet, blows, mending, settling; and the record of what a client saw all the while.

The prober runs from before the first blow until after the cluster has settled, so that what follows a mend (an old
holder that wakes up, a table of neighbours gone stale) is on the record as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from haagent.lab import LabError
from haagent.lab.answers import Trace
from haagent.lab.outage import measure
from trials.chaos.cluster import SETTLED_S, Cluster, wait_settled, words
from trials.chaos.faults import DEEDS
from trials.chaos.history import SETTLED, Blow, History, check
from trials.chaos.metronome import metronome
from trials.chaos.schedule import Strike

QUIET_S = 0.3  # nothing is done: the machine's own noise
AFTER_S = 0.2  # and so long the client goes on asking when all is well again


class Told(msgspec.Struct, frozen=True):
    """Where an episode belongs."""

    seed: int
    number: int
    noise_ms: float  # the longest gap of any quiet time so far


def play(cluster: Cluster, strikes: Sequence[Strike], told: Told) -> History:
    """On a settled cluster. What goes wrong is in the record, not an exception."""
    lab = cluster.lab
    blows: list[Blow] = []
    unsettled = SETTLED
    wait_settled(lab)
    with metronome() as beat, lab.probe() as probe:
        holder = wait_settled(lab, probe)  # not always the one before: the machine may have stood still
        quiet_s = time.monotonic()
        time.sleep(QUIET_S)
        try:
            _deal(cluster, strikes, holder, blows)
            lab.faults.heal()
            wait_settled(lab, probe, within_s=SETTLED_S + 10 * cluster.chances.lease_s)
            time.sleep(AFTER_S)
        except LabError as error:
            unsettled = str(error)
        ended_s = time.monotonic()
        traces, late = probe.stop(), beat.since()
    history = History(
        seed=told.seed,
        number=told.number,
        mode=cluster.chances.mode,
        interval_s=cluster.interval_s,
        lease_s=cluster.chances.lease_s,
        holder=holder,
        quiet_s=quiet_s,
        ended_s=ended_s,
        blows=tuple(blows),
        traces=traces,
        noise_ms=max(told.noise_ms, *(_quiet_ms(trace, quiet_s, blows) for trace in traces)),
        late=late,
        unsettled=unsettled,
    )
    return msgspec.structs.replace(history, words=words(lab)) if check(history) else history


def _deal(cluster: Cluster, strikes: Sequence[Strike], holder: str, blows: list[Blow]) -> None:
    """Strikes and mends in the order of their times. A blow is on the record even if its mending fails."""
    lab = cluster.lab
    began_s = time.monotonic()
    due = [(strike.after_s, 0, index) for index, strike in enumerate(strikes)]
    due += [(strike.after_s + strike.lasts_s, 1, index) for index, strike in enumerate(strikes)]
    for at_s, is_mend, index in sorted(due):
        strike = strikes[index]
        name, deeds = _node(cluster, strike.role, holder), DEEDS[strike.fault]
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        now_s = time.monotonic()
        if is_mend:
            blows[index] = msgspec.structs.replace(blows[index], mended_s=now_s)
            deeds.mend(lab, name, strike)
        else:
            blows.append(Blow(strike, name, now_s, now_s))
            deeds.strike(lab, name, strike)


def _node(cluster: Cluster, role: str, holder: str) -> str:
    nodes = cluster.lab.state().plan.nodes
    if role == "holder":
        return holder
    return next(node.name for node in nodes if node.witness == (role == "witness") and node.name != holder)


def _quiet_ms(trace: Trace, quiet_s: float, blows: Sequence[Blow]) -> float:
    return measure(trace, start_s=quiet_s, end_s=blows[0].started_s).worst_ms


def make_whole(cluster: Cluster) -> None:
    """After an episode that did not settle: everything healed, every agent ended and started anew."""
    lab = cluster.lab
    lab.faults.heal()
    for node in lab.state().plan.nodes:
        with suppress(LabError):  # nobody runs there
            lab.faults.crash(node.name)
        lab.start(node.name)
    wait_settled(lab)
