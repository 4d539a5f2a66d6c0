"""Maintenance that is known: only then an agent that stops may leave its addresses in place.

What is left in place answers without a lease, for as long as it takes. Nobody else may take it meanwhile, and the
others see to that: a node that knows of the maintenance takes nothing that it did not have, and votes for nobody but
who had it. So all depends on who knows. A word given on a holder that is cut off, or a moment before it stops, has
reached nobody: the others would wait for the lease to end, elect one of themselves, and two would answer for ever.

*   Where votes decide, a majority of the agreed voters must have it. Any other majority shares one of them: that one
    refuses its vote, and whoever hears it has learnt of the maintenance.
*   In `available`, where whoever is alive decides, it is a majority of the nodes that are not down for certain.
*   Where an arbiter gives the leases each node decides alone whether to ask for one: all that are not down must have
    it.

A node has it when it has said so: its newest heartbeat carries our order, or a newer one, and it has heard all of one
of ours that has the order and says we serve what we hold. (That others told it of the order does not do: its file may
not name us any more, so that it hears and keeps nothing of us.) It is alive, or it has stopped and kept the order
(`memory.json`); an agent that died may not have come to write it.

An agent that is asked to stop waits one lease for that, and serves on. Then it lets go, as without maintenance.

The end of maintenance is another word that travels, and a holder may stop before it has come. So whoever knew in
maintenance that a node serves a group keeps it and its addresses reserved for that node (`NodeState.left`): it does not
take them, also by another name or in another group, and votes for nobody else. That ends when the node is heard to have
nothing of it in place, or to know of the end, after which it lets go as ever; a new life of it says what it has found
in place until that is removed or held (`GroupBeat.left`). That a file does not name the node any more ends nothing.
All whom the holder has waited for knew, so the others find no majority. It is kept in `memory.json` too, as whoever
waits may be restarted. If the node does not come back somebody must say that it is down: nobody can tell whether it has
crashed or has left its addresses. In maintenance a crash was not repaired either. Another host under that name
(`twins`) cannot speak for the one that has left them: a life counts as a later one only if it has that one's memory
(`Heartbeat.host`).

What it does not cover: who ends maintenance with `--force` vouches for all that are not heard, also for one that is
stopping at this very moment. A host with a copy of another's memory passes for that one.
"""

from __future__ import annotations

from haagent.core import election, reserved
from haagent.core.group.transitions import HAVING, GroupState
from haagent.core.membership import Peer
from haagent.core.messages import Heartbeat
from haagent.core.node_state import NodeState
from haagent.core.registers import said_of_maintenance
from haagent.core.settings import LEADER, Left

SERVING = (GroupState.ACTIVE, GroupState.YIELDING)


def hear(state: NodeState, beat: Heartbeat) -> None:
    """Its orders have been merged, so ours are not older."""
    if beat.node in state.witnesses:
        return
    theirs = said_of_maintenance(beat.orders)
    is_frozen = theirs is not None and theirs.on
    is_over = not state.orders.in_maintenance and state.orders.has_word(beat.orders)
    # What its file does not name any more, it has removed.
    gone = state.left.keys() - state.membership.peers[beat.node].groups.keys()
    for said in beat.groups:
        if said.name == LEADER:
            continue
        if said.left or (said.active and is_frozen):
            state.left[said.name] = Left(beat.node, said.addresses, beat.host)
        elif is_over or not said.active:
            gone.add(said.name)
    state.left = {
        name: one
        for name, one in state.left.items()
        if one.node != beat.node or name not in gone or not reserved.is_there(state, one)
    }


def freeze(state: NodeState) -> None:
    """A holder may learn of it from us, and stop at once."""
    if not state.orders.in_maintenance:
        state.frozen_seq = 0
        return
    state.frozen_seq = state.frozen_seq or state.next_seq
    for name, group in state.groups.items():
        peer = state.membership.peers.get(group.service.by)
        said = peer.groups.get(name) if peer is not None else None
        if peer is not None and peer.beat is not None and said is not None and said.active and name != LEADER:
            state.left[name] = Left(peer.name, said.addresses, peer.beat.host)


def may_leave(state: NodeState, now: float) -> bool:
    """This agent may end, and what it holds stays in place. Half a take, or half a drop, is waited for."""
    states = {group.state for group in state.groups.values() if group.state in HAVING}
    return states <= {*SERVING} and (not states or is_known(state, now))


def is_known(state: NodeState, now: float) -> bool:
    voters, needed = _electorate(state)
    return len(voters) - len(unaware(state, now)) >= needed


def unaware(state: NodeState, now: float) -> tuple[str, ...]:
    """Those that have not said that they have it, of those that should."""
    peers = state.membership.peers
    aware = {state.settings.me, *(name for name, peer in peers.items() if _has_it(state, now, peer))}
    return tuple(name for name in _electorate(state)[0] if name not in aware)


def let_go(state: NodeState, now: float) -> None:
    """The others might take what is held here, so it must not stay in place."""
    why = f"this node is stopping, and too few are known to have the maintenance: not {', '.join(unaware(state, now))}"
    for group in state.groups.values():
        election.drop(group, state, now, why)


def _electorate(state: NodeState) -> tuple[tuple[str, ...], int]:
    if state.is_agreed:
        return state.agreed.voters, state.majority
    names = tuple(name for name in state.settings.voters if not state.orders.is_down(name))
    return names, len(names) if state.settings.consistent else len(names) // 2 + 1


def _has_it(state: NodeState, now: float, peer: Peer) -> bool:
    if peer.beat is None or not state.orders.has_word(peer.beat.orders):
        return False
    said = [max(group.served_seq, state.frozen_seq) for group in state.groups.values() if group.state in SERVING]
    if peer.known_seq < max(said, default=0):
        return False
    return peer.is_alive(now) or (peer.beat.stopping and not peer.beat.died)
