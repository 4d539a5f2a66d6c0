"""Whether it is this life alone that speaks in its name, and is not in the past.

A machine that is put back to a snapshot of its running state goes on as it was then. Its life (`boot`) is the one that
the peers know, but they have heard later heartbeats of it: what it says now is old to them, and they do not read it.
What it has promised since then it does not know any more. And it seals what it says with nonces that were used before.

The peers' echoes tell: somebody has heard a heartbeat of this life that this life has not sent yet. (So it is as well
when the machine was copied while it ran, for the copy that has said less.) There is no way back into such a life. It
lets go of whatever it has, says nothing any more, not even that, and ends; the next one starts like any other.

Anybody who has the key can say so. As with whose votes count, a witness alone is not believed: it is where a key is
most easily stolen, and it must not be able to end the others' lives again and again. It is believed only where no other
node was heard for as long as a node that is alone waits (`alone_after`): then there is nobody else who could tell.
"""

from __future__ import annotations

from haagent.core import election
from haagent.core.event_kinds import Kind
from haagent.core.events import Answer, Drop, Note, Stopped
from haagent.core.group.transitions import HAVING
from haagent.core.messages import Heartbeat
from haagent.core.node_state import NodeState


def hear(state: NodeState, now: float, beat: Heartbeat) -> None:
    """Of whatever life of its sender: we may not know that one yet, or not any more."""
    echo = beat.heard.get(state.settings.me)
    if state.why_over or echo is None or echo.boot != state.boot or echo.seq < state.next_seq:
        return
    if not may_tell(state, now, beat.node):
        return
    state.why_over = (
        f"{beat.node} has heard heartbeat {echo.seq} of this life, and it has not sent more than {state.next_seq - 1}: "
        "this machine was put back to an earlier state, or copied while it ran; this life ends, and another begins"
    )
    state.note(Kind.TWIN, "", state.why_over, now=now)


def may_tell(state: NodeState, now: float, name: str) -> bool:
    """A node always; a witness while there is no node that its word can be held against."""
    if name not in state.witnesses:
        return True
    others = [peer.heard_at for name, peer in state.membership.peers.items() if name not in state.witnesses]
    return not others or now >= max(state.born, *others) + state.settings.alone_after_s


def end(state: NodeState, now: float) -> None:
    """Let go of everything; then it has stopped."""
    for group in state.groups.values():
        election.drop(group, state, now, "this life of the agent must end")
    if not any(group.state in HAVING for group in state.groups.values()):
        state.do(Stopped(state.why_over))
        state.has_stopped = True
    # Not a word to the peers or the arbiter, and nothing is remembered: what this life knows is out of date.
    state.actions = [action for action in state.actions if isinstance(action, Answer | Drop | Note | Stopped)]
