"""Stamps: what orders changes that different nodes have made.

A stamp is one integer: wall clock in milliseconds, a counter of 8 bits, the node's number in 11 bits. Stamps of one
node only grow, and grow past each stamp that it has heard (a hybrid logical clock), so whoever changes what it has read
has the later stamp, whatever its clock says. No two nodes make the same one. When more than 256 changes fall into one
millisecond the counter runs over into the next one, which orders them just as well.

Sixty bits, until the year 2039: such an integer takes 32 bytes of memory, and a longer one 48. On the wire it is one
integer of 64 bits, until the year 3084.

A stamp from the future would win for as long as it lies there. So `hear` refuses one that is more than `max_drift_ms`
ahead of our own clock: the change does not count here until our clock gets there.
"""

from __future__ import annotations

from zlib import crc32

NODE_BITS = 11
COUNTER_BITS = 8
SHIFT = NODE_BITS + COUNTER_BITS
STEP = 1 << NODE_BITS  # from a stamp to the next one of its node
MAX_NODE_NUMBER = STEP - 1


def number_of(name: str) -> int:
    """Of the node with that name. It follows from the name alone, so it stays when other nodes come and go. Two names
    may have the same one by chance; the configuration refuses that."""
    return crc32(name.encode()) % STEP


def wall_ms(stamp: int) -> int:
    return stamp >> SHIFT


class Clock:
    def __init__(self, node_number: int, max_drift_ms: int) -> None:
        if not 0 <= node_number <= MAX_NODE_NUMBER:
            raise ValueError(f"a node's number is 0 to {MAX_NODE_NUMBER}, not {node_number}")
        self.last = node_number  # the newest stamp that was made or heard, as one of this node
        self.refused = 0
        self._node_number = node_number
        self._max_drift_ms = max_drift_ms

    def next(self, now_ms: int) -> int:
        """Later than all that were made and heard here."""
        self.last = max(self.last + STEP, now_ms << SHIFT | self._node_number)
        return self.last

    def hear(self, stamp: int, now_ms: int) -> bool:
        """False: it lies too far in the future, and must not count."""
        if stamp <= self.last:
            return True
        if wall_ms(stamp) > now_ms + self._max_drift_ms:
            self.refused += 1
            return False
        self.last = (stamp | MAX_NODE_NUMBER) - MAX_NODE_NUMBER + self._node_number
        return True
