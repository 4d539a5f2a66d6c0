"""The lease of one group where an arbiter outside (etcd) has a word in it.

While we claim or hold, every heartbeat of ours but a farewell comes with a `Claim`; the answer is `Granted`, worth L
from when the request was *sent*, or `Denied`.

* `consistent`: the arbiter decides alone. It is one voter that never forgets, so its word is a majority, two nodes are
  enough, and a restarted one need not keep silent. Without it nobody takes, and what is held runs out.
* `available`: the arbiter is asked on top of the votes, while it can be reached: a lease is worth the lesser of the
  two. So nodes that are cut from each other and not from the arbiter do not both hold, and nodes that hear each other
  do not either, whichever of them reaches it. A holder that the arbiter has not answered yet goes on by the votes
  alone, and so does everybody while it is away: there is no gap in either change, because peers accept claims all the
  time.

A release that we heard from its holder tells the arbiter's side that it need not wait for the end of that lease
(`Claim.freed`): a planned move, or an agent whose guardian has spoken, is no slower with an arbiter than without. Such
a word counts for one life only: a later life of that node may claim with a lower ballot than it names.

The planned move's order is that of the votes: the successor wants, the holder lets go, and only then does the successor
claim. A claim made earlier would look to the holder's peers like a second holder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.events import Claim, Freed, Relinquish
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.membership import NEVER
from haagent.core.messages import Ballot, GroupBeat, Heartbeat

if TYPE_CHECKING:
    from haagent.core.election import Election


RECENT = 0.5  # leases: the other half is left for the votes to take over


class Arbitration:
    def __init__(self, election: Election) -> None:
        self.election = election
        self.granted_at = NEVER  # when the request was sent that the arbiter granted last, of this tenure
        self.refused = False  # it is bound to somebody else, and has said so of this tenure
        self.bound_to: Ballot | None = None  # whom it named then
        self.bound_until = NEVER  # that may be true until then
        self.freed: dict[str, Freed] = {}  # what each node has let go, by its own word

    def is_in_force(self, now: float) -> bool:
        """No lease grows without its word. What a holder in `available` does not hear of is no reason to let go."""
        scene = self.election.scene
        if not scene.is_arbitrated or scene.settings.consistent or self.election.state not in HOLDING:
            return scene.is_arbitrated
        return self.refused or now < self.granted_at + RECENT * scene.settings.lease_s

    def hear(self, sender: Heartbeat, beat: GroupBeat) -> None:
        released = beat.released
        if released is None or released.node != sender.node:
            return
        known = self.freed.get(sender.node)
        if known is not None and known.boot == sender.boot and released <= known.ballot:
            return
        self.freed[sender.node] = Freed(released, sender.boot)
        if self.bound_to is not None and self.bound_to.node == sender.node and self.bound_to <= released:
            self.bound_until = NEVER
        if self.election.state is GroupState.CLAIMING:
            self.election.scene.urge()  # the claim goes out again, and says so

    def holder(self, now: float) -> str:
        """Whom it named when it refused us last, if not longer ago than a lease."""
        return self.bound_to.node if self.bound_to is not None and now < self.bound_until else ""

    # --- saying

    def begin(self) -> None:
        self.granted_at, self.refused = NEVER, False

    def claim(self, now: float) -> None:
        lease, scene = self.election.lease, self.election.scene
        if lease is not None and scene.settings.arbiter:
            scene.do(Claim(self.election.group.name, lease.ballot, now, tuple(self.freed.values())))

    def relinquish(self, ballot: Ballot) -> None:
        self.begin()
        if self.election.scene.settings.arbiter:
            self.election.scene.do(Relinquish(self.election.group.name, ballot))

    # --- hearing the arbiter

    def lost(self) -> None:
        """It cannot be reached. In `available` what it granted is no reason to ignore the votes any more."""
        if not self.election.scene.settings.consistent:
            self.begin()

    def grant(self, ballot: Ballot, asked_at: float) -> None:
        lease = self.election.lease
        if lease is None or ballot.node != self.election.scene.settings.me or ballot < lease.tenure:
            return
        self.granted_at, self.refused = max(self.granted_at, asked_at), False
        self.bound_until = NEVER

    def deny(self, now: float, ballot: Ballot, stored: Ballot, *, is_bound: bool) -> None:
        election, scene = self.election, self.election.scene
        scene.see_round(stored.round)
        lease = election.lease
        if is_bound:
            self.bound_to, self.bound_until = stored, now + scene.settings.lease_s
        if lease is None or ballot < lease.tenure:
            return
        if not is_bound:
            if ballot >= lease.ballot:  # else it has been raised already
                election.raise_ballot()
            return
        self.refused = True
        if election.state is GroupState.CLAIMING:
            election.step_back(now)
        elif scene.settings.consistent:
            election.drop(now, f"{scene.settings.arbiter} has given it to {stored.node}")
        # In `available` two that held on either side of a cut meet like this: `rivalry` decides, or our lease ends.
