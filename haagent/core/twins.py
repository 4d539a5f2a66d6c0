"""Two hosts with one name: a machine that was cloned, a node started under another's name.

Each of two lives of one name has its vote: with two of them there can be two majorities, on each side of a cut. They do
not hear each other (whoever hears its own name drops it), but their peers hear both.

How a peer knows (`membership`). Of two lives that follow each other, the later echoes nothing but what we sent after
all that the earlier has echoed. So when one echoes between two echoes of the other, both are alive; that takes about
two heartbeats of each. Neither a late datagram nor a recording does that.

What it does. It keeps to the elder, and not a word of the younger counts. It says so in every heartbeat (`doubled`),
with what it has heard of that life last, so that nobody else can say it later. Where they are less than a lease apart,
both have to stand down: who of them came first depends on who tells. Whom it tells so it gives no vote, whether or not
that hears it, or believes it.

A life that is told so gives no vote, and lets go of what it has. It is silent for a lease after its start anyway; so it
is told before it has voted for anybody. (If the elder falls silent first, nobody tells: then who has heard it counts no
vote of the younger, and gives it none, for a lease from that. And who would tell may have just started itself, and
learn of the elder too late, which takes its earlier life for the present one for a while. So at first it gives no vote
to one of two that it hears, proved or not, and counts none of it.) It stands down until every peer is heard, hears it,
and says nothing of the kind (any more); and then for two leases, since the elder may only have been cut off, and a peer
may need two heartbeats to know. A peer that is not heard might hear the elder, whether it has told this one or had not
come to: then it takes a restart, an end of the cut, or the word that it is down.

A witness alone is not believed, for the reason in `identity`. But it can make a life stand down longer.

What it does not cover. Two that are cut from each other from the start, so that nobody hears both (or in a cluster of
two nodes and a witness only the witness); a copy of a machine that runs: see `identity`.
"""

from __future__ import annotations

from collections.abc import Collection

from haagent.core import election, identity
from haagent.core.event_kinds import Kind
from haagent.core.membership import Peer
from haagent.core.messages import Heard, Heartbeat
from haagent.core.node_state import NodeState

PATIENCE = 2  # leases


def notice(state: NodeState, now: float, peer: Peer, known: Collection[Heard]) -> None:
    """`known`: those that had to stand down before."""
    if {life.boot for life in peer.twins(now)} <= {life.boot for life in known}:
        return
    text = f"two hosts use the name {peer.name}: whichever agent was started later has to stand down"
    state.note(Kind.TWIN, "", f"{text}; stop it, or give its host a name of its own", now=now)
    state.urge()


def hear(state: NodeState, now: float, beat: Heartbeat) -> None:
    """Of a confirmed life, the newest."""
    me, tellers = state.settings.me, state.doubled_by
    echo = beat.heard.get(me)
    if any(life.boot == state.boot for life in beat.doubled.get(me, ())):
        state.doubled_by = sorted({*tellers, beat.node})
        if identity.may_tell(state, now, beat.node) and not state.stands_down:
            state.stands_down = True
            state.note(Kind.TWIN, "", _why(state), now=now)
            state.urge()
    elif beat.node in tellers and echo is not None and echo.boot == state.boot:
        tellers.remove(beat.node)


def advance(state: NodeState, now: float) -> None:
    """Let go, and be silent, which tells the others not to count on us."""
    if not state.stands_down:
        return
    for group in state.groups.values():
        election.drop(group, state, now, "another host uses this node's name")
    if _doubtful(state, now):
        state.doubled_until = now + PATIENCE * state.settings.lease_s
        state.silent_until = max(state.silent_until, state.doubled_until)
    elif now >= state.doubled_until:
        state.stands_down = False
        state.note(Kind.TWIN_GONE, "", f"no other host uses the name {state.settings.me} any more", now=now)
    state.voice_seq, state.has_voice = 0, False


def explain(state: NodeState, now: float) -> str:
    """Why this life stands down, and what to do; empty: it does not."""
    if not state.stands_down:
        return ""
    text = _why(state)
    unheard = [name for name in _doubtful(state, now) if name not in state.membership.alive_names(now)]
    return f"{text}; {', '.join(unheard)} cannot say that it is over: restart this agent if it is" if unheard else text


def _why(state: NodeState) -> str:
    tellers = ", ".join(state.doubled_by)
    return (
        f"another host uses the name {state.settings.me} too{f' ({tellers} heard it)' if tellers else ''}: this one "
        "gives no vote and serves nothing; stop one of the two agents, or give its host a name of its own"
    )


def _doubtful(state: NodeState, now: float) -> list[str]:
    """Peers that hear the other life, or might."""
    sure = {*state.membership.alive_names(now)} - {*state.doubled_by}
    return [name for name in state.membership.peers if name not in sure and not state.orders.is_down(name)]


def names(state: NodeState, now: float) -> tuple[str, ...]:
    """Of nodes, that are used twice, as we know or living peers say."""
    said = [peer.beat.doubled.keys() for peer in state.membership.alive(now) if peer.beat is not None]
    return tuple(sorted({*state.membership.doubled(now)}.union(*said).intersection(state.settings.voters)))
