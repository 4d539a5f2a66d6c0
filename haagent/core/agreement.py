"""Who votes is itself agreed: a set of voters with a stamp, and how it is changed while nodes come and go.

Two holders would need two majorities that share no voter. Majorities of one set always share one; majorities of two
different sets need not, and a configuration file is edited on one node after the other. So a file is only a wish. What
counts is `Agreed`: it rides in every heartbeat, is kept over restarts, and is changed in one place. (In the manner of
MongoDB's logless reconfiguration, arXiv 2102.11960: a configuration is ordered by its stamp, and no log is needed.)

1.  A vote is given and counted only between nodes that have the very same `Agreed`.
2.  Stamps are ordered by the term, which is the ballot of a tenure of the group `leader`, then by version. Whoever
    hears a higher stamp takes it over at once, and nobody goes back. A stamp that is far above all that was heard is
    come up to in steps, as a round is (`credible`). A witness alone is not believed: it never makes one, and is where a
    key is most easily stolen. But it may be the only one that remembers, when who has made it was lost at that moment.
    So it is believed in what one's own file wishes, a small step at a time, and no sooner after another set than a
    leader would make one: whatever it says, and whatever it says to another, the others keep up with each other.
3.  Only the holder of `leader` makes one. First it stamps the present set with its own tenure; what a former leader
    may have begun has a lower stamp from then on. Once a majority has had that for as long as any lease runs, it makes
    the next: a set that has one voter more or one fewer, as its own file wishes. So it goes, one at a time.

Why no two majorities. Any majority of a set meets any majority of one that differs by one voter. Before a third set is
made, a majority of the second has had the second for a lease: among them is one of every majority of the first. It
gives no vote under the first any more, and what it gave before has run out. So whatever was granted under a set is over
before one is made that could have a majority without it. Two that were made from one set by two leaders: the later has
stamped that set before, on a majority; it meets every majority of what the earlier made, and votes there for nobody.

What it does not cover. A node that has lost its memory (`memory.json`) believes its file, as one that is new does. In
`available` whoever is alive decides, and nothing is agreed; nor is it where an arbiter gives the leases.
"""

from __future__ import annotations

from collections.abc import Collection

from haagent.core.event_kinds import Kind
from haagent.core.group.state import Group
from haagent.core.group.transitions import GroupState
from haagent.core.limits import LEAP, STEP
from haagent.core.membership import Peer
from haagent.core.messages import Agreed, Ballot, Heartbeat
from haagent.core.node_state import NodeState


def hear(state: NodeState, now: float, beat: Heartbeat) -> None:
    """Rule 2. Called when the sender's beat is among what is known of the peers."""
    theirs = beat.agreed
    if theirs is None or not state.is_agreed or _stamp(theirs) <= _stamp(state.agreed):
        return
    if beat.node not in state.witnesses:
        state.see_version(min(theirs.version, state.version + LEAP))
        is_believed = theirs.term.round <= state.round and theirs.version <= state.version
    else:
        is_near = theirs.term.round <= state.round + STEP and theirs.version <= state.version + STEP
        is_believed = is_near and (_is_time_for_another(state, now, theirs) or _is_common(state, theirs))
    if is_believed:
        _adopt(state, now, theirs)


def _is_time_for_another(state: NodeState, now: float, theirs: Agreed) -> bool:
    may_be_next = {*theirs.voters} == {*state.settings.voters}
    return may_be_next and now >= state.agreed_since + state.settings.silence_s(state.longest_lease_s(now))


def _is_common(state: NodeState, theirs: Agreed) -> bool:
    """It could name whom it likes: a majority of those that we know counts as well."""
    said_by = {peer.name for peer in state.membership.peers.values() if _says(peer, theirs)}
    return all(2 * len(said_by & one) > len(one) for one in ({*theirs.voters}, {*state.agreed.voters}))


