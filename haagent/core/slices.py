"""A heartbeat that does not fit one datagram is told in slices, each of them a heartbeat of its own.

Every slice says what liveness and voting need: the sender's life, its lease, its echoes, whose votes it counts, whether
there is maintenance. What there may be much of is spread over them: groups, other orders, records. What a slice says of
a group is all that its sender says of it. So a slice that is lost costs what was in it, until the next heartbeat, and
not the whole view. (Cut into bytes and put together again, a view of 128 groups was lost as often as any of its eleven
datagrams: with 2 % loss every fifth time.)

A receiver replaces what it knew of the groups in a slice, and keeps what it knew of the others. That is safe, because
what it keeps is what it would have, had the whole heartbeat been lost, and it is worth no more (`Peer.speaks_of`):

*   A voter accepts a claim that it has heard itself, in the heartbeat that it names. An older acceptance names an
    older heartbeat of the holder, which counts it from when it sent that one.
*   What somebody says of a group lives as long as a peer of whom no more than that was heard. Then its vote is gone,
    it is not among those that a holder counts, and a claim or a release of it is no longer believed.
*   A group that is not named at all is gone when every slice of one heartbeat has come, and not before.
*   An echo tells that a heartbeat was heard: one slice of it. Where it matters that all of it was (`conflict`,
    `maintenance`), `Heard.behind` says which was the newest whole one.

Replays: of each heartbeat each slice counts once, and of older heartbeats none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haagent.core.messages import Heartbeat
from haagent.core.registers import MAINTENANCE

ROOM = 1100  # bytes, where no datagram's header and seal are to be reckoned with
_SPARE = 16  # for lengths that grow when the lists do
_SPREAD: tuple[str, ...] = ("records", "recorded", "orders", "groups")

_encode = msgspec.msgpack.Encoder().encode


def cut(beat: Heartbeat, room: int = ROOM) -> list[Heartbeat]:
    """Of one that does not fit: slices of at most `room` bytes, or more where a single thing is longer than that."""
    spread = _SPREAD
    if len(_encode(_bare(beat, spread))) > room / 2:  # dozens of nodes: an echo is in one slice, and not in all
        spread = (*spread, "former", "heard")
    bare = _bare(beat, spread)
    space = max(room - len(_encode(bare)) - _SPARE, room // 2)
    slices: list[dict[str, list[Any]]] = [{}]
    left = space
    for name in spread:
        things = getattr(beat, name)
        for thing in things.items() if isinstance(things, dict) else things:
            if thing in bare.orders:
                continue
            size = len(_encode(thing))
            if size > left and slices[-1]:
                if name == "records":
                    break  # they must not come with gaps; those that are left out are sent again
                slices.append({})
                left = space
            slices[-1].setdefault(name, []).append(thing)
            left -= size
    for said in slices:  # what is said of a group means one thing in maintenance, and another out of it
        said["orders"] = [*bare.orders, *said.get("orders", ())]
    return [
        msgspec.structs.replace(
            bare,
            **{name: type(getattr(beat, name))(things) for name, things in said.items()},
            part=part,
            parts=len(slices),
        )
        for part, said in enumerate(slices)
    ]


def _bare(beat: Heartbeat, spread: tuple[str, ...]) -> Heartbeat:
    orders = tuple(order for order in beat.orders if order.key == MAINTENANCE)
    return msgspec.structs.replace(beat, **{name: type(getattr(beat, name))() for name in spread} | {"orders": orders})
