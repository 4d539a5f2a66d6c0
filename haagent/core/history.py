"""One history of the whole cluster: every node keeps the records of all.

Each node numbers its own records. A heartbeat carries, for every peer, the number of the newest record of it that is
stored here, and a few of the sender's own records that some living peer lacks yet. So history survives its node, needs
no extra connection, and catches up by itself after a cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

from haagent.core.event_kinds import Kind
from haagent.core.limits import MAX_RECORDS, MAX_TEXT, RECORDS_PER_BEAT
from haagent.core.membership import Peer
from haagent.core.messages import Heard, Heartbeat, Record


def legible(text: str) -> str:
    """On one line, and without an order to the terminal of who reads it: whoever has the key may have written it."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


@dataclass
class History:
    _me: str
    _boot: int
    _next: int = 1
    _records: dict[str, list[Record]] = field(default_factory=dict)  # of each node, ours among them
    _stored: dict[str, Heard] = field(default_factory=dict)
    _merged: tuple[tuple[str, Record], ...] | None = None

    def bare(self) -> Self:
        """Without the records: they are many, and decide nothing."""
        return replace(self, _records={}, _merged=None)

    def add(self, wall: float, kind: Kind, group: str, text: str) -> Record:
        record = Record(self._next, wall, kind.value, group, legible(text[:MAX_TEXT]))
        self._next += 1
        self._keep(self._me, [record])
        return record

    def hear(self, beat: Heartbeat) -> list[Record]:
        """Store what is new. A sender starts at or before the first record that we lack, unless it has dropped it."""
        stored = self._stored.get(beat.node)
        index = stored.seq if stored is not None and stored.boot == beat.boot else 0
        fresh = []
        for record in sorted(beat.records, key=lambda record: record.index):
            if record.index > index:
                index = record.index
                kind, group, text = map(legible, (record.kind, record.group, record.text))
                fresh.append(msgspec.structs.replace(record, kind=kind, group=group, text=text))
        if fresh:
            self._keep(beat.node, fresh)
        if fresh or stored is None or stored.boot != beat.boot:
            self._stored[beat.node] = Heard(beat.boot, index)
        return fresh

    def stored(self) -> dict[str, Heard]:
        return dict(self._stored)  # a heartbeat is a value: what is heard later is not in it

    def to_send(self, peers: Iterable[Peer]) -> tuple[Record, ...]:
        """The oldest few of our records that some living peer has not stored."""
        own = self._records.get(self._me)
        if not own:
            return ()
        lowest = self._next
        for peer in peers:
            ack = peer.stored
            lowest = min(lowest, ack.seq + 1 if ack is not None and ack.boot == self._boot else 1)
        start = max(0, lowest - own[0].index)
        return tuple(own[start : start + RECORDS_PER_BEAT])

    def merged(self) -> tuple[tuple[str, Record], ...]:
        """All records of all nodes by wall clock. The order between nodes is as good as their clocks."""
        if self._merged is None:
            lines = [(node, record) for node, records in self._records.items() for record in records]
            self._merged = tuple(sorted(lines, key=lambda line: (line[1].wall, line[0], line[1].index)))
        return self._merged

    def _keep(self, node: str, new: list[Record]) -> None:
        records = self._records.setdefault(node, [])
        records += new
        del records[:-MAX_RECORDS]
        self._merged = None
