"""What nf_tables would have open after what the gate has said to it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from haagent.core.settings import SLEW
from haagent.gate import encoding
from haagent.gate.channel import Refused
from haagent.gate.ruleset import families
from haagent.kernel.netlink import ACK, HEADER, split

FOUR, SIX, OTHER = (ip_address(text).packed for text in ("10.20.1.100", "fd00:20::100", "10.20.1.101"))


def sentences(messages: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(kind, family, address, milliseconds) of each message about an element of the key's sets."""
    for kind, _, _, _, message in split(messages):
        parts = dict(encoding.attributes(message))
        assert (parts[1], parts[2]) == (b"haagent_key\0", b"open\0")
        ((_, one),) = encoding.attributes(parts[3], 0)
        inner = dict(encoding.attributes(one, 0))
        assert inner.get(4) == inner.get(5), "time-out and end differ"
        ((_, address),) = encoding.attributes(inner[1], 0)
        yield kind & 0xFF, message[HEADER.size], address, int.from_bytes(inner.get(4, b""), "big")


class FakeKernel:
    """The sets of the key, with time. Takes the place of `Channel`; a batch is done as a whole or not at all."""

    port = 7

    def __init__(self) -> None:
        self.at = 1000.0  # of the host's counter
        self.slew = -SLEW  # its own clock is as slow as it may be
        self.ends: dict[tuple[int, bytes], float] = {}
        self.log: list[str] = []
        self.built: list[bytes] = []
        self.before_commit: list[Callable[[], None]] = []  # each is called once
        self.is_closed = False
        self.leftover: list[tuple[int, str]] = []
        self.refusing: list[Exception] = []  # to build

    def now(self) -> float:
        return self.at

    def commit(self, messages: bytes) -> None:
        if self.before_commit:
            self.before_commit.pop(0)()
        assert any(HEADER.unpack_from(message)[2] & ACK for *_, message in split(messages))
        ends = {key: end for key, end in self.ends.items() if end > self.at}
        words = []
        for kind, family, address, lasts_ms in sentences(messages):
            key = family, address
            if kind == encoding.DELSETELEM:
                if ends.pop(key, None) is None:
                    raise Refused(errno.ENOENT, "no such element")
                words.append("-")
            else:
                if key in ends:
                    raise Refused(errno.EEXIST, "it is there")
                ends[key] = self.at + lasts_ms / 1000 / (1 + self.slew)
                words.append("+")
        self.ends = ends
        self.log.append("".join(words))

    def build(self, messages: list[bytes]) -> None:
        if not messages:
            return
        if self.refusing:
            raise self.refusing.pop(0)
        self.built += messages

    def named(self, *names: str) -> list[tuple[int, str]]:
        return [table for table in self.leftover if table[1] in names]

    def elements(self, family: int, table: str, name: str) -> set[bytes]:
        assert (table, name) == ("haagent_key", "open")
        return {address for (home, address), end in self.ends.items() if home == family and end > self.at}

    def close(self) -> None:
        self.is_closed = True
        self.ends.clear()

    def left_ms(self, address: bytes) -> int:
        """0: shut. All families say the same. The nearest ten: what is told is rounded down, to a millisecond."""
        left = {round(100 * (self.ends.get((family, address), 0.0) - self.at)) for family in families(address)}
        assert len(left) == 1, left
        return max(0, 10 * left.pop())
