"""An address has one owner, also while the files of the nodes differ about whose it is.

Votes are given per group, and which addresses a group has is read from a file. While an operator moves an address from
one group to another, one node after the other has the new file: for some it is in `web`, for others in `db`, and both
may be held. So a claim names the addresses that would be served with it, by number, and a vote is given to all of it:

1.  A voter that is bound to one node for an address, in whatever group, accepts no claim of another node that names it
    in another group. What counts is what the claims say and not what its own file says. (Of one group it is the ballots
    that decide.) A group that a reload has removed here stays bound for as long as it was (`NodeState.former`).
2.  A holder serves an address only when a majority has accepted a heartbeat that named it. Two that serve one address
    would need two majorities, and these share a voter, which was bound to the first.
3.  A holder that has named an address names it until it serves it no more: a reload takes it from the host before the
    core hears of that. If the kernel does not let it, it is named for one lease more: the gate is not told anew, and
    has shut by then.

The rest is courtesy. A vote that is refused for one address is refused for the whole group. So a node names only what
it sees with nobody else: it asks the last word of each node, for as long as that one's lease, and what each has
accepted. Of two that named the same at the same moment each takes it back and waits, by chance, a little. A group that
is held goes on meanwhile with what it had; one of which all addresses are elsewhere is not taken.

Two holders that were cut from each other (`available`) meet with one address in two groups as they meet in one group:
the one that has held longer keeps it, and the other lets go of its group, and takes it again without that address.

Where an arbiter gives the leases, the votes do not count. There each node writes with its claim which addresses it
names, and then reads what all have written (`coordination.register`): the later of two sees the earlier.

What it does not cover: a voter or a holder of a release that names no addresses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from haagent.core import reserved
from haagent.core.event_kinds import Kind
from haagent.core.events import Withhold
from haagent.core.group import arbitration
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING
from haagent.core.group.voter import Life, Voter
from haagent.core.membership import Peer
from haagent.core.messages import GroupBeat, Heartbeat
from haagent.core.node_state import NodeState
from haagent.core.settings import Left

# --- as a voter


def may_bind(group: Group, state: NodeState, now: float, life: Life, addresses: tuple[int, ...]) -> bool:
    """Rule 1."""
    voter = group.voter
    if not addresses or (addresses == voter.addresses and voter.life(now) == life):
        return True
    bound = [one for name, owner, one in _bindings(state, now) if name != group.name and owner != life]
    bound += [
        one.addresses
        for name, one in _left(state)
        if name != group.name and reserved.is_kept_from(state, name, life[0])
    ]
    return not any(address in one for one in bound for address in addresses)


def _left(state: NodeState) -> Iterator[tuple[str, Left]]:
    """What another node may have left in place, and in which group."""
    return ((name, left) for name, left in state.left.items() if left.addresses and reserved.keeper(state, name))


def _bindings(state: NodeState, now: float) -> Iterator[tuple[str, Life, tuple[int, ...]]]:
    """By the votes of this node: in which group which life has which addresses."""
    voters: list[tuple[str, Voter]] = [(name, group.voter) for name, group in state.groups.items()]
    for name, voter in (*voters, *state.former.items()):
        if voter.addresses and (life := voter.life(now)) is not None:
            yield name, life, voter.addresses
    for name, group in state.groups.items():
        if (pledge := group.handover.pledge) is not None:
            yield name, (pledge.vote.ballot.node, pledge.vote.boot), pledge.addresses


# --- as a candidate, and as the holder


def owner(group: Group, state: NodeState, now: float, address: int) -> tuple[str, str] | None:
    """Another node that has it in another group, as far as is known, and in which."""
    if state.owners is None:
        state.owners = {}
        for name, left in _left(state):
            for number in left.addresses:
                state.owners.setdefault(number, []).append((left.node, name, True))
        for number, node, name in _known(state, now):
            state.owners.setdefault(number, []).append((node, name, False))
    others = state.owners.get(address, ())  # what was left in place is away from its own group as well
    return next(((node, name) for node, name, is_left in others if is_left or name != group.name), None)


def _known(state: NodeState, now: float) -> Iterator[tuple[int, str, str]]:
    """What others have: number, node, group."""
    for name, life, addresses in _bindings(state, now):
        if life != (state.settings.me, state.boot):
            yield from ((address, life[0], name) for address in addresses)
    for peer in state.membership.peers.values():
        for said in _last_word(state, now, peer) if _is_needed(state, now, peer) else ():
            if said.addresses and (node := _owner_of(state, now, peer, said)):
                yield from ((address, node, said.name) for address in said.addresses)
    yield from state.recorded


def _is_needed(state: NodeState, now: float, peer: Peer) -> bool:
    """What a witness says of others keeps nobody from anything while there is a majority without it."""
    if peer.name not in state.witnesses:
        return True
    alive = state.membership.alive_names(now)
    electorate = state.voters if state.settings.consistent else alive
    return 2 * len({*alive} & {*electorate} - {*state.witnesses}) <= len(electorate)


def _last_word(state: NodeState, now: float, peer: Peer) -> tuple[GroupBeat, ...]:
    """It counts for as long as the lease that it was about."""
    if peer.beat is None:
        return ()
    lease_s = min(peer.beat.lease_ms / 1000, state.longest_credible_lease_s)
    groups = tuple(said for name, said in peer.groups.items() if now < peer.told[name].heard_at + lease_s)
    return (*groups, *peer.beat.former) if now < peer.heard_at + lease_s else ()


def _owner_of(state: NodeState, now: float, peer: Peer, said: GroupBeat) -> str:
    """Who is alive speaks for itself."""
    if said.claim is not None or (said.left and peer.name not in state.witnesses):
        return peer.name
    if said.accepted is None or said.want is not None:
        return ""
    node, boot = said.accepted.ballot.node, said.accepted.boot
    other = state.membership.peers.get(node)
    is_heard = other.is_alive(now) and other.boot == boot if other is not None else boot == state.boot
    return "" if is_heard else node


def obstacle(group: Group, state: NodeState, now: float) -> str:
    """Nothing of it could be served."""
    if group.lease is not None and group.share.named:
        return ""
    found = ""
    for address, text in group.settings.addresses.items():
        if (other := owner(group, state, now, address)) is None:
            return ""
        found = found or _elsewhere(state, now, text, other)
    return found


def _elsewhere(state: NodeState, now: float, text: str, other: tuple[str, str]) -> str:
    node, name = other
    peer = state.membership.peers.get(node)
    if reserved.keeper(state, name) == node and not (
        peer is not None and peer.is_alive(now) and reserved.is_there(state, state.left[name])
    ):
        return f"{node} may have left {text} in place, in the group {name}: start the agent there"
    who = "this node had" if node == state.settings.me else f"{node} has"
    return f"{who} {text} in the group {name}, by another file: reload {node}"


def begin(group: Group, state: NodeState, now: float) -> None:
    group.share.named, group.share.served, group.share.lingering = {}, (), {}
    _name(group, state, now)


def advance(group: Group, state: NodeState, now: float) -> None:
    """In every step while it is wanted or held."""
    share, wanted = group.share, group.settings.addresses
    if min(share.lingering.values(), default=math.inf) <= now:
        share.lingering = {address: until for address, until in share.lingering.items() if until > now}
        _name_only_ours(group)
        state.urge()
    if len(share.served) == len(wanted):
        return
    _name(group, state, now)
    served = tuple(one for one in wanted if one in share.served or _is_proved(group, state, now, one))
    if served == share.served:
        return
    share.served = served
    if group.state in HOLDING:
        state.do(Withhold(group.name, withheld(group)))
        for address in share.missed.intersection(served):
            state.note(Kind.SHARED, group.name, f"{wanted[address]} is served here from now on", now=now)
    share.missed.difference_update(served)


def _is_proved(group: Group, state: NodeState, now: float, address: int) -> bool:
    """Rule 2."""
    named_at = group.share.named.get(address)
    if named_at is None:
        return False
    if arbitration.is_in_force(group, state, now) and address not in group.arbitration.addresses:
        return False
    return not state.votes_count or named_at <= group.attempt.proved_at


def is_settled(group: Group, state: NodeState) -> bool:
    """The arbiter has said of all that is named whether it is ours: one take is better than two."""
    return not state.is_arbitrated or group.share.named.keys() <= {*group.arbitration.addresses}


def _name(group: Group, state: NodeState, now: float) -> None:
    share = group.share
    for address, text in group.settings.addresses.items():
        if address in share.served or (address not in share.named and now < share.not_before):
            continue
        other = owner(group, state, now, address)
        if other is None:
            if address not in share.named:
                # What has gone out at this very instant did not name it yet.
                share.named[address] = now if now > state.last_sent else math.nextafter(now, math.inf)
                state.urge()
            continue
        if share.named.pop(address, None) is not None:
            share.not_before = now + state.slot_s * (1 + state.rng.random())
            state.urge()
        if address not in share.missed:
            share.missed.add(address)
            state.note(Kind.SHARED, group.name, f"not served: {_elsewhere(state, now, text, other)}", now=now)


def withheld(group: Group) -> tuple[int, ...]:
    """What is not served with it."""
    return tuple(address for address in group.settings.addresses if address not in group.share.served)


def explain(group: Group, state: NodeState, now: float) -> tuple[str, ...]:
    """Of a group that is held here: what is not served, and why."""
    found = []
    for address in withheld(group) if group.state in HOLDING else ():
        if (other := owner(group, state, now, address)) is not None:
            found.append(f"not served: {_elsewhere(state, now, group.settings.addresses[address], other)}")
    return tuple(found)


def reconfigure(group: Group) -> None:
    """The host has let go of what is not its own any more. What comes from another group of ours is named and proved
    like anything else: a voter that has heard of its loss may not have heard of its gain."""
    share, wanted = group.share, group.settings.addresses
    _name_only_ours(group)
    share.served = tuple(address for address in wanted if address in share.served)
    share.missed &= wanted.keys()


def linger(name: str, state: NodeState, now: float, addresses: tuple[int, ...]) -> None:
    """Before the reload that takes them."""
    if (group := state.groups.get(name)) is not None:
        group.share.lingering |= dict.fromkeys(addresses, now + state.settings.lease_s)


def _name_only_ours(group: Group) -> None:
    share, ours = group.share, group.settings.addresses
    share.named = {address: at for address, at in share.named.items() if address in ours or address in share.lingering}


# --- two holders


def losers(state: NodeState, beat: Heartbeat) -> Iterator[Group]:
    """What is held here with an address that the sender has held for longer in another group."""
    if state.settings.consistent or beat.config_hash == state.settings.config_hash:
        return
    held = [group for group in state.groups.values() if group.state in HOLDING]
    for said in beat.groups:
        if said.claim is None or not said.held_ms or said.leaving:
            continue
        for group in held:
            is_shared = said.name != group.name and not {*said.addresses}.isdisjoint(group.share.served)
            if is_shared and (said.tenure or said.claim) < group.attempt.tenure:
                yield group