def advance(state: NodeState, now: float, leader: Group) -> None:
    """Rule 3."""
    wish = _own_wish(state, now, leader)
    if wish is None:
        return
    agreed, tenure = state.agreed, leader.attempt.tenure
    if agreed.term < tenure:
        _adopt(state, now, Agreed(tenure, agreed.version, agreed.voters))
    elif now >= settled_at(state, now):
        _adopt(state, now, Agreed(tenure, agreed.version + 1, wish))


def due(state: NodeState, now: float, leader: Group) -> float:
    """When it may go on, as things are now."""
    return float("inf") if _own_wish(state, now, leader) is None else settled_at(state, now)


def _own_wish(state: NodeState, now: float, leader: Group) -> tuple[str, ...] | None:
    """What this node may bring about: it holds `leader`, and nobody has led later."""
    may_make = leader.state is GroupState.ACTIVE and state.agreed.term <= leader.attempt.tenure
    return next_wish(state, now) if may_make else None


def next_wish(state: NodeState, now: float) -> tuple[str, ...] | None:
    """The set that this node's file wishes, if it is the next step and whoever comes new is heard; None: no change."""
    wish, present = sorted(state.settings.voters), set(state.agreed.voters)
    if not state.is_agreed or len(present ^ set(wish)) != 1:
        return None
    alive = state.membership.alive(now)
    if not present | {peer.name for peer in alive} >= {*wish}:
        return None
    return None if any(peer.beat is None or peer.beat.agreed is None for peer in alive) else tuple(wish)


def settled_at(state: NodeState, now: float) -> float:
    """From when on a majority has had what is agreed for as long as any lease runs that was granted before."""
    since = {peer.name: peer.agreed_since for peer in state.membership.peers.values() if _says(peer, state.agreed)}
    since[state.settings.me] = state.agreed_since
    instants = sorted(since[name] for name in state.agreed.voters if name in since)
    needed = state.majority
    silence_s = state.settings.silence_s(state.longest_lease_s(now))
    return instants[needed - 1] + silence_s if len(instants) >= needed else float("inf")


def steps(present: Collection[str], wish: Collection[str]) -> str:
    """How to come from these voters to those, if it is more than one step; else empty."""
    # First the new ones: a set that has grown survives more.
    verbs = [f"add {name}" for name in sorted({*wish} - {*present})]
    verbs += [f"remove {name}" for name in sorted({*present} - {*wish})]
    if len(verbs) < 2:
        return ""
    each = "; each time reload every node, and wait until `haagent status` shows the new voters"
    return ", then ".join(verbs) + each


def explain(state: NodeState) -> str:
    """Where this node's file and what is agreed differ, and what comes of it; empty: nowhere."""
    present, wish = {*state.agreed.voters}, {*state.settings.voters}
    if not state.is_agreed or present == wish:
        return ""
    differ = f"the file of {state.settings.me} names {_named(wish)}, and the nodes agreed on {_named(present)}"
    if way := steps(present, wish):
        return f"{differ}; one voter at a time may come or go: {way}"
    (name,) = present ^ wish
    is_new = name in wish
    return (
        f"{differ}; {name} {'becomes a voter' if is_new else 'is no longer a voter'} as soon as the node that holds "
        f"`leader` has such a file{f' and hears {name}' if is_new else ''}, and a majority hears of it"
    )


def _named(voters: Collection[str]) -> str:
    return ", ".join(sorted(voters))


def _adopt(state: NodeState, now: float, agreed: Agreed) -> None:
    if agreed.voters != state.agreed.voters:
        state.note(Kind.VOTERS, "", f"the voters are now {_named(agreed.voters)}", now=now)
    state.agreed, state.agreed_since = agreed, now
    state.see_round(agreed.term.round)  # the next leader's term is above it
    state.see_version(agreed.version)
    state.urge()


def _says(peer: Peer, agreed: Agreed) -> bool:
    return peer.beat is not None and peer.beat.agreed == agreed


def _stamp(agreed: Agreed) -> tuple[Ballot, int]:
    return agreed.term, agreed.version
