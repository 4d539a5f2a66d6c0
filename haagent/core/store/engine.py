"""Which role a Redis or Valkey that the agent runs has: what to tell it, and whom to follow.

It starts fenced: a replica of nobody, which refuses reads and writes, and cannot become a master by itself. It is
made the master only while its node holds the lease, and only if this very life of it is in the agreed record of those
that have all that was answered (strong/record.py): a new life is empty, and all others would copy its emptiness. So a
holder whose engine has died lets go of the lease, for one that has everything.

A planned move pauses writes, waits until the other one has the same offset, fences, and lets go. Redis's own FAILOVER
makes the other one a master before it holds the lease, so it is not used.

The shell that this is for does not exist yet: nothing outside the tests imports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from haagent.core.store.strong.record import Record

MOVE_S = 5.0  # after which a move is given up


class Stage(Enum):
    DOWN = "down"
    FENCED = "fenced"
    FOLLOWING = "following"
    IN_STEP = "in step"  # it follows, and may lead next
    MASTER = "master"
    MOVING = "moving"  # still the master, but writes are paused


# What happens


@dataclass(frozen=True)
class Started:
    """Fenced, and empty. `life` is a number that no other start has."""

    life: int


@dataclass(frozen=True)
class Died:
    pass


@dataclass(frozen=True)
class Copy:
    """A replica, as its master sees it."""

    life: int
    offset: int


@dataclass(frozen=True)
class Said:
    """What the engine answers when it is asked."""

    is_master: bool
    offset: int
    copies: dict[str, Copy] = field(default_factory=dict)


@dataclass(frozen=True)
class Holds:
    """Our node holds the lease, and this is agreed. Also told when a newer record is agreed."""

    record: Record


@dataclass(frozen=True)
class Holder:
    """Our node does not hold the lease; this one does, or nobody. `record` is the newest that is known here.

    Told again and again.
    """

    name: str | None
    record: Record | None = None


@dataclass(frozen=True)
class Move:
    """The operator wants another one to be the master."""

    to: str


Event = Started | Died | Said | Holds | Holder | Move


# What is to be done


@dataclass(frozen=True)
class Start:
    """Fenced."""


@dataclass(frozen=True)
class Fence:
    """Then break the connections of clients, and end a pause: not before, or a write slips in."""


@dataclass(frozen=True)
class Follow:
    name: str


@dataclass(frozen=True)
class Promote:
    pass


@dataclass(frozen=True)
class Pause:
    """Writes, for so long at most."""

    seconds: float


@dataclass(frozen=True)
class Resume:
    pass


@dataclass(frozen=True)
class Propose:
    version: int
    members: dict[str, int]


@dataclass(frozen=True)
class LetGo:
    """Of the lease."""

    why: str


Action = Start | Fence | Follow | Promote | Pause | Resume | Propose | LetGo


class Engine:
    def __init__(self, me: str, *, sync_timeout_s: float) -> None:
        self.stage = Stage.DOWN
        self.life = 0
        self._me = me
        self._sync_timeout_s = sync_timeout_s
        self._follows: str | None = None
        self._agreed: Record | None = None  # while we hold the lease
        self._proposed: list[Propose] = []  # since the agreed one
        self._offset = 0  # that the master said the last time
        self._kept_up: dict[str, float] = {}  # when a member had all that there was the time before
        self._lives: dict[str, int] = {}  # of the replicas that it named the last time
        self._move: tuple[str, float] | None = None

    @property
    def waits_for(self) -> frozenset[str]:
        """All of these must have a change before it is answered."""
        if self._agreed is None:
            return frozenset()
        names = set(self._agreed.members).union(*(proposal.members for proposal in self._proposed))
        return frozenset(names - {self._me})

    def handle(self, now: float, event: Event) -> list[Action]:
        match event:
            case Started(life=life):
                self.life, self.stage, self._follows = life, Stage.FENCED, None
                return []
            case Died():
                return self._died()
            case Holds(record=record):
                return self._holds(now, record)
            case Holder(name=name, record=record):
                return self._follow(name, record)
            case Move(to=to):
                return self._begin_move(now, to)
            case Said():
                return self._said(now, event)

    # ------------------------------------------------------------------ the lease

    def _died(self) -> list[Action]:
        had_lease = self._agreed is not None
        self.life, self.stage, self._follows = 0, Stage.DOWN, None
        self._forget()
        return [*([LetGo("its engine has died")] if had_lease else []), Start()]

    def _holds(self, now: float, record: Record) -> list[Action]:
        if self.life == 0 or record.members.get(self._me) != self.life:
            return self._give_up("its engine has not all that was answered")
        if self._agreed is None or record.ballot != self._agreed.ballot:
            self._forget()
            self._kept_up = dict.fromkeys(record.members, now)
        self._agreed = record
        self._proposed = [proposal for proposal in self._proposed if proposal.version > record.version]
        if self._is_master:
            return []
        self.stage, self._follows = Stage.MASTER, None
        return [Promote()]

    def _follow(self, name: str | None, record: Record | None) -> list[Action]:
        self._forget()
        if self.stage is Stage.DOWN:
            return []
        is_in = record is not None and record.members.get(self._me) == self.life
        if name is None or name == self._me:
            return self._fence() if self._is_master else []  # a replica goes on, so it has as much as there is
        if self._follows == name:
            self.stage = Stage.IN_STEP if is_in else Stage.FOLLOWING
            return []
        actions: list[Action] = self._fence() if self._is_master else []
        self.stage, self._follows = Stage.FOLLOWING, name
        return [*actions, Follow(name)]

    def _give_up(self, why: str) -> list[Action]:
        actions: list[Action] = self._fence() if self._is_master else []
        self._forget()
        return [*actions, LetGo(why)]

    def _fence(self) -> list[Action]:
        self.stage, self._follows = Stage.FENCED, None
        return [Fence()]

    def _forget(self) -> None:
        self._agreed, self._proposed, self._move, self._lives = None, [], None, {}
        self._kept_up = {}
        self._offset = 0

    @property
    def _is_master(self) -> bool:
        return self.stage in {Stage.MASTER, Stage.MOVING}

    # ------------------------------------------------------------------ what it says

    def _said(self, now: float, said: Said) -> list[Action]:
        if self.stage is Stage.DOWN:
            return []
        if said.is_master and not self._is_master:
            again: list[Action] = [Follow(self._follows)] if self._follows else []
            return [Fence(), *again]  # somebody else has promoted it
        if not self._is_master:
            return []
        if not said.is_master:
            return self._give_up("its engine is no master any more")
        actions = self._weigh(now, said)
        return [*actions, *self._go_on_moving(now, said)]

    def _weigh(self, now: float, said: Said) -> list[Action]:
        """Who is in step: it has all that there was the time before, when it was there already."""
        assert self._agreed is not None
        latest = self._proposed[-1] if self._proposed else Propose(self._agreed.version, self._agreed.members)
        members = dict(latest.members)
        for name, copy in said.copies.items():
            if name == self._me or self._lives.get(name) != copy.life or copy.offset < self._offset:
                continue
            if members.get(name, copy.life) == copy.life:
                members[name] = copy.life
                self._kept_up[name] = now
        for name in sorted(set(members) - {self._me}):
            if now - self._kept_up.get(name, now) > self._sync_timeout_s:
                del members[name]  # answers wait for it until this is agreed
        self._lives = {name: copy.life for name, copy in said.copies.items()}
        self._offset = said.offset
        if members == latest.members:
            return []
        proposal = Propose(latest.version + 1, members)
        self._proposed.append(proposal)
        return [proposal]

    # ------------------------------------------------------------------ a planned move

    def _begin_move(self, now: float, to: str) -> list[Action]:
        if self.stage is not Stage.MASTER or self._agreed is None or to not in self._agreed.members or to == self._me:
            return []
        self.stage, self._move = Stage.MOVING, (to, now + MOVE_S)
        return [Pause(2 * MOVE_S)]  # nobody writes between our last look and the fence

    def _go_on_moving(self, now: float, said: Said) -> list[Action]:
        if self._move is None or self._agreed is None:
            return []
        to, due = self._move
        copy = said.copies.get(to)
        if now >= due:
            self.stage, self._move = Stage.MASTER, None
            return [Resume()]
        if copy is not None and copy.life == self._agreed.members.get(to) and copy.offset == said.offset:
            return self._give_up(f"{to} has it all, and takes over")
        return []
