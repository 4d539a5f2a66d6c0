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

An arbiter that was restored from a backup does not know any more what it has granted. Whoever has heard of that says so
with its claim (`Claim.after`): of a tenure that a heartbeat names, of what was granted or named here, and of what was
remembered over a restart. That is so in `consistent` alone: in `available` groups are held without the arbiter too.

What it does not cover: a grant of the last moment before the state that was lost, of which nobody but its holder has
heard.

The planned move's order is that of the votes: the successor wants, the holder lets go, and only then does the successor
claim. A claim made earlier would look to the holder's peers like a second holder.
"""

from __future__ import annotations

from haagent.core.events import Claim, Freed, Relinquish
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.group.wants import LetGo, RaiseBallot, StepBack
from haagent.core.membership import NEVER
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState

RECENT = 0.5  # leases: the other half is left for the votes to take over


def is_in_force(group: Group, state: NodeState, now: float) -> bool:
    """No lease grows without its word. What a holder in `available` does not hear of is no reason to let go."""
    if not state.is_arbitrated or state.settings.consistent or group.state not in HOLDING:
        return state.is_arbitrated
    arbitration = group.arbitration
    return arbitration.refused or now < arbitration.granted_at + RECENT * state.settings.lease_s


def hear(group: Group, state: NodeState, sender: Heartbeat, beat: GroupBeat) -> None:
    released, arbitration = beat.released, group.arbitration
    if beat.claim is not None and beat.tenure is not None and beat.held_ms > 0:
        _know(group, min(beat.tenure, beat.claim))
    if released is None or released.node != sender.node:
        return
    known = arbitration.freed.get(sender.node)
    if known is not None and known.boot == sender.boot and released <= known.ballot:
        return
    arbitration.freed[sender.node] = Freed(released, sender.boot)
    bound_to = arbitration.bound_to
    if bound_to is not None and bound_to.node == sender.node and bound_to <= released:
        arbitration.bound_until = NEVER
    if group.state is GroupState.CLAIMING:
        state.urge()  # the claim goes out again, and says so


def holder(group: Group, now: float) -> str:
    """Whom it named when it refused us last, if not longer ago than a lease."""
    bound_to = group.arbitration.bound_to
    return bound_to.node if bound_to is not None and now < group.arbitration.bound_until else ""


def _know(group: Group, granted: Ballot) -> None:
    known = group.arbitration.known
    group.arbitration.known = granted if known is None else max(known, granted)


# --- saying


def begin(group: Group) -> None:
    group.arbitration.granted_at, group.arbitration.refused, group.arbitration.addresses = NEVER, False, ()


def claim(group: Group, state: NodeState, now: float) -> None:
    if state.settings.arbiter:
        arbitration, named = group.arbitration, tuple(group.share.named)
        after = arbitration.known if state.settings.consistent else None
        state.do(Claim(group.name, group.attempt.ballot, now, tuple(arbitration.freed.values()), after, named))


def relinquish(group: Group, state: NodeState, ballot: Ballot) -> None:
    begin(group)
    if state.settings.arbiter:
        state.do(Relinquish(group.name, ballot))


# --- hearing the arbiter


def grant(group: Group, state: NodeState, ballot: Ballot, asked_at: float, addresses: tuple[int, ...]) -> None:
    if group.lease is None or ballot.node != state.settings.me or ballot < group.lease.tenure:
        return
    _know(group, ballot)
    arbitration = group.arbitration
    arbitration.granted_at, arbitration.refused = max(arbitration.granted_at, asked_at), False
    arbitration.bound_until, arbitration.addresses = NEVER, addresses


def deny(
    group: Group, state: NodeState, now: float, ballot: Ballot, stored: Ballot, *, is_bound: bool
) -> LetGo | RaiseBallot | StepBack | None:
    state.see_round(stored.round)
    _know(group, stored)
    arbitration, lease = group.arbitration, group.lease
    if is_bound:
        arbitration.bound_to, arbitration.bound_until = stored, now + state.settings.lease_s
    if lease is None or ballot < lease.tenure:
        return None
    if not is_bound:
        return RaiseBallot() if ballot >= lease.ballot else None  # else it has been raised already
    arbitration.refused = True
    if group.state is GroupState.CLAIMING:
        return StepBack()
    if state.settings.consistent:
        return LetGo(f"{state.settings.arbiter} gave the lease to {stored.node}")
    # In `available` two that held on either side of a cut meet like this: `conflict` decides, or our lease ends.
    return None
