"""What is said to the kernel about one address, composed ahead of need; at the moment only time-outs are patched in.

Three sentences, and none of them can do more than it says however late the kernel reads it:

- `opening`: put it into the set. Refused (EEXIST) when it is there.
- `extending`: take it out and put it in again, for as long as the lease now lasts. Refused (ENOENT) when its time is
  over: a renewal that was delayed, by a stop of this process for example, never opens a gate that has shut. It is also
  the form that every kernel knows; one before 6.12 takes no new end for an element that is there, and a later one only
  when the time-out is another number than before.
- `closing`: take it out. Refused (ENOENT) when it has gone by itself.
"""

from __future__ import annotations

import re
import struct

from haagent.gate import encoding as nft
from haagent.gate.ruleset import KEY, OPEN, families
from haagent.kernel.netlink import EXCLUSIVE, HEADER, records

_LASTS = struct.Struct(">Q")
_PLACEHOLDER_MS = 0x7E57_7E57_7E57_7E57  # found again to be patched; nothing else in a message looks like it
_LONGEST_MS = 24 * 3600 * 1000


class Sentence:
    """Messages with some number of time-outs in them. Of a batch the last one asks for the acknowledgement of all: a
    thousand of them would not fit into the queue."""

    def __init__(self, messages: bytes) -> None:
        self._messages = bytearray(messages)
        self._at = [found.start() for found in re.finditer(re.escape(_LASTS.pack(_PLACEHOLDER_MS)), messages)]
        *_, last = records(messages, HEADER)
        self._last = last[1]

    def lasting(self, remaining_s: float, *, is_last: bool = False) -> bytes:
        """Whole milliseconds, rounded down; the kernel rounds down again, to a tick of its own."""
        lasts_ms = max(1, min(int(remaining_s * 1000), _LONGEST_MS))
        for at in self._at:
            _LASTS.pack_into(self._messages, at, lasts_ms)
        if is_last:
            return bytes(self._messages[: self._last]) + nft.confirmed(bytes(self._messages[self._last :]))
        return bytes(self._messages)


class Prepared:
    def __init__(self, address: bytes) -> None:
        homes = families(address)
        timed = nft.element(address, _PLACEHOLDER_MS)
        removals = [nft.delete_elements(family, KEY, OPEN, nft.element(address)) for family in homes]
        additions = [nft.add_elements(family, KEY, OPEN, timed, flags=EXCLUSIVE) for family in homes]
        self.opening = Sentence(b"".join(additions))
        self.extending = Sentence(b"".join(removals + additions))
        self.closing = Sentence(b"".join(removals))
