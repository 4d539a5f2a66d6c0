"""The addresses of one group, kept as they should be: restored while held, removed while not.

Level, not edge: it is given what the kernel lists now, and repairs the difference. Why it was asked (a message of the
monitor, the regular comparison, the start) does not matter to it.

While the group is not held here, ANY address equal to one of its addresses goes, whoever added it and wherever: an
administrator's `ip addr add` on the other node would make two hosts answer for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from haagent.activation.backoff import RepairBackoff
from haagent.activation.share import Share
from haagent.activation.step import Tenure
from haagent.activation.steps import lifetime_s
from haagent.activation.surroundings import Surroundings
from haagent.core.event_kinds import Kind, Remark
from haagent.kernel.facts import AddressError, Seen, Vip

FOREVER_S = 0xFFFFFFFF  # the kernel's word for no end
RENEW_S = 1.0  # lifetimes are whole seconds, at least one longer than the lease: refreshing more often gains nothing


class Reconciler:
    def __init__(self, share: Share, around: Surroundings, note: Remark) -> None:
        self.share, self.vips = share, share.every
        self.counters: Counter[str] = Counter()
        self._packed = frozenset(share.every_packed)
        self._host, self._now, self._note = around.host, around.now, note
        self._backoff = RepairBackoff()
        self._renewed_at = 0.0
        self._fault = ""

    def mine(self, seen: Sequence[Seen]) -> list[Seen]:
        return [one for one in seen if one.packed in self._packed]

    def taken(self) -> None:
        """The pipeline has just added the addresses."""
        self._renewed_at = self._now()

    def renew(self, tenure: Tenure) -> None:
        now = self._now()
        if not self.share.served or now - self._renewed_at < RENEW_S:
            return
        self._renewed_at = now
        self._host.renew(self.share.served, partial(self._left_s, tenure), self._renewed)

    def _left_s(self, tenure: Tenure) -> int:
        """Asked in the kernel's own time, which may be late: then nothing is to be renewed."""
        left_s = tenure.until - self._now()
        return lifetime_s(left_s) if left_s > 0 else 0

    def _renewed(self, fault: str) -> None:
        if fault:
            self._complain(fault)
        else:
            self._fault = ""

    def leave(self) -> None:
        """Nobody will renew them for a while, and that is meant: they stay until the next life adopts them."""
        try:
            self._host.add(self.share.served, FOREVER_S)
        except AddressError as error:
            self._complain(str(error))

    def missing(self, seen: Sequence[Seen]) -> list[Vip]:
        there = {(one.packed, one.prefix, self._host.links.name_of(one.index)) for one in self.mine(seen)}
        return [vip for vip in self.share.served if (vip.packed, vip.prefix, vip.interface) not in there]

    def restore(self, seen: Sequence[Seen], tenure: Tenure) -> bool:
        """Held. True: something had to be put back, so the neighbours should be told again."""
        missing = self.missing(seen)
        if not missing or self.wait_s() > 0 or not self._add(missing, tenure):
            return False
        self.counters["restored"] += len(missing)
        gone = ", ".join(map(str, missing))
        self._say(Kind.RESTORED, f"{gone} was removed by somebody else; put back and announced again")
        return True

    def clear_withheld(self, seen: Sequence[Seen]) -> None:
        """Held, but for these."""
        if withheld := self.share.withheld_packed:
            self.clear([one for one in seen if one.packed in withheld], "is not served by this node yet")

    def clear(self, seen: Sequence[Seen], why: str) -> None:
        """Not held: what is there goes."""
        for one in self.mine(seen):
            where = self._host.links.name_of(one.index)
            try:
                self._host.strike(one)
            except AddressError as error:
                self._complain(str(error), Kind.STUCK)
                continue
            self.counters["removed"] += 1
            self._say(Kind.REMOVED, f"{one} on {where} {why}; removed")

    def wait_s(self) -> float:
        """How long a fight tells us to wait before the next repair."""
        return max(0.0, self._backoff.not_before - self._now())

    def _say(self, kind: Kind, text: str) -> None:
        now = self._now()
        self._backoff.incident(now)
        if self._backoff.may_speak(now):
            hint = "; this keeps happening: stop whatever else manages this address" if self._backoff.is_on else ""
            self._note(kind, text + hint)

    def _add(self, vips: Sequence[Vip], tenure: Tenure) -> bool:
        try:
            self._host.add(vips, lifetime_s(tenure.until - self._now()))
        except AddressError as error:
            self._complain(str(error))
            return False
        self._fault = ""
        return True

    def _complain(self, text: str, kind: Kind = Kind.FAILED) -> None:
        """Once per cause: it is tried again every two seconds."""
        if text != self._fault:
            self._fault = text
            self._note(kind, text)
