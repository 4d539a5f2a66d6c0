"""What one node knows of one group, and nothing else: plain values in one struct.

Whoever decides (`candidacy`, `caution`, `arbitration`, `handover`, `conflict`, `voting`) is given this and the `Scene`,
looks after its own part of it, and returns a `Want` where the group's state is to change: that is for `Election` alone.
None of them knows the election, so what each can reach is what its arguments say.

Being plain, all of it is encoded as it is: a trace begins with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

from haagent.core.events import Freed
from haagent.core.group.lease import Lease
from haagent.core.group.service import Service
from haagent.core.group.transitions import GroupState
from haagent.core.group.voter import Voter
from haagent.core.membership import NEVER
from haagent.core.messages import Accepted, Ballot
from haagent.core.settings import GroupSettings

if TYPE_CHECKING:
    from haagent.core.scene import Scene


class Candidacy(msgspec.Struct):
    free_since: float
    not_before: float = NEVER  # we have just failed: others first
    courteous_until: float = NEVER  # we have just let go: others first, until one of them has it
    try_at: float = float("inf")  # when this node's turn comes, once the group is free
    claims: dict[str, float] = {}  # who has claimed it lately, and until when that may be worth something


class Caution(msgspec.Struct):
    last_held: Ballot | None = None  # highest ballot that anybody was heard, or seen by us, to hold with
    watched_since: float = NEVER
    word: str | None = None  # the neighbours': empty: nobody answers; None: not asked, or not answered yet
    is_watching: bool = False
    free_since: float = NEVER  # nobody holds it any more, by the word of who did


class Arbitration(msgspec.Struct):
    granted_at: float = NEVER  # when the request was sent that the arbiter granted last, of this tenure
    refused: bool = False  # it is bound to somebody else, and has said so of this tenure
    bound_to: Ballot | None = None  # whom it named then
    bound_until: float = NEVER  # that may be true until then
    freed: dict[str, Freed] = {}  # what each node has let go, by its own word


class Pledge(msgspec.Struct, frozen=True):
    """Our vote after the release."""

    vote: Accepted
    since: float
    lease_s: float


class Handover(msgspec.Struct):
    to: str = ""  # stays named after the release, so that the others let it go first
    deadline: float = NEVER
    better_since: dict[str, float] = {}  # failback: since when each preferred node has been fit
    pledge: Pledge | None = None


class Conflict(msgspec.Struct):
    since: dict[str, float] = {}  # who claims to hold it too, and since when we have heard that
    heard_at: dict[str, float] = {}  # and when last
    answers: dict[str, int] = {}  # our first heartbeat that answers such a claim, and so shows that we hear it


class Group(msgspec.Struct):
    settings: GroupSettings
    voter: Voter
    candidacy: Candidacy
    silent_until: float = NEVER  # of this group alone; the node's own silence comes on top
    state: GroupState = GroupState.IDLE  # set by `transitions.become` alone
    lease: Lease | None = None
    released: Ballot | None = None
    why_unfit: str = ""  # the checks' word on this node
    failures: list[float] = []
    cleared: int = 0
    is_forced: bool = False  # this tenure was ordered although the checks say that we are not fit
    cause: str = ""  # why this tenure began
    was_found: bool = False  # an earlier life left the addresses here
    held_since: float = NEVER
    held_seq: int = 0  # first heartbeat that says we hold it
    claim_deadline: float = NEVER
    drop_began: float = NEVER
    service: Service = msgspec.field(default_factory=Service)
    caution: Caution = msgspec.field(default_factory=Caution)
    arbitration: Arbitration = msgspec.field(default_factory=Arbitration)
    handover: Handover = msgspec.field(default_factory=Handover)
    conflict: Conflict = msgspec.field(default_factory=Conflict)

    @classmethod
    def new(cls, settings: GroupSettings, now: float, *, floor: int, silent_until: float) -> Self:
        return cls(settings, Voter.above(floor), Candidacy(free_since=now), silent_until)

    @property
    def name(self) -> str:
        return self.settings.name

    def why_not(self, node: str) -> str:
        """Why that node, if it is this one, may not hold it; empty: it may."""
        return f"`never` names {node}" if node in self.settings.never else self.why_unfit

    def may_vote(self, scene: Scene, now: float) -> bool:
        return now >= self.silent_until and scene.may_vote(now)
