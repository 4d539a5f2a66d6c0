"""A recorded trace, run again by the core of this release: the same decisions, or the first that is another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from haagent.core.events import Answer, AnyEvent, HeartbeatHeard, Note
from haagent.core.view import View
from haagent.trace.entry import AnyDecision, Entry, Sent, entry
from haagent.trace.errors import TraceError
from haagent.trace.file import Trace


class Told(msgspec.Struct, frozen=True):
    """A line of the timeline, in the words of the event history."""

    wall: float
    kind: str
    group: str
    text: str


class Difference(msgspec.Struct, frozen=True):
    wall: float
    event: str  # what came in
    recorded: tuple[str, ...]  # decisions of that step that only the agent has made
    replayed: tuple[str, ...]  # and those that only this release makes


class Replay(msgspec.Struct, frozen=True):
    first: float | None  # wall clock of the first and the last step; None: nothing is in it
    last: float | None
    steps: int
    decisions: int  # that were made again, up to the difference
    timeline: tuple[Told, ...]
    difference: Difference | None
    view: View | None  # as this node saw the cluster at the instant asked for


def replay(trace: Trace, *, at: Callable[[float], float] | None = None) -> Replay:
    """`at` is told the wall clock of the first step, and says that of the instant to look at."""
    try:
        return _replay(trace, at)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if trace.is_of_this_core:
            raise
        raise TraceError(f"this release cannot run it ({error}); use release {trace.header.release}") from error


def _replay(trace: Trace, at: Callable[[float], float] | None) -> Replay:
    node = trace.node()
    first = last = instant = None
    steps = decisions = 0
    timeline: list[Told] = []
    difference: Difference | None = None
    view: View | None = None
    before = 0.0
    for recorded in trace.entries():
        wall = recorded.now + node.state.wall_offset_s
        if first is None:
            first = wall
            instant = None if at is None else at(wall)
        if instant is not None and view is None and wall > instant:
            view = node.view(max(before, instant - node.state.wall_offset_s))
        repeated = entry(recorded.now, recorded.events, node.step(recorded.now, *recorded.events))
        last, before, steps = wall, recorded.now, steps + 1
        if repeated.decisions != recorded.decisions:
            difference = _difference(wall, recorded, repeated)
            break
        decisions += len(repeated.decisions)
        timeline += _told(wall, repeated)
    if instant is not None and view is None and last is not None:
        view = node.view(before)
    return Replay(first, last, steps, decisions, tuple(timeline), difference, view)


def _told(wall: float, step: Entry) -> Iterator[Told]:
    for decision in step.decisions:
        if isinstance(decision, Note):
            record = decision.record
            yield Told(record.wall, record.kind, record.group, record.text)
        elif isinstance(decision, Answer) and decision.status:
            yield Told(wall, "refused", "", decision.text)


def _difference(wall: float, recorded: Entry, repeated: Entry) -> Difference:
    only_recorded = [one for one in recorded.decisions if one not in repeated.decisions]
    only_repeated = [one for one in repeated.decisions if one not in recorded.decisions]
    if not only_recorded and not only_repeated:  # the same, in another order
        only_recorded, only_repeated = list(recorded.decisions), list(repeated.decisions)
    return Difference(
        wall=wall,
        event="; ".join(_event(event) for event in recorded.events),
        recorded=tuple(_decision(one) for one in only_recorded),
        replayed=tuple(_decision(one) for one in only_repeated),
    )


def _event(event: AnyEvent) -> str:
    if isinstance(event, HeartbeatHeard):
        slice_ = f", slice {event.beat.part + 1} of {event.beat.parts}" if event.beat.parts > 1 else ""
        return f"heartbeat {event.beat.seq} of {event.beat.node}{slice_}"
    facts = {name: value for name, value in msgspec.structs.asdict(event).items() if value not in ("", None)}
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    return f"{type(event).__name__} ({said})" if said else type(event).__name__


def _decision(decision: AnyDecision) -> str:
    if isinstance(decision, Sent):
        return f"heartbeat {decision.seq} with checksum {decision.checksum:08x}"
    if isinstance(decision, Note):
        record = decision.record
        return " ".join(filter(None, ("history:", record.kind, record.group, record.text)))
    facts = msgspec.structs.asdict(decision)
    return " ".join([type(decision).__name__, *(f"{name}={value}" for name, value in facts.items())])
