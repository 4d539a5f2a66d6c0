"""Authentic heartbeats with whatever their types and bounds allow: what a member can say whose host is not its own."""

from __future__ import annotations

from random import Random

import msgspec

from haagent.core import limits
from haagent.core.messages import Accepted, Agreed, Ballot, GroupBeat, Heard, Heartbeat, Order, is_well_formed

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
        down_ms=rng.choice((-1.0, 0.0, 1e12, float("inf"))),
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
