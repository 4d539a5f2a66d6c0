"""A frozen picture of what a node knows, for the command line, the journal and the tests."""

from __future__ import annotations

import enum

import msgspec

from haagent.core.group.transitions import GroupState
from haagent.core.messages import Ballot, Record


class MemberState(enum.StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"
    STANDBY = "standby"
    WITNESS = "witness"


class MemberView(msgspec.Struct, frozen=True):
    name: str
    state: MemberState
    me: bool
    last_heard_s: float | None  # seconds ago; None: never in this life
    version: str
    links: tuple[str, ...]  # interfaces on which it is heard now
    boot: int
    config_matches: bool
    config_differs: tuple[str, ...] = ()  # keys of the file that differ, as far as they can be told
    silent_s: float = 0.0  # it has just started, and gives no vote and takes nothing for so long yet


class GroupView(msgspec.Struct, frozen=True):
    name: str
    holder: str  # empty: nobody, as far as this node knows
    state: GroupState  # on this node
    active: bool  # the holder's activation is complete
    since: float | None  # wall clock, of the present tenure
    ballot: Ballot | None
    lease_s: float | None  # what is left of it
    why: str  # one sentence: why the group is where it is
    failures: dict[str, int]
    gap_s: float | None  # how long clients were without it at the last move
    moving_to: str
    eligible: bool
    why_not: str
    penalties: dict[str, int] = {}  # what each node's failing checks weigh
    withheld: tuple[str, ...] = ()  # a sentence for each address that this node, the holder, may not serve yet


class View(msgspec.Struct, frozen=True):
    cluster: str
    node: str
    leader: str
    quorate: bool
    consistent: bool
    maintenance: bool
    stopping: bool
    members: tuple[MemberView, ...]
    groups: tuple[GroupView, ...]
    history: tuple[tuple[str, Record], ...] = ()
    arbiter: str = ""  # who gives the leases; empty: the nodes' votes
    arbiter_fault: str = ""  # why it cannot
    voters: tuple[str, ...] = ()  # whose votes count
    voters_differ: str = ""  # how this node's file differs from that
    maintenance_unheard: tuple[str, ...] = ()  # in maintenance: voters that have not said that they know of it
    maintenance_known: bool = True  # enough know of it: an agent that stops leaves its addresses in place
    stands_down: str = ""  # why this node does, and what to do: another host uses its name
    clock_fault: str = ""  # why this node serves nothing: leases cannot be counted here
    doubled: tuple[str, ...] = ()  # names that two hosts use
    at_odds: tuple[str, ...] = ()  # living nodes that count the votes of others than this node does
