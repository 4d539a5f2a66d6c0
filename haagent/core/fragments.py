"""Puts a heartbeat that needed several datagrams together again, in constant memory.

Theory. Only authenticated fragments arrive here (`wire.Opener` opens first, stores second), so what can
fill the store is what the members really sent, now or, replayed by somebody, earlier. Neither may cost
unbounded memory:

- A life, one start of one node, keeps only its `KEPT_SEQS` newest incomplete heartbeats. A heartbeat is
  obsolete as soon as its successor is complete, so an older one is not worth a byte.
- A node keeps its `KEPT_LIVES` lives heard last: the present one, and one more for a replay or a restart to
  use up. The fragments of one heartbeat leave in one burst; pushing them out takes two replayed lives
  inside that burst, and then costs one heartbeat, never meaning.
- `MAX_STORED` caps the sum. Genuine traffic stays below it (31 peers with the largest view there can be,
  all at once); with `insecure: true` anybody can forge fragments, and then it is the only thing that holds.
  Reaching it forgets everything, which again costs one heartbeat of each peer.

Several links carry the same fragments, and any mixture of them completes a heartbeat: each link may lose
different ones. The core also wants to know *which* links work. So a copy of the last fragment of the
heartbeat just completed hands the finished heartbeat out again: it came by another link. Earlier fragments
of it, and everything of older heartbeats, are of no more use.
"""

from __future__ import annotations

from collections import OrderedDict

from haagent.core.messages import Heartbeat

KEPT_SEQS = 2  # the one arriving, and the next one overtaking it on a faster link
KEPT_LIVES = 2
MAX_STORED = 16 * 1024 * 1024


class Partial:
    """The fragments of one heartbeat so far."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.payloads: dict[int, bytes] = {}
        self.size = 0


class Life:
    """The fragments of one start of one node, and the newest heartbeat completed from them."""

    def __init__(self) -> None:
        self.partials: dict[int, Partial] = {}
        self.done_seq = 0
        self.done: Heartbeat | None = None


class Fragments:
    def __init__(self) -> None:
        self._nodes: dict[str, OrderedDict[int, Life]] = {}
        self.stored = 0  # bytes of payload kept at this moment

    def life(self, node: str, boot: int) -> Life:
        """The life's entry, made when it is new; the node's life heard longest ago makes room for it."""
        lives = self._nodes.setdefault(node, OrderedDict())
        if boot in lives:
            lives.move_to_end(boot)
            return lives[boot]
        if len(lives) >= KEPT_LIVES:
            _, oldest = lives.popitem(last=False)
            self.stored -= sum(partial.size for partial in oldest.partials.values())
        return lives.setdefault(boot, Life())

    def partial(self, life: Life, *, seq: int, parts: int) -> Partial | None:
        """The heartbeat `seq` of `life`, made when it is new. None: too old to be kept."""
        if seq in life.partials:
            return life.partials[seq]
        if len(life.partials) >= KEPT_SEQS:
            oldest = min(life.partials)
            if seq < oldest:
                return None
            self._forget(life, oldest)
        return life.partials.setdefault(seq, Partial(parts))

    def add(self, life: Life, *, seq: int, part: int, payload: bytes) -> bytes | None:
        """Store one fragment of a heartbeat that `partial` has made. The last one returns the whole encoding."""
        partial = life.partials[seq]
        if part in partial.payloads:
            return None
        partial.payloads[part] = payload
        partial.size += len(payload)
        self.stored += len(payload)
        if len(partial.payloads) == partial.parts:
            for old in [old for old in life.partials if old <= seq]:
                self._forget(life, old)
            return b"".join(partial.payloads[index] for index in range(partial.parts))
        if self.stored > MAX_STORED:
            self._nodes.clear()
            self.stored = 0
        return None

    def _forget(self, life: Life, seq: int) -> None:
        self.stored -= life.partials.pop(seq).size
