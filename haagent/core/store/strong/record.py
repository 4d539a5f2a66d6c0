"""The record of who may lead: a register that a majority of the voters keeps, without a disk.

The lease says that nobody else leads now; it says nothing of who led before. So who has got it asks first: it shows its
ballot, and a voter that sees it obeys no older one and says which record it has. The newest of a majority is what
counts. Whoever is not in it, with this very life of its store, has to let go. Else it proposes the same members under
its own ballot, and each change after that; what a majority shows is agreed. (Paxos, with the lease for a leader.)

A voter that has restarted has forgotten its record. It does not count among those who are asked until a holder of the
lease has told it one: that holder has asked the others. For this it must not obey a ballot whose lease is over, so a
holder shows its ballot only while it holds, and only what answers the voter's present life is heard by it.

So two voters of three must not forget at once, nor one while another one is away: then nobody leads until all voters
are heard, and the newest record that one of them remembers counts, which may be too old. Where none does, or each life
in it is over, what was answered is lost, and somebody begins anew, with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haagent.core.messages import Ballot


class Record(msgspec.Struct, frozen=True, array_like=True):
    ballot: Ballot
    version: int  # grows while that ballot leads
    members: dict[str, int]  # the lives of those stores that have all that was answered
    since: Ballot  # under which somebody has begun anew: all before it is lost

    def is_after(self, other: Record | None) -> bool:
        return other is None or (self.ballot, self.version) > (other.ballot, other.version)


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a heartbeat says of it."""

    life: int = 0  # of the sender's store; 0: there is none
    leads: Ballot | None = None  # under which it holds the lease now
    promised: Ballot | None = None  # it obeys none that is older
    record: Record | None = None  # None: it has forgotten, or never knew


class Register:
    """Of one agent. The lease is somebody else's: `hold` and `let_go` say what becomes of it."""

    def __init__(self, me: str, voters: tuple[str, ...]) -> None:
        self.life = 0
        self.agreed: Record | None = None  # the newest, while we hold
        self._me = me
        self._voters = voters
        self._leads: Ballot | None = None
        self._promised: Ballot | None = None
        self._record: Record | None = None
        self._heard: dict[str, Said] = {}
        self._is_outside = False

    @property
    def said(self) -> Said:
        return Said(self.life, self._leads, self._promised, self._record)

    @property
    def is_barred(self) -> bool:
        """We hold the lease, and must let go: we have not all that was answered, or somebody holds a newer one."""
        if self._leads is None:
            return False
        is_in = self._record_of(self._leads) is None or self._is_member()
        promised = [said.promised for said in (*self._heard.values(), self.said) if said.promised is not None]
        return self._is_outside or not is_in or max(promised) > self._leads

    def hear(self, sender: str, said: Said) -> None:
        """A heartbeat that answers our present life."""
        self._heard[sender] = said
        if said.leads is not None and said.leads.node == sender:
            self._obey(said.leads, said.record)
        self._go_on()

    def hold(self, ballot: Ballot) -> None:
        self._leads = ballot
        self._obey(ballot, None)
        self._go_on()

    def let_go(self) -> None:
        self._leads = self.agreed = None
        self._is_outside = False

    def propose(self, version: int, members: Mapping[str, int]) -> None:
        """Of the store that leads. An older version comes too late."""
        if self.agreed is None or self._record is None or version <= self._record.version:
            return
        self._record = Record(self.agreed.ballot, version, dict(members), self.agreed.since)
        self._go_on()

    def _obey(self, ballot: Ballot, record: Record | None) -> None:
        if self._promised is not None and ballot < self._promised:
            return
        self._promised = ballot
        if record is not None and record.ballot == ballot and record.is_after(self._record):
            self._record = record

    def _go_on(self) -> None:
        ballot = self._leads
        if ballot is None:
            return
        if self._record_of(ballot) is None and (found := self._found(ballot)) is not None:
            if not self.life or found.members.get(self._me) != self.life:
                self._is_outside = True
                return
            self._record = Record(ballot, 1, found.members, found.since)
        if (mine := self._record_of(ballot)) is None or not self._is_member():
            return
        have_it = sum(said.record == mine for said in self._answers(ballot).values())
        if have_it >= self._majority and mine.is_after(self.agreed):
            self.agreed = mine

    def _found(self, ballot: Ballot) -> Record | None:
        """What to begin with; None: too few have answered."""
        answers = self._answers(ballot)
        records = [said.record for said in answers.values() if said.record is not None]
        are_all = len(answers) == len(self._voters)
        if len(records) >= self._majority or (records and are_all):
            newest = max(records, key=lambda record: (record.ballot, record.version))
            if any(self._lives(name, life, answers) for name, life in newest.members.items()):
                return newest
        return Record(ballot, 0, {self._me: self.life}, ballot) if are_all else None

    def _lives(self, name: str, life: int, answers: Mapping[str, Said]) -> bool:
        """As far as we know: only its own node knows that it does not."""
        return name not in answers or answers[name].life == life

    def _answers(self, ballot: Ballot) -> dict[str, Said]:
        """Of the voters that obey us, with what they say themselves."""
        everyone = {**self._heard, self._me: self.said}
        return {name: everyone[name] for name in self._voters if name in everyone and everyone[name].promised == ballot}

    def _record_of(self, ballot: Ballot) -> Record | None:
        return self._record if self._record is not None and self._record.ballot == ballot else None

    def _is_member(self) -> bool:
        return self._record is not None and self.life > 0 and self._record.members.get(self._me) == self.life

    @property
    def _majority(self) -> int:
        return len(self._voters) // 2 + 1
