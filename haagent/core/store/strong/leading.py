"""The leader's half of a store, in one epoch.

It begins when everybody who is in the record has the same log as it: first it takes what they have of an earlier leader
and it has not, then it gives. Until then nobody is served. Who does not come in time is left out of the record.

Everybody is waited for who is in the record that was agreed to, or in one that was proposed since: any of these may
turn out to be what a majority has. Who is not in time is proposed to be left out, and waited for until that is agreed
to. Who joins gets all there is, and the log beside it; it is waited for from when it has all of that, and proposed when
it has what was answered before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from haagent.core.messages import Ballot
from haagent.core.store.effects import Effect, Flush
from haagent.core.store.events import Note
from haagent.core.store.merging import newest_stamp
from haagent.core.store.snapshot import slices
from haagent.core.store.stamps import wall_ms
from haagent.core.store.store import Store
from haagent.core.store.strong.events import Action, Answer, Key, Outcome, Propose, Send, StrongSettings
from haagent.core.store.strong.log import Log
from haagent.core.store.strong.messages import Begin, Entries, Fetch, Fetched, Got, Lead, Part, Stand
from haagent.core.store.strong.record import Record

NEVER = float("inf")


@dataclass
class Follower:
    """A peer that is linked, and has said where it stands."""

    life: int
    sent: int
    acked: int
    is_whole: bool = True
    parts: Iterator[list[Effect]] | None = None  # still to come: it joins
    flight: deque[tuple[int, int]] = field(default_factory=deque)  # under way: the last number, bytes
    flight_bytes: int = 0


@dataclass
class Unsafe:
    """A portion of the log that not everybody has who is waited for."""

    index: int
    due: float
    keys: list[Key]


class Leading:
    def __init__(
        self,
        settings: StrongSettings,
        store: Store,
        log: Log,
        record: Record,
        *,
        now: float,
        do: Callable[[Action], None],
    ) -> None:
        self.epoch: Ballot = record.ballot
        self.since = record.since
        self.has_begun = False
        self._settings = settings
        self._store = store
        self._log = log
        self._do = do
        self._records = {record.version: record.members}  # the agreed one, and those that were proposed since
        self._followers: dict[str, Follower] = {}
        self._lives: dict[str, int] = {}  # of those that are linked
        self._turns: Counter[str] = Counter()  # how often they were asked where they stand
        self._tickets: deque[tuple[int, int]] = deque()  # which waits for what number of the log
        self._changed: dict[Key, int] = {}  # what is not safe yet, and by which number
        self._all_changed = 0  # likewise, of all keys
        self._unsafe: deque[Unsafe] = deque()
        self._begin_by = now + settings.sync_timeout_s

    # What happens

    def linked(self, name: str, life: int) -> None:
        self._lives[name] = life
        self._call(name)

    def _call(self, name: str) -> None:
        """It says where it stands, and until then what else it says is of before."""
        self._followers.pop(name, None)
        self._turns[name] += 1
        self._do(Send(name, Lead(self.epoch, self._turns[name])))

    def unlinked(self, name: str) -> None:
        self._lives.pop(name, None)
        self._followers.pop(name, None)

    def wrote(self, now: float, effects: list[Effect], ticket: int) -> None:
        index = self._log.append(effects)
        keys = [(effect.db, effect.key) for effect in effects if not isinstance(effect, Flush)]
        if len(keys) < len(effects):
            self._all_changed = index
        self._changed.update(dict.fromkeys(keys, index))
        self._unsafe.append(Unsafe(index, now + self._settings.sync_timeout_s, keys))
        self._tickets.append((ticket, index))

    def looked(self, keys: list[Key] | None, ticket: int) -> None:
        changed = [self._log.last] if keys is None else [self._changed.get(key, 0) for key in keys]
        index = max([self._all_changed, *changed])
        if index <= self._log.safe:
            self._do(Answer(ticket, Outcome.SAFE))
        else:
            self._tickets.append((ticket, index))

    def agreed(self, now_ms: int, record: Record) -> None:
        if record.ballot == self.epoch and record.version in self._records:
            self._records = {
                version: members for version, members in self._records.items() if version >= record.version
            }
            for name, follower in self._followers.items():
                self._begin_join(now_ms, name, follower)

    def stands(self, now_ms: int, name: str, stand: Stand) -> None:
        if stand.turn != self._turns[name]:
            return
        life, log = self._lives[name], self._log
        follower = self._followers[name] = Follower(life, sent=stand.index, acked=stand.index)
        is_whole = stand.since == self.since
        most = log.last if self.has_begun else NEVER
        if is_whole and self._may_lead(name, life) and log.first <= stand.index <= most:
            if log.last < stand.index:
                self._do(Send(name, Fetch(self.epoch, log.last)))
        elif not is_whole or stand.within != self.epoch or not log.first <= stand.index <= log.last:
            follower.is_whole = False
            self._begin_join(now_ms, name, follower)

    def _begin_join(self, now_ms: int, name: str, follower: Follower) -> None:
        """Not while it may lead: it forgets all."""
        if follower.is_whole or follower.parts is not None or self._may_lead(name, follower.life):
            return
        follower.sent = follower.acked = self._log.last
        follower.parts = slices(self._store.spaces, now_ms)
        self._do(Send(name, Begin(self.epoch, self._log.last)))
        self._next_part(name, follower)

    def fetched(self, now_ms: int, name: str, message: Fetched) -> None:
        """What does not count here, for the clocks differ too much, is left, and so is who has it."""
        if self.has_begun or name not in self._followers:
            return
        for number, effects in enumerate(message.entries, message.after + 1):
            if number != self._log.last + 1:
                continue
            if not take(self._store, now_ms, effects):
                return
            self._log.append(effects)
        if self._log.last < self._followers[name].acked:
            self._do(Send(name, Fetch(self.epoch, self._log.last)))

    def got(self, name: str, message: Got) -> None:
        if (follower := self._followers.get(name)) is None:
            return
        follower.acked = max(follower.acked, min(message.index, follower.sent))
        while follower.flight and follower.flight[0][0] <= follower.acked:
            follower.flight_bytes -= follower.flight.popleft()[1]

    def took(self, name: str) -> None:
        if (follower := self._followers.get(name)) is not None and not follower.is_whole:
            self._next_part(name, follower)

    # What follows from it

    def settle(self, now: float) -> None:
        self._leave_out(now)
        self._let_in()
        self._pump()
        acked = [self._acked(name, life) for name, life in self._waited_for()]
        if self.has_begun:
            self._log.hear_safe(min(acked, default=self._log.last))
            self._answer()
        elif len(self._records) == 1 and all(index == self._log.last for index in acked):
            self._log.hear_safe(self._log.last)
            self.has_begun = True
            self._do(Note("leads", self._settings.me, "leads the session store"))

    @property
    def deadline(self) -> float:
        if not self.has_begun:
            return self._begin_by
        return self._unsafe[0].due if self._unsafe else NEVER

    def end(self) -> None:
        for ticket, _ in self._tickets:
            self._do(Answer(ticket, Outcome.UNKNOWN))
        self._tickets.clear()

    def _answer(self) -> None:
        safe = self._log.safe
        while self._unsafe and self._unsafe[0].index <= safe:
            for key in self._unsafe.popleft().keys:
                if self._changed.get(key, NEVER) <= safe:
                    del self._changed[key]
        waiting: deque[tuple[int, int]] = deque()
        for ticket, index in self._tickets:
            if index <= safe:
                self._do(Answer(ticket, Outcome.SAFE))
            else:
                waiting.append((ticket, index))
        self._tickets = waiting

    def _leave_out(self, now: float) -> None:
        """Who cannot be waited for: it has another life, it lacks something, or it is late."""
        members = self._records[max(self._records)]
        late: set[str] = set()
        if not self.has_begun and now >= self._begin_by:
            self._begin_by = now + self._settings.sync_timeout_s
            late = {name for name, life in self._waited_for() if self._acked(name, life) != self._log.last}
        elif self.has_begun and self._unsafe and now >= self._unsafe[0].due:
            first = self._unsafe[0]
            first.due = now + self._settings.sync_timeout_s
            late = {name for name, life in self._waited_for() if self._acked(name, life) < first.index}
        for name in sorted(late):
            if name in self._followers:
                self._call(name)  # it may come back
        out = {name for name, life in members.items() if name in late or self._is_lost(name, life)}
        if out:
            for name in sorted(out):
                self._do(Note("out_of_sync", name, "is not in step in time"))
            self._propose({name: life for name, life in members.items() if name not in out})

    def _let_in(self) -> None:
        if not self.has_begun:
            return
        members = self._records[max(self._records)]
        new = {name: follower.life for name, follower in self._followers.items() if self._may_come_in(name, follower)}
        if new:
            for name in new:
                self._do(Note("in_sync", name, "has all that was changed here"))
            self._propose(members | new)

    def _may_come_in(self, name: str, follower: Follower) -> bool:
        is_new = not any(name in members for members in self._records.values())
        return is_new and follower.is_whole and follower.acked >= self._log.safe

    def _propose(self, members: dict[str, int]) -> None:
        version = max(self._records) + 1
        self._records[version] = members
        self._do(Propose(self.epoch, version, members))

    def _pump(self) -> None:
        for name, follower in list(self._followers.items()):
            while follower.sent < self._log.last and follower.flight_bytes < self._settings.window_bytes:
                if follower.sent < self._log.first:
                    self._call(name)  # it has to join anew
                    break
                entries, size = self._log.after(follower.sent)
                self._do(Send(name, Entries(self.epoch, follower.sent, entries, self._log.safe)))
                follower.sent += len(entries)
                follower.flight.append((follower.sent, size))
                follower.flight_bytes += size

    def _next_part(self, name: str, follower: Follower) -> None:
        if follower.parts is None:
            follower.is_whole = True
            return
        part = next(follower.parts, None)
        if part is None:
            follower.parts = None
        self._do(Send(name, Part(self.epoch, part or [], self.since if part is None else None)))

    def _waited_for(self) -> set[tuple[str, int]]:
        """All that may lead next, and those that are about to be let in."""
        everybody = {(name, life) for members in self._records.values() for name, life in members.items()}
        joining = {(name, each.life) for name, each in self._followers.items() if each.is_whole}
        return {each for each in everybody | joining if each[0] != self._settings.me}

    def _acked(self, name: str, life: int) -> int:
        if name == self._settings.me:
            return self._log.last
        follower = self._followers.get(name)
        return follower.acked if follower is not None and follower.life == life and follower.is_whole else -1

    def _may_lead(self, name: str, life: int) -> bool:
        return any(members.get(name) == life for members in self._records.values())

    def _is_lost(self, name: str, life: int) -> bool:
        is_other = name in self._lives and self._lives[name] != life
        follower = self._followers.get(name)
        return name != self._settings.me and (is_other or (follower is not None and not follower.is_whole))


def take(store: Store, now_ms: int, effects: list[Effect]) -> bool:
    """All of them, or none: False when one lies too far in the future."""
    latest_ms = now_ms + store.settings.max_drift_ms
    if any(wall_ms(newest_stamp(effect)) > latest_ms for effect in effects):
        return False
    for effect in effects:
        store.apply(now_ms, effect)
    return True
