"""What may have been left in place, where no lease says so (`maintenance`): nobody else takes it."""

from __future__ import annotations

from haagent.core.node_state import NodeState
from haagent.core.settings import Left


def keeper(state: NodeState, group: str) -> str:
    """The node where its addresses may be; empty: nowhere."""
    if (left := state.left.get(group)) is None or state.orders.is_down(left.node) or state.orders.is_unreserved:
        return ""
    return left.node  # also if the file does not name it any more: nobody has removed anything there


def is_kept_from(state: NodeState, group: str, node: str) -> bool:
    """Its addresses may be elsewhere, also on another host of that name."""
    found = keeper(state, group)
    return bool(found) and (found != node or not is_there(state, state.left[group]))


def is_there(state: NodeState, left: Left) -> bool:
    """Its node runs on the host where it has left them, as far as is known."""
    peer = state.membership.peers.get(left.node)
    host = peer.beat.host if peer is not None and peer.beat is not None else 0
    return host == left.host or 0 in (host, left.host)
