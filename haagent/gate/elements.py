"""Which addresses the key opens, and until when: the elements of its sets, as last told to the kernel.

Called under a lock, from the event loop and from the renewal's thread. `told` is what the kernel was told; that an
element has gone by itself since then shows in the refusal of what assumes it (`prepared`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping

from haagent.gate.channel import Channel, GateError, Overtaken, Refused
from haagent.gate.prepared import Prepared, Sentence

# A batch that took longer than this from its computing to its end has set ends that are later than they should be.
LATE_S = 0.001
ATTEMPTS = 8  # against other programs that change rules at the same moment
SHORTEST_S = 0.001
NOBODY = bytes(4)  # 0.0.0.0, to which no traffic goes


class Elements:
    def __init__(self, channel: Channel, now: Callable[[], float]) -> None:
        self.told: dict[bytes, float] = {}
        self._channel, self._now = channel, now
        self._prepared: dict[bytes, Prepared] = {}
        self._nobody = Prepared(NOBODY)

    def prepare(self, addresses: Iterable[bytes]) -> None:
        for address in addresses:
            if address not in self._prepared:
                self._prepared[address] = Prepared(address)

    def open(self, until: Mapping[bytes, float]) -> None:
        """Afterwards each is open, and ends with its instant."""
        until = self._worth_saying(until)
        if not until:
            raise GateError("the lease ended before the gate could be opened")
        try:
            late_s = self._say(until, _opening)
        except Refused as refused:
            if refused.code != errno.EEXIST:
                raise
            for address in self.extend(until):
                self._say({address: until[address]}, _opening)
            late_s = 0.0
        self.told.update(until)
        if late_s > LATE_S:
            self.extend(until)

    def rehearse(self) -> None:
        """Nobody's address comes and goes in one transaction: at no moment is it open."""
        try:
            self._channel.commit(self._nobody.opening.lasting(SHORTEST_S) + self._nobody.closing.lasting(SHORTEST_S))
        except Overtaken:
            return  # by a change of somebody else: that wakes the kernel just as well

    def extend(self, until: Mapping[bytes, float]) -> list[bytes]:
        """Give those that are open a new end. Returns those that were not open any more: they stay shut."""
        lapsed: list[bytes] = []
        for _ in range(ATTEMPTS):
            until = {address: end for address, end in self._worth_saying(until).items() if address not in lapsed}
            if not until:
                break
            try:
                late_s = self._say(until, _extending)
            except Refused as refused:
                if refused.code != errno.ENOENT:
                    raise
                gone, late_s = self._extend_each(until)
                lapsed += gone
            if late_s <= LATE_S:
                break
        return lapsed

    def close(self, addresses: Iterable[bytes]) -> None:
        """Afterwards none is open."""
        known = {address: 0.0 for address in addresses if address in self.told}
        if not known:
            return
        try:
            self._say(known, _closing)
        except Refused as refused:
            if refused.code != errno.ENOENT:
                raise
            for address in known:
                self._try(address, 0.0, _closing)
        for address in known:
            del self.told[address]

    def _extend_each(self, until: Mapping[bytes, float]) -> tuple[list[bytes], float]:
        lapsed, worst_s = [], 0.0
        for address, end in until.items():
            late_s = self._try(address, end, _extending)
            if late_s is None:
                lapsed.append(address)
                self.told.pop(address, None)
            else:
                worst_s = max(worst_s, late_s)
        return lapsed, worst_s

    def _try(self, address: bytes, end: float, sentence: Callable[[Prepared], Sentence]) -> float | None:
        """None: its time was over."""
        try:
            return self._say({address: end}, sentence)
        except Refused as refused:
            if refused.code != errno.ENOENT:
                raise
            return None

    def _say(self, until: Mapping[bytes, float], sentence: Callable[[Prepared], Sentence]) -> float:
        """Returns how long it took, and so by how much the ends may be late."""
        for _ in range(ATTEMPTS):
            at = self._now()
            messages = b"".join(sentence(self._prepared[one]).lasting(end - at) for one, end in until.items())
            try:
                self._channel.commit(messages)
            except Overtaken:
                continue
            if sentence is not _closing:
                self.told.update(until)
            return self._now() - at
        raise GateError("other programs keep changing the firewall rules at the same moment")

    def _worth_saying(self, until: Mapping[bytes, float]) -> dict[bytes, float]:
        at = self._now()
        return {address: end for address, end in until.items() if end - at >= SHORTEST_S}


def _opening(prepared: Prepared) -> Sentence:
    return prepared.opening


def _extending(prepared: Prepared) -> Sentence:
    return prepared.extending


def _closing(prepared: Prepared) -> Sentence:
    return prepared.closing
