"""Authentic heartbeats with whatever their types and bounds allow: what a member can say whose host is not its own."""

from __future__ import annotations

from random import Random

import msgspec

from haagent.core import limits
from haagent.core.messages import (
    Accepted,
    Agreed,
    Ballot,
    GroupBeat,
    Heard,
    Heartbeat,
    Order,
    Outline,
    Record,
    is_well_formed,
)

NAMES = ("A", "B", "W", "~", "")
NUMBERS = (0, 1, 2, 2**16, 2**16 + 1, 2**20, 2**40, 2**46, 2**46 + 2**16, 2**52, limits.MAX_ROUND - 1, limits.MAX_ROUND)
HARMLESS = ("clear/web", "clear/leader", "maintenance", "standby/A", "standby/B")  # and where it is a state, it is off


def distort(rng: Random, beat: Heartbeat, *, seq: int) -> Heartbeat:
    """The same sender, and much else that is different."""
    groups = tuple(_group(rng, group) for group in beat.groups)
    made = msgspec.structs.replace(beat, seq=seq, groups=groups)
    changes = {
        "lease_ms": lambda: rng.choice((beat.interval_ms, 60_000, 60_001, limits.MAX_LEASE_MS)),
        "heard_lease_ms": lambda: rng.choice((0, 60_000, 60_001, limits.MAX_LEASE_MS)),
        "told_lease_ms": lambda: rng.choice((0, 60_000, 60_001, limits.MAX_LEASE_MS)),
        "heard": lambda: {name: _heard(rng, echo) for name, echo in beat.heard.items()},
        "doubled": lambda: {name: (echo,) for name, echo in beat.heard.items()},  # each of them would stand down
        "recorded": lambda: {name: Heard(echo.boot, _number(rng)) for name, echo in beat.recorded.items()},
        "orders": lambda: (_order(rng),),
        "agreed": lambda: _agreed(rng, beat.agreed),
        "silent_ms": lambda: _number(rng),
        "stopping": lambda: rng.random() < 0.1,
        "policy": lambda: rng.choice(("", beat.policy, "available")),
        "gateway": lambda: rng.choice((None, True, False)),
    }
    chosen = [name for name in changes if rng.random() < 0.3]
    made = msgspec.structs.replace(made, **{name: changes[name]() for name in chosen})
    assert is_well_formed(made)  # else it would not get as far
    return made


def _number(rng: Random, near: int = 0) -> int:
    return min(limits.MAX_ROUND, rng.choice((near, near, 0)) + rng.choice(NUMBERS))


def _ballot(rng: Random, near: Ballot | None, names: tuple[str, ...] = NAMES) -> Ballot | None:
    if rng.random() < 0.3:
        return near
    return Ballot(_number(rng, near.round if near is not None else 0), rng.choice(names))


def _group(rng: Random, said: GroupBeat) -> GroupBeat:
    near = said.promised
    accepted = said.accepted
    if accepted is not None and rng.random() < 0.5:
        accepted = Accepted(_ballot(rng, near) or accepted.ballot, accepted.boot, _number(rng, accepted.seq))
    return msgspec.structs.replace(
        said,
        promised=_ballot(rng, near),
        accepted=accepted,
        want=_ballot(rng, near, ("W", "W", "A")),
        claim=_ballot(rng, near, ("W", "W", "A")),
        released=_ballot(rng, near, ("W", "A", "B")),
        tenure=_ballot(rng, near),
        active=rng.random() < 0.5,
        eligible=rng.random() < 0.5,
        held_ms=_number(rng),
        yield_to=rng.choice(NAMES),
        down_ms=rng.choice((-1.0, 0.0, 1e12, 1e300)),
        failures=_number(rng),
        penalty=_number(rng),
        leaving=rng.random() < 0.2,
        left=rng.random() < 0.2,
    )


def _heard(rng: Random, echo: Heard) -> Heard:
    return rng.choice((echo, echo, Heard(echo.boot, echo.seq + rng.choice(NUMBERS)), Heard(_number(rng), echo.seq)))


def _order(rng: Random) -> Order:
    key = rng.choice(HARMLESS)
    version = max(1, _number(rng))
    return Order(key, version, rng.choice(("A", "W", "~")), on=key.startswith("clear"), ttl_ms=rng.choice((0, 1000)))


def _agreed(rng: Random, agreed: Agreed | None) -> Agreed:
    assert agreed is not None
    voters = rng.choice((agreed.voters, ("W",), ("A", "W"), ("W", "X"), ("X", "Y", "Z")))
    return Agreed(_ballot(rng, agreed.term) or agreed.term, _number(rng, agreed.version), voters)


# --- and what else there is in a heartbeat

