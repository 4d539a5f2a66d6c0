"""One episode on a live cluster: quiet, blows, mending, settling; and the record of what a client saw all the while.

The prober runs from before the first blow until after the cluster has settled, so that what follows a mend (an old
holder that wakes up, a table of neighbours gone stale) is on the record as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from heapq import heappop, heappush

import msgspec

from haagent.lab import Lab, LabError
from haagent.lab.answers import Trace
from haagent.lab.outage import measure
from trials.chaos import files
from trials.chaos.cluster import GROUP, SETTLED_S, Cluster, arrange, changing_places, wait_settled, words
from trials.chaos.faults import DEEDS
from trials.chaos.history import SETTLED, Blow, History, check
from trials.chaos.metronome import metronome
from trials.chaos.schedule import FAULTS, SWAP, Kind, Strike
from trials.chaos.steered_agent import steer

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
    is_swap = any(strike.fault == SWAP for strike in strikes)
    arrange(lab, apart=is_swap)
    with metronome() as beat, lab.probe() as probe:
        holder = wait_settled(lab, probe)[GROUP]  # not always the one before: the machine may have stood still
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
        swapped=changing_places(lab) if is_swap else (),
        unsettled=unsettled,
    )
    return msgspec.structs.replace(history, words=words(lab)) if check(history) else history


def _deal(cluster: Cluster, strikes: Sequence[Strike], holder: str, blows: list[Blow]) -> None:
    """Strikes and mends in the order of their times; a fault lasts from when it is there, which for some takes a while.
    A blow is on the record even if its mending fails."""
    lab = cluster.lab
    began_s = time.monotonic()
    due = sorted((strike.after_s, False, index) for index, strike in enumerate(strikes))
    with ExitStack() as all_deeds:
        in_force = [all_deeds.enter_context(ExitStack()) for _ in strikes]
        while due:
            at_s, is_mend, index = heappop(due)
            strike = strikes[index]
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            now_s = time.monotonic()
            if is_mend:
                blows[index] = msgspec.structs.replace(blows[index], mended_s=now_s)
                in_force[index].close()
            else:
                name = _node(cluster, strike.role, holder)
                blows.append(Blow(strike, name, now_s, now_s))
                in_force[index].enter_context(DEEDS[strike.fault](lab, name, strike))
                heappush(due, (time.monotonic() - began_s + strike.lasts_s, True, index))
    if any(FAULTS[strike.fault].kind is Kind.FILE for strike in strikes):
        _end_reloads(lab, blows)


def _end_reloads(lab: Lab, blows: list[Blow]) -> None:
    """A node that stood still, or was about to start, may have an old file yet: only then is that over."""
    files.finish(lab, [node.name for node in lab.state().plan.nodes])
    for index, blow in enumerate(blows):
        if FAULTS[blow.strike.fault].kind is Kind.FILE:
            blows[index] = msgspec.structs.replace(blow, mended_s=time.monotonic())


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
    files.give_each_its_own(lab)
    steer([lab.state_directory(host.name) for host in lab.state().plan.servers], 0.0)
    for node in lab.state().plan.nodes:
        with suppress(LabError):  # nobody runs there
            lab.faults.crash(node.name)
        lab.start(node.name)
    wait_settled(lab)
