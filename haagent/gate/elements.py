"""Which addresses the key opens, and until when: the elements of its sets, as last told to the kernel.

Called under a lock, from the event loop and from the renewal's thread. `told` is what the kernel was told; that an
element has gone by itself since then shows in the refusal of what assumes it (`prepared`).

The kernel counts time-outs by a clock that a time service may slow down, also while nobody here can do anything about
it. So it is told less than what is left: an element ends with its instant at the latest, and usually a little before.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter

from haagent.core.settings import time_out_s
from haagent.gate.channel import Channel, GateError, Overtaken, Refused
from haagent.gate.prepared import Prepared, Sentence
from haagent.gate.ruleset import FAMILIES, KEY, OPEN, families

# A batch that took longer than this from its computing to its end has set ends that are later than they should be.
LATE_S = 0.001
EACH_S = 1e-5  # what one address takes in a batch, at most: ends are that much earlier, and not late with many of them
ATTEMPTS = 8  # against other programs that change rules at the same moment
SHORTEST_S = 0.001
TOO_LATE = "the lease ended before the gate could be opened"
NOBODY = bytes(4)  # 0.0.0.0, to which no traffic goes

# Which sentence about an address.
Choice = Callable[[Prepared], Sentence]
_opening, _extending, _closing = attrgetter("opening"), attrgetter("extending"), attrgetter("closing")


class Elements:
    def __init__(self, channel: Channel, now: Callable[[], float]) -> None:
        self.told: dict[bytes, float] = {}
        self.channel, self._now = channel, now
        self._prepared: dict[bytes, Prepared] = {}
        self._nobody = Prepared(NOBODY)

    def prepare(self, addresses: Iterable[bytes]) -> None:
        self._prepared |= {address: Prepared(address) for address in addresses if address not in self._prepared}

    def open(self, until: Mapping[bytes, float]) -> None:
        """Afterwards each is open, and ends with its instant."""
        self.prepare(until)
        until = self._worth_saying(until)
        if not until:
            raise GateError(TOO_LATE)
        # What is open is not opened once more: a batch that the kernel refuses and undoes costs it 15 ms.
        at = self._now()
        known = {address: end for address, end in until.items() if self.told.get(address, 0.0) > at}
        lapsed = self.extend(known) if known else []
        until = {address: end for address, end in until.items() if address not in known or address in lapsed}
        if not until:
            return
        try:
            late_s = self._say(until, _opening)
        except Refused as refused:
            if refused.code != errno.EEXIST:
                raise
            for address in self.extend(until):
                self._say({address: until[address]}, _opening)
            late_s = 0.0
        if late_s > LATE_S:
            self.extend(until)
            self.close(until.keys() - self._worth_saying(until).keys())  # it has been opened for longer than the lease
        if not self.told.keys() >= until.keys():
            raise GateError(TOO_LATE)

    def rehearse(self) -> None:
        """Nobody's address comes and goes in one transaction: at no moment is it open."""
        try:
            opening, closing = self._nobody.opening.lasting(SHORTEST_S), self._nobody.closing
            self.channel.commit(opening + closing.lasting(SHORTEST_S, is_last=True))
        except Overtaken:
            return  # by a change of somebody else: that wakes the kernel just as well

    def extend(self, until: Mapping[bytes, float]) -> list[bytes]:
        """Give those that are open a new end. Returns those that were not open any more: they stay shut."""
        lapsed: list[bytes] = []
        for _ in range(ATTEMPTS):
            until = {address: end for address, end in self._worth_saying(until).items() if address not in lapsed}
            if not until:
                break
            gone, late_s = self._say_of_some(until, _extending)
            for address in gone:
                self.told.pop(address, None)
            lapsed += gone
            if late_s <= LATE_S:
                break
        return lapsed

    def close(self, addresses: Iterable[bytes]) -> None:
        """Afterwards none is open."""
        known = {address: 0.0 for address in addresses if address in self.told}
        if not known:
            return
        self._say_of_some(known, _closing)
        for address in known:
            del self.told[address]

    def _say_of_some(self, until: Mapping[bytes, float], sentence: Choice) -> tuple[list[bytes], float]:
        """Of all whose time is not over yet. Those of which it is, and how long the rest took."""
        gone: list[bytes] = []
        for _ in range(ATTEMPTS):
            try:
                return gone, self._say(until, sentence)
            except Refused as refused:
                if refused.code != errno.ENOENT:
                    raise
            there = self._there()
            gone += (address for address in until if address not in there)
            until = {address: end for address, end in until.items() if address in there}
            if not until:
                return gone, 0.0
        raise GateError("the gate's addresses lapse faster than they can be told apart")

    def _there(self) -> set[bytes]:
        """Which are open, by the kernel's own word, in all that is to be opened for them."""
        found = {family: self.channel.elements(family, KEY, OPEN) for family in FAMILIES}
        return {one for one in self._prepared if all(one in found[family] for family in families(one))}

    def _say(self, until: Mapping[bytes, float], sentence: Choice) -> float:
        """Returns by how much the ends may be late."""
        for _ in range(ATTEMPTS):
            if sentence is not _closing:
                until = self._worth_saying(until)  # not all of them, when it has been overtaken
            if not until:
                return 0.0
            at = self._now() + EACH_S * len(until)
            *_, last = until
            messages = b"".join(
                sentence(self._prepared[one]).lasting(time_out_s(end - at), is_last=one == last)
                for one, end in until.items()
            )
            try:
                self.channel.commit(messages)
            except Overtaken:
                continue
            if sentence is not _closing:
                self.told.update(until)
            return self._now() - at
        raise GateError("other programs keep changing the firewall rules at the same moment")

    def _worth_saying(self, until: Mapping[bytes, float]) -> dict[bytes, float]:
        at = self._now()
        return {address: end for address, end in until.items() if end - at >= SHORTEST_S}
