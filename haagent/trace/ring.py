"""The recent inputs of an agent, and the state it had before them: kept while it runs, in bounded memory.

A ring of segments. Each begins with a snapshot of the node and goes on with the steps after it, compressed as they come
(a heartbeat is mostly what the one before was). When all together are too large the oldest segment goes, and the trace
begins with the snapshot of the next. So a snapshot is taken once in a few minutes, and nothing is ever copied.

An agent must not die of its trace. What cannot be written down, which would be a mistake in here, ends the ring and not
the agent; who asks for the trace is told.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from haagent.core.events import AnyAction, AnyEvent
from haagent.core.node import Node
from haagent.trace.entry import encode, entry
from haagent.trace.origin import core_digest
from haagent.trace.snapshot import capture

if TYPE_CHECKING:
    from zlib import _Compress as _Compressor

LIMIT_BYTES = 1024 * 1024  # compressed: many minutes of three nodes at 100 ms
SEGMENTS = 8
LENGTH_BYTES = 4
LEVEL, WINDOW_BITS, MEMORY_LEVEL = 1, 14, 7  # 16 KiB hold several heartbeats of each peer; 96 KiB of memory

Step = tuple[float, Sequence[AnyEvent], Sequence[AnyAction]]


class Segment:
    def __init__(self, state: bytes) -> None:
        self.state = zlib.compress(state, LEVEL)
        self.size = len(self.state)
        self.count = 0
        self._chunks: list[bytes] = []
        self._compressor: _Compressor | None = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)

    def add(self, data: bytes) -> None:
        assert self._compressor is not None
        self._keep(self._compressor.compress(len(data).to_bytes(LENGTH_BYTES, "big") + data))
        self.count += 1

    def close(self) -> None:
        assert self._compressor is not None
        self._keep(self._compressor.flush())
        self._compressor = None  # its memory goes
        self._chunks = [b"".join(self._chunks)]

    def steps(self) -> bytes:
        """Whole, also while more are added."""
        if self._compressor is None:
            return self._chunks[0]
        return b"".join([*self._chunks, self._compressor.copy().flush()])

    def _keep(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.append(chunk)
            self.size += len(chunk)


class Ring:
    def __init__(self, node: Node, *, limit_bytes: int = LIMIT_BYTES) -> None:
        core_digest()  # of the files as they are now
        self.node = node
        self._segment_bytes = limit_bytes // SEGMENTS
        self.segments: deque[Segment] = deque([Segment(capture(node))])
        self.fault = ""  # why nothing is kept any more

    def keep(self, steps: Iterable[Step]) -> None:
        """All that have moved the node since the last call: the next segment's snapshot is of what it is now."""
        if self.fault:
            return
        try:
            self._keep(steps)
        except (TypeError, ValueError, OverflowError) as error:
            self.fault = f"{type(error).__name__}: {error}"

    def _keep(self, steps: Iterable[Step]) -> None:
        newest = self.segments[-1]
        for now, events, actions in steps:
            newest.add(encode(entry(now, events, actions)))
        if newest.size >= self._segment_bytes:
            newest.close()
            self.segments.append(Segment(capture(self.node)))
            if len(self.segments) > SEGMENTS:
                self.segments.popleft()
