"""What is kept in etcd of one group: a line of JSON that `etcdctl get` shows to a person as well.

Nodes of neighbouring releases read each other's: fields are only added, each with a default.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from haagent.core.limits import MAX_LEASE_MS, MAX_NAME, MAX_ROUND
from haagent.core.messages import Ballot

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Stored(msgspec.Struct, frozen=True):
    round: Annotated[int, Meta(ge=0, le=MAX_ROUND)]
    node: Annotated[str, Meta(max_length=MAX_NAME)]
    boot: Number  # the life of the node that wrote it
    beat: Number = 0  # counts what this life has written, so that no two values are alike
    lease_ms: Annotated[int, Meta(ge=0, le=MAX_LEASE_MS)] = 0
    released: bool = False
    addresses: tuple[Number, ...] = ()  # that are served with it, or soon will be (`core.group.ownership`)

    @property
    def ballot(self) -> Ballot:
        return Ballot(self.round, self.node)

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    def as_released(self) -> Stored:
        return msgspec.structs.replace(self, released=True)


# Somebody else's writing under our key. It binds like any holder's, and nobody is told to have it.
UNREADABLE = Stored(round=0, node="", boot=0)


def decode(value: bytes) -> Stored:
    try:
        found = msgspec.json.decode(value, type=Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE
    return found if found.node.isprintable() else UNREADABLE
