"""When the gate opens, for how long, and when it shuts.

Levels again: `_until` says which addresses are to be open, and until when; the kernel is made to agree. Opening and
shutting do that inside the call. A renewal only changes `_until` and has it done soon: once for everything that was
renewed in the same turn of the loop, and not more often than each seventh of what is left of the lease. The kernel is
told less than the lease (`elements`). Where no renewal comes it is told again: the less is left, the less is the
difference. So the gate of an agent that runs is open nearly to the end, and that of one that is frozen shuts in time.

Two threads come here, the loop and the worker that renews. The lock guards the channel and what is known of the kernel.
`_until` changes in the loop alone and is read by both; the renewal, when it finds that an address was shut while it
was at work, shuts it again.

What may go wrong, and what then happens:

- the kernel refuses to shut: the socket is closed, which shuts everything at once, and what is still held is opened
  through a new one;
- an address could not be opened again: the next renewal finds that it is shut, and has it opened;
- the renewal came too late (a foreign transaction took longer than the lease): the gate has shut by itself. It is
  opened again by the loop, which asks whether the lease still lasts; a renewal never opens anything;
- somebody removes the permanent table: it is made again; the key is not touched by that, so nothing opens;
- another process owns our tables (a twin, or an earlier life that cannot die): nothing here can be served, and every
  take fails until that has ended;
- the kernel lacks something: `why` says what, and the agent works without a gate.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from haagent.core.event_kinds import Kind, Remark
from haagent.gate import encoding as nft
from haagent.gate import ruleset
from haagent.gate.channel import Channel, GateError, Refused
from haagent.gate.elements import Elements
from haagent.gate.monitor import Monitor
from haagent.gate.state import GateState
from haagent.kernel.timer import Timer
from haagent.kernel.worker import Worker

PATIENCE_S = 0.05  # how long the loop waits for a renewal that waits for somebody else's transaction
SHARE = 7  # renew when a seventh of what is left has passed: at the default lease, half an interval
LEAST_S = 0.02  # when less is left of a lease, it is not told again
RETRY_S = 0.1  # of making the permanent table again
REMIND_S = 60.0  # between two lines about the same trouble


class Gate:
    def __init__(self, *, note: Remark, now: Callable[[], float], may_persist: bool = True) -> None:
        """`may_persist=False`: as on a kernel before 6.9, whose owned tables cannot outlive their owner."""
        self._note, self._now, self._may_persist = note, now, may_persist
        self.counters = Counter(lapsed=0, slammed=0, rebuilt=0, failed=0)
        self.why = "it has not been started"
        self._lock = threading.Lock()
        self._elements: Elements | None = None  # None: there is no gate
        self._is_blocked = False
        self._gated: set[bytes] = set()
        self._until: dict[bytes, float] = {}
        self._renewal: Worker | None = None  # there as long as a gate is
        self._monitor: Monitor | None = None  # where other programs can change the permanent table
        self._pending, self._again = Timer(self._ask_renewal), Timer(self._ask_renewal)
        self._retry = Timer(self._try_again)
        self._renewed_at = 0.0
        self._said_at: dict[str, float] = {}

    def start(self, addresses: Iterable[bytes], *, adopting: Collection[bytes] = ()) -> None:
        """Gate these. What is to be adopted stays as the earlier life left it: open, if that ended in peace."""
        self._gated = set(addresses)
        try:
            self._build(adopting)
        except GateError as error:
            self.why = str(error)
            kind = Kind.BLOCKED if self._is_blocked else Kind.GATE
            text = "nothing can be served" if self._is_blocked else "only the addresses' lifetimes protect"
            self._note(kind, f"there is no gate on this host, {text}: {error}")

    def guard(self, addresses: Iterable[bytes]) -> None:
        """From now on exactly these are gated."""
        wanted = set(addresses)
        if (elements := self._elements) is None:
            self._gated = wanted
            return
        with self._hold():
            gone, new = self._gated - wanted, wanted - self._gated
            elements.prepare(new)
            elements.close(gone)
            elements.channel.build([*ruleset.ungate(gone), *ruleset.gate(new)])
            self._gated = wanted

    def open(self, addresses: Sequence[bytes], until: float) -> None:
        if self._elements is None and self._is_blocked:
            self._build()
            self._open_held()
        if (elements := self._elements) is None or not addresses:
            return
        ends = dict.fromkeys(addresses, until)
        self._until.update(ends)
        try:
            with self._hold():
                elements.open(ends)
                # After opening: what is adopted must not be shut for a moment.
                self._gate_more(elements.channel, addresses)
        except GateError:
            for address in addresses:
                self._until.pop(address, None)
            raise
        if not self._again.is_set:
            self._tell_again(until)

    def rehearse(self) -> None:
        """A transaction that changes nothing: the first after a while takes the kernel 0.3 ms, the next 0.05."""
        if self._elements is None or not self._lock.acquire(blocking=False):
            return  # a renewal is at it: that wakes the kernel just as well
        try:
            self._elements.rehearse()
        finally:
            self._lock.release()

    def renew(self, addresses: Sequence[bytes], until: float) -> None:
        if not any(address in self._until for address in addresses):
            return
        self._until.update((address, until) for address in addresses if address in self._until)
        if not self._pending.is_set:
            now = self._now()
            wait_s = self._renewed_at + (until - now) / SHARE - now
            # At least to the end of this turn: what else it renews goes along.
            self._pending.set(max(0.0, wait_s))

    def shut(self, addresses: Sequence[bytes]) -> None:
        """Afterwards the kernel lets nothing through for them."""
        for address in addresses:
            self._until.pop(address, None)
        if (elements := self._elements) is None:
            return
        with self._hold():
            try:
                elements.close(addresses)
                self._gate_more(elements.channel, addresses)
            except GateError as error:
                self._slam(elements.channel, f"the kernel did not shut the gate ({error})")

    def holds_back(self, addresses: Iterable[bytes]) -> bool:
        """Whether the kernel is known to let nothing through for any of them."""
        if self._elements is None:
            return False
        return all(address in self._gated and address not in self._elements.told for address in addresses)

    def state(self, addresses: Sequence[bytes]) -> tuple[GateState, str]:
        if self._elements is None:
            return GateState.UNAVAILABLE, self.why
        if any(address not in self._gated for address in addresses):
            return GateState.OPEN, "left open by an earlier life, for maintenance"
        now, told = self._now(), self._elements.told
        is_open = bool(addresses) and all(told.get(address, 0.0) > now for address in addresses)
        return (GateState.OPEN, "") if is_open else (GateState.SHUT, "")

    # what the kernel is told

    @contextmanager
    def _hold(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=PATIENCE_S):
            raise GateError("another program's change of the firewall is under way, and the gate has to wait for it")
        try:
            yield
        finally:
            self._lock.release()

    def _build(self, adopting: Collection[bytes] = ()) -> Elements:
        """A new socket, and in one transaction: the tables of an earlier life out, ours in."""
        channel = self._open_channel()
        try:
            leftover = channel.named(ruleset.GATE)
            if not leftover:  # the earlier life ended in peace, and left open what it left
                self._gated -= set(adopting)
            self._is_blocked = bool(leftover)
            persists = self._make(channel, ruleset.removal(leftover))
            elements = Elements(channel, self._now)
            elements.prepare(self._gated | set(adopting))
        except GateError:
            channel.close()
            raise
        self._elements, self._is_blocked = elements, False
        if self._renewal is None:
            self._renewal = self._make_worker()
        if not persists and self._monitor is None:
            self._monitor = Monitor(is_own=self._is_own, touched=self._restore)
        return elements

    def _open_channel(self) -> Channel:
        return Channel()

    def _make_worker(self) -> Worker:
        return Worker(self._renew_all, name="gate")

    def _is_own(self, port: int) -> bool:
        return self._elements is not None and port == self._elements.channel.port

    def _make(self, channel: Channel, before: Iterable[bytes]) -> bool:
        """Whether the permanent table is ours alone while we live."""
        before = [*before]
        if self._may_persist:
            try:
                flags = nft.OWNED | nft.PERSISTENT
                channel.build([*before, *ruleset.permanent(self._gated, flags=flags), *ruleset.owned()])
            except Refused as refused:
                if refused.code not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            else:
                return True
        channel.build([*before, *ruleset.permanent(self._gated, flags=0), *ruleset.owned()])
        return False

    def _gate_more(self, channel: Channel, addresses: Iterable[bytes]) -> None:
        new = set(addresses) - self._gated
        channel.build([*ruleset.gate(new)])
        self._gated.update(new)

    def _restore(self) -> None:
        """Somebody else changed the permanent table."""
        if self._elements is None:
            return
        channel = self._elements.channel
        try:
            with self._hold():
                before = ruleset.removal(channel.named(ruleset.GATE))
                channel.build([*before, *ruleset.permanent(self._gated, flags=0)])
        except GateError as error:
            self._complain("another program removed the gate, and it cannot be made again yet", error)
            asyncio.get_running_loop().call_later(RETRY_S, self._restore)
            return
        self.counters["rebuilt"] += 1
        self._say_seldom("another program removed or changed the gate's table (`nft flush ruleset` does); made again")

    def _slam(self, channel: Channel, why: str) -> None:
        """Closing the socket takes the key away, for every address. What is still held is opened through a new one."""
        self.counters["slammed"] += 1
        self._note(Kind.GATE, f"{why}: closed the socket that the key belongs to")
        channel.close()
        self._elements = None
        self._make_again()

    def _try_again(self) -> None:
        """What is still held nobody takes again. So it is tried until it works, or something else is taken."""
        with self._lock:
            if self._elements is None:
                self._make_again()

    def _make_again(self) -> None:
        was_blocked = self._is_blocked
        try:
            self._build()
        except GateError as error:
            if not was_blocked:
                self._note(Kind.BLOCKED, f"the gate is shut for everything and cannot be made again: {error}")
            self.why, self._is_blocked = str(error), True
            self._retry.set(RETRY_S)
            return
        self._open_held()

    def _open_held(self) -> None:
        """Of this nobody takes anything again. If the kernel refuses, the next renewal finds that it is shut."""
        now = self._now()
        held = {address: end for address, end in self._until.items() if end > now}
        if not held or self._elements is None:
            return
        try:
            self._elements.open(held)
        except GateError as error:
            self._complain("the gate could not be opened again", error, kind=Kind.BLOCKED)

    # renewing

    def _ask_renewal(self) -> None:
        self._renewed_at = self._now()
        if self._renewal is not None:
            self._renewal.ask()
        self._again.cancel()
        self._tell_again(max(self._until.values(), default=0.0))

    def _tell_again(self, until: float) -> None:
        """If no renewal comes before."""
        left_s = until - self._now()
        if left_s >= LEAST_S:
            self._again.set(left_s / 2)

    def _renew_all(self) -> None:
        """In the worker's thread."""
        lapsed: list[bytes] = []
        shut: list[bytes] = []
        with self._lock:
            elements, worker = self._elements, self._renewal
            if elements is None or worker is None:
                return
            began = self._now()
            try:
                wanted = dict(self._until)
                shut = [one for one in wanted if one not in elements.told]
                lapsed = elements.extend({one: end for one, end in wanted.items() if one in elements.told})
                elements.close([address for address in elements.told if address not in self._until])
            except GateError as error:
                worker.tell(self._complain, "the gate was not renewed", error)
            took_s = self._now() - began
        if lapsed or shut:
            worker.tell(self._reopen, lapsed, shut, took_s)

    def _reopen(self, lapsed: Sequence[bytes], shut: Sequence[bytes], took_s: float) -> None:
        if (elements := self._elements) is None:
            return
        now = self._now()
        closed = [address for address in (*lapsed, *shut) if elements.told.get(address, 0.0) <= now]
        ends = {address: self._until[address] for address in closed if self._until.get(address, 0.0) > now}
        if not ends:
            return
        if not ends.keys().isdisjoint(lapsed):
            self.counters["lapsed"] += 1
            self._say_seldom(
                "the gate shut although the lease went on, because its renewal came too late"
                f" (another program's change of the firewall? this one took {1000 * took_s:.0f} ms); opened again"
            )
        try:
            with self._hold():
                elements.open(ends)
        except GateError as error:
            self._complain("the gate could not be opened again", error, kind=Kind.BLOCKED)

    # words

    def _complain(self, what: str, error: GateError, *, kind: Kind = Kind.GATE) -> None:
        self.counters["failed"] += 1
        self._say_seldom(f"{what}: {error}", about=what, kind=kind)

    def _say_seldom(self, text: str, *, about: str = "", kind: Kind = Kind.GATE) -> None:
        now = self._now()
        if now - self._said_at.get(about or text[:40], -REMIND_S) >= REMIND_S:
            self._said_at[about or text[:40]] = now
            self._note(kind, text)

    # ends

    def close(self, *, keeps: bool = False) -> None:
        """`keeps`: an address could not be removed. The permanent table stays and keeps it silent.

        Otherwise no table stays: what is left in place, for maintenance, goes on being served.
        """
        self._pending.cancel()
        self._again.cancel()
        self._retry.cancel()
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._until.clear()
        if self._renewal is not None:
            self._renewal.end()
            self._renewal = None
        self.why = "it has ended"
        is_free = self._lock.acquire(timeout=PATIENCE_S)
        elements, self._elements = self._elements, None
        try:
            if elements is None:
                return
            # Not free: the renewal still waits for somebody's transaction. Closing the socket is all that is left.
            if is_free and not keeps and (ours := elements.channel.named(ruleset.KEY, ruleset.GATE)):
                elements.channel.build([*ruleset.removal(ours)])
        except GateError as error:
            self._note(Kind.GATE, f"the gate's tables are left behind (`haagent release` removes them): {error}")
        finally:
            if elements is not None:
                elements.channel.close()
            if is_free:
                self._lock.release()
