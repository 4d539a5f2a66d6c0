"""The one message of the wire: the heartbeat, and the small values inside it.

A heartbeat carries its sender's whole view, in one datagram or in slices (`slices`). Losing one costs time, never
meaning; receiving one twice, or late, changes nothing, because a receiver keeps only the newest view of each sender
(highest `seq` of a life).

Every struct here is `array_like`: a field is known by its position. The rule that keeps rolling upgrades possible:
APPEND ONLY. Never reorder, never remove, never change a type; a new field goes last and has a default. An older
reader ignores what it does not know, a newer one fills in the default.
"""

from __future__ import annotations

import math

import msgspec

from haagent.core import limits
from haagent.core.limits import MAX_NAME, MAX_NODES, MAX_ROUND, MAX_TEXT

WIRE_VERSION = 1  # of a datagram that is a heartbeat, or a piece of the bytes of one (a release before slices)
SLICED_VERSION = 2  # of a datagram that is a slice

Name = str  # of a node or a group: 1 to MAX_NAME characters, checked against the configuration on arrival


class Ballot(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Orders attempts to get a lease. Compared by round, then by node, so two nodes never use the same one."""

    round: int
    node: Name

    def __str__(self) -> str:
        return f"{self.round}.{self.node}"


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """Echo: the newest heartbeat that the sender has received from a peer. It names the peer's life (`boot`)."""

    boot: int
    seq: int
    behind: int = 0  # so many heartbeats ago it has received all slices of one


class Accepted(msgspec.Struct, frozen=True, array_like=True):
    """A voter's acceptance: `ballot.node` may hold until L after the voter *received* heartbeat (`boot`, `seq`)."""

    ballot: Ballot
    boot: int
    seq: int


class GroupBeat(msgspec.Struct, frozen=True, array_like=True):
    """What the sender says of one group. `promised` and `accepted` speak as a voter, the rest as a candidate."""

    name: Name
    promised: Ballot | None = None
    accepted: Accepted | None = None
    want: Ballot | None = None
    claim: Ballot | None = None
    released: Ballot | None = None
    tenure: Ballot | None = None  # while claiming: the ballot with which this tenure began
    active: bool = False  # the sender's activation is complete: clients are served
    eligible: bool = True
    why_not: str = ""  # when not eligible: the reason, for people
    failures: int = 0
    held_ms: int = 0  # how long the sender has held the group
    yield_to: Name = ""  # the holder will let go as soon as this node announces a want
    gap_ms: float = -1.0  # how long clients were without the group when the sender took it; -1: not known
    down_ms: float = -1.0  # with `released`: time since the sender stopped serving; -1: not known
    cause: str = ""  # while holding: why this tenure began, for people
    leaving: bool = False  # the claim only keeps the voters bound until the sender has let go
    penalty: int = 0  # the sum of the weights of the sender's failing checks
    left: bool = False  # an earlier life of the sender left it in place: it may answer, although nobody claims it
    addresses: tuple[int, ...] = ()  # that its want or claim names; with neither: those of the claim it has accepted


class Order(msgspec.Struct, frozen=True, array_like=True):
    """An operator's word, replicated as a last-writer-wins register. Greater (version, writer) wins.

    Keys: `standby/NODE`, `maintenance`, `clear/GROUP`, `move/GROUP`, `down/NODE`.
    """

    key: str
    version: int
    writer: Name
    on: bool = True
    target: Name = ""
    ballot: Ballot | None = None  # of a move: the tenure it ends; it means nothing to any other tenure
    forced: bool = False  # of `maintenance`, when it ends: who was not heard then is down
    ttl_ms: int = 0  # of a move: void so long after a node has first seen it


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One line of the event history, numbered by its node."""

    index: int
    wall: float  # seconds of the epoch: for people, never for decisions
    kind: str
    group: str
    text: str


class Agreed(msgspec.Struct, frozen=True, array_like=True):
    """Who votes, as the nodes agreed (`agreement`). Ordered by term, then by version."""

    term: Ballot  # the tenure of the group `leader` that made it; round 0: from the configuration, nobody made it
    version: int
    voters: tuple[Name, ...]  # in order


class Outline(msgspec.Struct, frozen=True, array_like=True):
    """Of a file, or of what is below one of its keys (`outline`)."""

    digest: int
    parts: dict[str, Outline] = {}  # by key; empty: there are none, or none are told


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    cluster: str
    node: Name
    boot: int  # random, new at every start: a life
    seq: int
    interval_ms: int
    lease_ms: int
    standby: bool = False
    heard: dict[Name, Heard] = {}
    groups: tuple[GroupBeat, ...] = ()
    orders: tuple[Order, ...] = ()
    version: str = ""
    gateway: bool | None = None  # does the sender reach its gateway; None: not watched
    stopping: bool = False  # the sender is leaving on purpose: do not count on it
    records: tuple[Record, ...] = ()
    recorded: dict[Name, Heard] = {}  # per peer: its life and the newest record of it that is stored here
    config_hash: str = ""
    silent_ms: int = 0  # a restarted voter: gives no vote for so long
    died: bool = False  # the sender's agent has died; these are its last words, sent by its guardian
    agreed: Agreed | None = None  # whose votes the sender counts; None: nothing is agreed, or an older release
    policy: str = ""  # what else its votes stand on; empty: an older release
    heard_lease_ms: int = 0  # the longest that it has heard and that may still run (`leases`); 0: an older release
    told_lease_ms: int = 0  # the longest that others say they have heard
    age_ms: int = 0  # of the sender's life; 0: an older release
    doubled: dict[Name, tuple[Heard, ...]] = {}  # lives that have to stand down (`twins`), and what was heard of them
    former: tuple[GroupBeat, ...] = ()  # votes that still bind the sender in groups that its file has no more
    part: int = 0  # which slice of the heartbeat this is, from 0
    parts: int = 0  # and how many there are; 0: of a release that does not read slices
    outline: Outline | None = None  # of the sender's file, while a peer has another; None: an older release as well
    host: int = 0  # where the sender's memory is: the boot of the first life that has written it; 0: an older release
    # The next one is `said` of `store.strong.beat`: it has this place, and moves here before anything is appended.

    def is_rest_sound(self) -> bool:
        """What a kind of heartbeat says beyond this."""
        return True


def is_well_formed(beat: Heartbeat) -> bool:
    """Bounds that a type cannot say. An authentic sender of a neighbouring release never breaks them."""
    return (
        beat.seq > 0
        and 0 <= beat.part < max(beat.parts, 1) <= limits.MAX_PARTS
        and 0 < beat.interval_ms <= beat.lease_ms <= limits.MAX_LEASE_MS
        and 0 <= beat.heard_lease_ms <= limits.MAX_LEASE_MS
        and 0 <= beat.told_lease_ms <= limits.MAX_LEASE_MS
        and _are_names(beat.cluster, beat.node, beat.version, beat.config_hash, beat.policy)
        and 0 <= beat.age_ms <= MAX_ROUND
        and _are_names(*beat.heard, *beat.recorded, *beat.doubled)
        and len(beat.heard) <= MAX_NODES
        and len(beat.recorded) <= MAX_NODES
        and len(beat.doubled) <= MAX_NODES
        and all(len(lives) <= limits.MAX_TWINS for lives in beat.doubled.values())
        and len(beat.groups) <= limits.MAX_GROUPS + 1  # and the leader's
        and len(beat.orders) <= limits.MAX_ORDERS
        and len(beat.records) <= limits.MAX_RECORDS
        and _is_sound_agreement(beat.agreed)
        and len(beat.former) <= limits.MAX_GROUPS
        and (beat.outline is None or _is_sound_outline([beat.outline]))
        and all(_is_sound_group(group) for group in (*beat.groups, *beat.former))
        and all(_is_sound_order(order) for order in beat.orders)
        and all(_is_sound_record(record) for record in beat.records)
        and beat.is_rest_sound()
    )


def _are_names(*texts: str) -> bool:
    return all(len(text) <= MAX_NAME for text in texts)


def is_sound_ballot(ballot: Ballot | None) -> bool:
    return ballot is None or (0 <= ballot.round <= MAX_ROUND and len(ballot.node) <= MAX_NAME)


def _is_sound_group(group: GroupBeat) -> bool:
    accepted = group.accepted.ballot if group.accepted is not None else None
    ballots = (group.promised, accepted, group.want, group.claim, group.released, group.tenure)
    return (
        _are_names(group.name, group.yield_to)
        and len(group.why_not) <= MAX_TEXT
        and len(group.cause) <= MAX_TEXT
        and group.penalty >= 0
        and math.isfinite(group.gap_ms)
        and math.isfinite(group.down_ms)
        and len(group.addresses) <= limits.MAX_ADDRESSES
        and all(is_sound_ballot(ballot) for ballot in ballots)
    )


def _is_sound_record(record: Record) -> bool:
    is_a_time = 0 <= record.wall <= limits.MAX_WALL  # no number that is none, either
    return is_a_time and len(record.text) <= MAX_TEXT and _are_names(record.kind, record.group)


def _is_sound_agreement(agreed: Agreed | None) -> bool:
    return agreed is None or (
        is_sound_ballot(agreed.term)
        and 0 <= agreed.version <= MAX_ROUND
        and 0 < len(agreed.voters) <= MAX_NODES
        and _are_names(*agreed.voters)
        and list(agreed.voters) == sorted(set(agreed.voters))
    )


def _is_sound_outline(level: list[Outline]) -> bool:
    """A list of outlines, and what is below them, level by level."""
    named, depth = 0, 0
    while level:
        named, depth = named + len(level), depth + 1
        names = [name for outline in level for name in outline.parts]
        if depth > limits.MAX_OUTLINE_DEPTH + 1 or named > limits.MAX_OUTLINE + 1 or not _are_names(*names):
            return False
        if not (all(map(str.isprintable, names)) and all(0 <= outline.digest < 2**32 for outline in level)):
            return False
        level = [part for outline in level for part in outline.parts.values()]
    return True


def _is_sound_order(order: Order) -> bool:
    return (
        len(order.key) <= 2 * MAX_NAME
        and _are_names(order.writer, order.target)
        and 0 < order.version <= MAX_ROUND
        and 0 <= order.ttl_ms <= limits.MAX_WAIT_MS
        and is_sound_ballot(order.ballot)
    )