INTEGERS = (-(2**63), -1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**64 - 1)
FLOATS = (float("-inf"), float("nan"), -1.0, 0.0, 1e308, float("inf"))
TEXTS = ("", "W", "\x00\x1b[2J\r\n", "\u202e\ud7ff", "x" * limits.MAX_NAME)
FOREIGN = ("A", "B", "W", "X", "leader", "web", *TEXTS)


def invent(rng: Random, beat: Heartbeat, *, seq: int, is_patient: bool = False) -> Heartbeat:
    """Distorted, and with values of every other field too, also such as are beyond the bounds of a heartbeat.

    `is_patient`: no lease that would be believed.
    """
    made = distort(rng, beat, seq=seq)
    changes = {
        "groups": lambda: _groups(rng, made.groups),
        "former": lambda: tuple(_elsewhere(rng, group) for group in made.groups),
        "heard": lambda: made.heard | {rng.choice(FOREIGN): Heard(_integer(rng), _integer(rng), _integer(rng))},
        "doubled": lambda: {rng.choice(FOREIGN): (Heard(_integer(rng), _integer(rng)),) * rng.randint(0, 8)},
        "recorded": lambda: {rng.choice(FOREIGN): Heard(_integer(rng), _integer(rng))},
        "records": lambda: tuple(_record(rng) for _ in range(rng.randint(0, 4))),
        "orders": lambda: (*made.orders, _foreign_order(rng)),
        "agreed": lambda: None,
        "silent_ms": lambda: _integer(rng),
        "interval_ms": lambda: rng.randint(1, made.lease_ms),
        "standby": lambda: rng.random() < 0.5,
        "died": lambda: rng.random() < 0.5,
        "stopping": lambda: rng.random() < 0.5,
        "age_ms": lambda: rng.choice((0, 1, 1000, limits.MAX_ROUND)),
        "version": lambda: rng.choice(TEXTS),
        "config_hash": lambda: rng.choice(TEXTS),
        "policy": lambda: rng.choice((beat.policy, *TEXTS)),
        "outline": lambda: _outline(rng, 0),
    }
    chosen = [name for name in changes if rng.random() < 0.1]
    made = msgspec.structs.replace(made, **{name: changes[name]() for name in chosen})
    if is_patient:
        leases = ("lease_ms", "heard_lease_ms", "told_lease_ms")
        made = msgspec.structs.replace(made, **{name: _patiently(getattr(made, name), beat) for name in leases})
    return made


def _patiently(lease_ms: int, beat: Heartbeat) -> int:
    return lease_ms if lease_ms <= beat.lease_ms or lease_ms > 60_000 else beat.lease_ms


def _integer(rng: Random) -> int:
    return rng.choice(INTEGERS)


def _groups(rng: Random, groups: tuple[GroupBeat, ...]) -> tuple[GroupBeat, ...]:
    """Fewer, twice, of other names, with other addresses."""
    made = [_elsewhere(rng, group) for group in groups if rng.random() < 0.8]
    return (*made, *(msgspec.structs.replace(group, name=rng.choice(FOREIGN)) for group in made if rng.random() < 0.3))


def _elsewhere(rng: Random, group: GroupBeat) -> GroupBeat:
    return msgspec.structs.replace(
        group,
        addresses=tuple(rng.choice((*group.addresses, *INTEGERS)) for _ in range(rng.randint(0, 4))),
        why_not=rng.choice(TEXTS),
        cause=rng.choice(TEXTS),
        failures=_integer(rng),
        held_ms=_integer(rng),
        gap_ms=rng.choice(FLOATS),
        down_ms=rng.choice(FLOATS),
    )


def _record(rng: Random) -> Record:
    text, kind = rng.choice(TEXTS), rng.choice(("taken", "twin", *TEXTS))
    return Record(_integer(rng), rng.choice(FLOATS), kind, rng.choice(FOREIGN), text)


def _foreign_order(rng: Random) -> Order:
    """What no operator's order is: of nobody that we know, for a tenure that never was."""
    key = rng.choice(("", "standby/X", "down/X", "move/X", "move/web", "clear/\x00", "maintenance/web"))
    ballot = Ballot(_number(rng), "W")
    return Order(key, max(1, _number(rng)), rng.choice(FOREIGN), True, rng.choice(FOREIGN), ballot, ttl_ms=60_000)


def _outline(rng: Random, depth: int) -> Outline:
    parts = range(rng.randint(0, 3)) if depth < limits.MAX_OUTLINE_DEPTH else ()
    return Outline(rng.getrandbits(32), {f"{rng.choice(('nodes', 'x'))}{n}": _outline(rng, depth + 1) for n in parts})
