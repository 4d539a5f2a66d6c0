"""The life of one group on one node: its states, and the only ways that lead from one to another.

What a node does with a group is a walk along these arcs. Each is legal for one reason, which its sentence gives;
whatever is not in the table is a bug of ours, and `Group.become` refuses it before it can do harm. The diagram in
`docs/guide/how-it-decides.md` is `diagram()`, and a test compares the two.

What the table says of safety: nothing leads to `TAKING` but a majority's acceptances, and out of what is held nothing
leads back to `IDLE` but the shell's word that no traffic arrives any more (`Dropped`, or a take that was rolled back).
"""

from __future__ import annotations

import msgspec

from haagent.core.meaning import Meaningful


class GroupState(Meaningful):
    """Of a group on one node."""

    IDLE = "idle", "this node neither holds the group nor asks for it"
    WANTING = "wanting", "collecting promises"
    CLAIMING = "claiming", "collecting acceptances"
    TAKING = "taking", "this node has the lease and is activating the group"
    ACTIVE = "active", "clients are served here"
    YIELDING = "yielding", "clients are still served here; the successor is getting ready"
    DROPPING = "dropping", "this node is releasing the group; its lease is still valid, or just lost"


TRYING = (GroupState.WANTING, GroupState.CLAIMING)
HOLDING = (GroupState.TAKING, GroupState.ACTIVE, GroupState.YIELDING)
HAVING = (*HOLDING, GroupState.DROPPING)  # traffic may arrive here: nobody else may take the group yet


class Arc(msgspec.Struct, frozen=True):
    source: GroupState
    target: GroupState
    meaning: str


ARCS = (
    Arc(GroupState.IDLE, GroupState.WANTING, "the group is free and it is this node's turn"),
    Arc(GroupState.WANTING, GroupState.CLAIMING, "a majority has promised"),
    Arc(GroupState.WANTING, GroupState.IDLE, "another node is ahead, or this node may no longer take the group"),
    Arc(GroupState.CLAIMING, GroupState.TAKING, "a majority has accepted"),
    Arc(GroupState.CLAIMING, GroupState.IDLE, "no majority in time, or another node is ahead"),
    Arc(GroupState.TAKING, GroupState.ACTIVE, "clients are served"),
    Arc(GroupState.TAKING, GroupState.DROPPING, "the lease was not renewed, or this node is no longer fit"),
    Arc(GroupState.TAKING, GroupState.IDLE, "activation failed and was rolled back"),
    Arc(GroupState.ACTIVE, GroupState.YIELDING, "a successor was named"),
    Arc(GroupState.ACTIVE, GroupState.DROPPING, "the lease was not renewed, or this node is no longer fit"),
    Arc(GroupState.ACTIVE, GroupState.IDLE, "activation released the group by itself"),
    Arc(GroupState.YIELDING, GroupState.ACTIVE, "the successor did not get ready"),
    Arc(GroupState.YIELDING, GroupState.DROPPING, "the successor is ready, or the lease was not renewed"),
    Arc(GroupState.YIELDING, GroupState.IDLE, "activation released the group by itself"),
    Arc(GroupState.DROPPING, GroupState.IDLE, "traffic can no longer arrive"),
)
LEGAL = frozenset((arc.source, arc.target) for arc in ARCS)


class IllegalTransition(RuntimeError):
    """The core wanted what no arc allows: a bug in it."""


def diagram() -> str:
    """States and arcs as the documents show them."""
    arcs = (f"    {arc.source} --> {arc.target}: {arc.meaning}" for arc in ARCS)
    rows = (f"| {state} | {state.meaning} |" for state in GroupState)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {ARCS[0].source}", *arcs, "```", ""]
    return "\n".join([*lines, "| state | meaning |", "|---|---|", *rows])
