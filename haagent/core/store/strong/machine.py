"""A store where one leads: it follows whoever has the newest lease, or leads itself.

A follower applies what the leader has changed, in the leader's order. What it has of an earlier leader, and nobody was
answered, it keeps until the next one has seen it: he takes it, or leaves this store out.
"""

from __future__ import annotations

from haagent.core.messages import Ballot
from haagent.core.store.events import HangUp, Linked, Unlinked, Woke
from haagent.core.store.store import Store
from haagent.core.store.strong.events import (
    Action,
    Agreed,
    Answer,
    Appointed,
    Dismissed,
    Event,
    Looked,
    Outcome,
    Received,
    Renewed,
    Send,
    StrongSettings,
    Wrote,
)
from haagent.core.store.strong.leading import NEVER, Leading, take
from haagent.core.store.strong.log import Log
from haagent.core.store.strong.messages import Begin, Entries, Fetch, Fetched, Got, Lead, Message, Part, Stand, Took

AHEAD = "what was changed there lies in the future here: the clocks differ too much"


class Machine:
    def __init__(self, settings: StrongSettings, store: Store, *, life: int) -> None:
        self.settings = settings
        self.store = store
        self.life = life
        self.log = Log(settings.backlog_bytes)
        self.leader = ""  # whom we follow
        self._since: Ballot | None = None  # somebody has begun anew, and here is all of it; None: something is lacking
        self._epoch: Ballot | None = None  # the newest that we have heard of
        self._within: Ballot | None = None  # of the latest in the log
        self._until = -NEVER  # we have the lease
        self._leading: Leading | None = None
        self._lives: dict[str, int] = {}  # of those that are linked
        self._actions: list[Action] = []

    def serves(self, now: float) -> bool:
        """Commands are executed here. To be asked before each of them, for this process may have slept."""
        return self._leading is not None and self._leading.has_begun and now < self._until

    @property
    def deadline(self) -> float:
        return NEVER if self._leading is None else self._leading.deadline

    def step(self, now: float, now_ms: int, event: Event) -> list[Action]:
        self._actions = []
        match event:
            case Linked():
                self._lives[event.peer] = event.life
                if self._leading is not None:
                    self._leading.linked(event.peer, event.life)
            case Unlinked():
                self._lives.pop(event.peer, None)
                if self._leading is not None:
                    self._leading.unlinked(event.peer)
            case Received():
                if event.peer in self._lives:
                    self._heard(now_ms, event.peer, event.message)
            case Appointed():
                self._appointed(now, event)
            case Renewed():
                self._until = event.until
            case Agreed():
                if self._leading is not None:
                    self._leading.agreed(now_ms, event.record)
            case Dismissed():
                self._end()
            case Wrote():
                if self._leading is not None:
                    self._within = self._epoch
                    self._leading.wrote(now, event.effects, event.ticket)
                else:
                    self._do(Answer(event.ticket, Outcome.UNKNOWN))
            case Looked():
                if self._leading is not None:
                    self._leading.looked(event.keys, event.ticket)
                else:
                    self._do(Answer(event.ticket, Outcome.UNKNOWN))
            case Woke():
                pass
        if self._leading is not None:
            self._leading.settle(now)
        return self._actions

    # Leading

    def _appointed(self, now: float, event: Appointed) -> None:
        record, mine = event.record, {self.settings.me: self.life}
        is_anew = record.since != self._since
        if record.members.get(self.settings.me) != self.life or (is_anew and record.members != mine):
            return
        if self._epoch is not None and record.ballot <= self._epoch:
            return
        self._end()
        if is_anew:  # what is here is of something that is lost
            self.store.clear()
            self.log.begin(0)
            self._since = record.since
        self._epoch, self.leader, self._until = record.ballot, "", event.until
        self._leading = Leading(self.settings, self.store, self.log, event.record, now=now, do=self._do)
        for peer, life in self._lives.items():
            self._leading.linked(peer, life)

    def _end(self) -> None:
        """It leads no more. What nobody has been answered stays in the log."""
        if self._leading is not None:
            self._leading.end()
            self._leading = None

    # What peers say

    def _heard(self, now_ms: int, peer: str, message: Message) -> None:
        if isinstance(message, Lead):
            self._led(peer, message)
        elif message.epoch != self._epoch:
            pass  # of a leader that is none any more, or to one
        elif self._leading is not None:
            self._answered(now_ms, self._leading, peer, message)
        elif peer == self.leader:
            self._told(now_ms, peer, message)

    def _answered(self, now_ms: int, leading: Leading, peer: str, message: Message) -> None:
        match message:
            case Stand():
                leading.stands(now_ms, peer, message)
            case Fetched():
                leading.fetched(now_ms, peer, message)
            case Got():
                leading.got(peer, message)
            case Took():
                leading.took(peer)

    def _led(self, peer: str, lead: Lead) -> None:
        if self._epoch is not None and lead.epoch < self._epoch:
            return
        self._end()
        self._epoch, self.leader = lead.epoch, peer
        self._send(peer, Stand(lead.epoch, lead.turn, self.log.last, self._since, self._within))

    def _told(self, now_ms: int, peer: str, message: Message) -> None:
        match message:
            case Entries():
                self._follow(now_ms, peer, message)
            case Fetch():
                entries, _ = self.log.after(message.after) if message.after >= self.log.first else ([], 0)
                self._send(peer, Fetched(message.epoch, message.after, entries))
            case Begin():
                self.store.clear()
                self.log.begin(message.index)
                self._since = None
            case Part():
                if not take(self.store, now_ms, message.effects):
                    self._do(HangUp(peer, AHEAD))
                    return
                if message.since is not None:
                    self._since, self._within = message.since, message.epoch
                self._send(peer, Took(message.epoch))

    def _follow(self, now_ms: int, peer: str, message: Entries) -> None:
        if message.after != self.log.last:
            self._do(HangUp(peer, f"what follows {message.after} does not follow {self.log.last}"))
            return
        for effects in message.entries:
            if not take(self.store, now_ms, effects):
                self._do(HangUp(peer, AHEAD))
                break
            self.log.append(effects)
            self._within = message.epoch
        self.log.hear_safe(message.safe)
        self._send(peer, Got(message.epoch, self.log.last))

    def _send(self, peer: str, message: Message) -> None:
        self._do(Send(peer, message))

    def _do(self, action: Action) -> None:
        self._actions.append(action)
