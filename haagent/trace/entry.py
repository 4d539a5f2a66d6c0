"""One step of the core as the trace has it: what came in when, and what was decided.

Decisions are the actions in their order. Heartbeats are many and long, so of each only a checksum is kept: enough to
say that another one would have been sent. What is left out of it is the history that rides along, because a trace
begins without one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from haagent.core.events import AnyAction, AnyEvent, Farewell, Send


class Sent(msgspec.Struct, frozen=True, tag=True):
    """A heartbeat of which the checksum is known: sent, or left ready as a `Farewell` (the one next to a `Drop`)."""

    seq: int
    checksum: int


AnyDecision = Sent | AnyAction  # each `Send` and `Farewell` is written as a `Sent`


class Entry(msgspec.Struct, frozen=True, array_like=True):
    now: float
    said: AnyEvent | tuple[AnyEvent, ...]  # one by itself, as all were written once
    decisions: tuple[AnyDecision, ...] = ()

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        return self.said if isinstance(self.said, tuple) else (self.said,)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Entry).decode


def entry(now: float, events: Sequence[AnyEvent], actions: Sequence[AnyAction]) -> Entry:
    said = events[0] if len(events) == 1 else tuple(events)
    return Entry(now, said, tuple(_decision(action) for action in actions))


def _decision(action: AnyAction) -> AnyDecision:
    if not isinstance(action, Send | Farewell):
        return action
    beat = action.beat
    if beat.records:
        beat = msgspec.structs.replace(beat, records=())
    return Sent(beat.seq, zlib.crc32(encode(beat)))
