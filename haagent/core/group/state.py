"""What one node knows of one group, and nothing else: plain values in one record.

Whoever decides (`candidacy`, `caution`, `arbitration`, `handover`, `conflict`, `voting`) is given this and `NodeState`,
looks after its own part of it, and returns a `Want` where the group's state is to change: that is for `election` alone.
None of them knows the election, so what each can reach is what its arguments say.

Being plain, all of it is encoded as it is: a trace begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from haagent.core.events import Freed
from haagent.core.group import transitions
from haagent.core.group.lease import Lease
from haagent.core.group.service import Service
from haagent.core.group.transitions import HAVING, GroupState, IllegalTransition
from haagent.core.group.voter import Voter
from haagent.core.membership import NEVER
from haagent.core.messages import Accepted, Ballot, GroupBeat
from haagent.core.settings import GroupSettings


@dataclass
class Candidacy:
    free_since: float
    not_before: float = NEVER  # we have just failed: others first
    courteous_until: float = NEVER  # we have just let go: others first, until one of them has it
    try_at: float = float("inf")  # when this node's turn comes, once the group is free
    claims: dict[str, float] = field(default_factory=dict)  # who has claimed it lately, and until when that counts


@dataclass
class TakeoverGuard:
    last_held: Ballot | None = None  # highest ballot that anybody was heard, or seen by us, to hold with
    watched_since: float = NEVER
    word: str | None = None  # the neighbours': empty: nobody answers; None: not asked, or not answered yet
    is_watching: bool = False
    free_since: float = NEVER  # nobody holds it any more, by the word of who did


@dataclass
class Arbitration:
    granted_at: float = NEVER  # when the request was sent that the arbiter granted last, of this tenure
    addresses: tuple[int, ...] = ()  # for which it is ours there
    refused: bool = False  # it is bound to somebody else, and has said so of this tenure
    bound_to: Ballot | None = None  # whom it named then
    bound_until: float = NEVER  # that may be true until then
    known: Ballot | None = None  # the highest ballot that it is known to have granted to anybody
    freed: dict[str, Freed] = field(default_factory=dict)  # what each node has let go, by its own word


@dataclass
class Pledge:
    """Our vote after the release."""

    vote: Accepted
    since: float
    lease_s: float
    addresses: tuple[int, ...] = ()


@dataclass
class Handover:
    to: str = ""  # stays named after the release, so that the others let it go first
    deadline: float = NEVER
    better_since: dict[str, float] = field(default_factory=dict)  # failback: since when each that is better is fit
    lighter_since: float = NEVER  # since when there is a node with a lower penalty
    pledge: Pledge | None = None


@dataclass
class Share:
    """Of the group's addresses, of which others may have one in another group (`ownership`)."""

    named: dict[int, float] = field(default_factory=dict)  # what our claim names, and from when on it counts
    served: tuple[int, ...] = ()  # of these what a majority has accepted
    missed: set[int] = field(default_factory=set)  # what was found elsewhere, and said to be
    not_before: float = NEVER  # another has named the same
    lingering: dict[int, float] = field(default_factory=dict)  # lost by a reload, and named until then all the same


@dataclass
class Conflict:
    since: dict[str, float] = field(default_factory=dict)  # who claims to hold it too, and since when we hear that
    heard_at: dict[str, float] = field(default_factory=dict)  # and when last
    # Our first heartbeat that answers such a claim, and so shows that we hear it.
    answers: dict[str, int] = field(default_factory=dict)


@dataclass
class Group:
    name: str
    settings: GroupSettings
    voter: Voter
    candidacy: Candidacy
    silent_until: float = NEVER  # of this group alone; the node's own silence comes on top
    state: GroupState = GroupState.IDLE  # set by `become` alone
    lease: Lease | None = None
    released: Ballot | None = None
    why_unfit: str = ""  # the checks' word on this node
    penalty: int = 0  # what those that fail and have a weight weigh together
    failures: list[float] = field(default_factory=list)
    cleared: int = 0
    is_forced: bool = False  # this tenure was ordered although the checks say that we are not fit
    cause: str = ""  # why this tenure began
    was_found: bool = False  # an earlier life left the addresses here
    is_disowned: bool = False  # and they are being removed
    held_since: float = NEVER
    held_seq: int = 0  # first heartbeat that says we hold it
    served_seq: int = 0  # and the first that says that clients are served
    claim_deadline: float = NEVER
    drop_began: float = NEVER
    service: Service = field(default_factory=Service)
    caution: TakeoverGuard = field(default_factory=TakeoverGuard)
    arbitration: Arbitration = field(default_factory=Arbitration)
    handover: Handover = field(default_factory=Handover)
    conflict: Conflict = field(default_factory=Conflict)
    share: Share = field(default_factory=Share)

    @classmethod
    def new(cls, settings: GroupSettings, now: float, *, floor: int, silent_until: float) -> Self:
        return cls(settings.name, settings, Voter.above(floor), Candidacy(free_since=now), silent_until)

    def why_not(self, node: str) -> str:
        """Why that node, if it is this one, may not hold it; empty: it may."""
        return f"`never` names {node}" if node in self.settings.never else self.why_unfit

    def become(self, target: GroupState) -> None:
        """The one place that sets the state."""
        if (self.state, target) not in transitions.LEGAL:
            raise IllegalTransition(f"a group cannot become {target} while it is {self.state}")
        self.state = target

    @property
    def attempt(self) -> Lease:
        """There is one in every state but `IDLE`."""
        assert self.lease is not None
        return self.lease

    def beat(self, now: float) -> GroupBeat:
        """What this node says of the group in its heartbeats."""
        state, lease, voter, gap_s = self.state, self.lease, self.voter, self.service.gap_s
        has_it = state in HAVING
        return GroupBeat(
            name=self.name,
            promised=voter.promised,
            accepted=voter.accepted if voter.is_bound(now) else None,
            want=lease.ballot if lease and state is GroupState.WANTING else None,
            claim=lease.ballot if lease and (has_it or state is GroupState.CLAIMING) else None,
            released=self.released,
            tenure=lease.tenure if lease and has_it else None,
            active=state in (GroupState.ACTIVE, GroupState.YIELDING),
            eligible=not self.why_unfit,
            why_not=self.why_unfit,
            failures=len(self.failures),
            held_ms=max(1, int(1000 * (now - self.held_since))) if has_it else 0,
            yield_to=self.handover.to,
            gap_ms=-1.0 if gap_s is None else 1000 * gap_s,
            down_ms=1000 * (now - self.drop_began) if self.drop_began > NEVER else -1.0,
            cause=self.cause if has_it else "",
            leaving=state is GroupState.DROPPING,
            penalty=self.penalty,
            left=self.was_found,
            addresses=tuple(self._addresses(now)),
        )

    def _addresses(self, now: float) -> Iterable[int]:
        """That are ours, or may become so; else those of whom we are bound to."""
        if self.lease is not None:
            return self.share.named
        if self.was_found:
            return self.settings.addresses
        return self.voter.addresses if self.voter.is_bound(now) else ()
