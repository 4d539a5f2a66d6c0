"""What is kept in etcd of one group: a line of JSON that `etcdctl get` shows to a person as well.

Nodes of neighbouring releases read each other's: fields are only added, each with a default.
"""

from __future__ import annotations

import msgspec

from haagent.core.limits import MAX_LEASE_MS, MAX_NAME, MAX_ROUND
from haagent.core.messages import Ballot


class Stored(msgspec.Struct, frozen=True):
    round: int
    node: str
    boot: int  # the life of the node that wrote it
    beat: int = 0  # counts what this life has written, so that no two values are alike
    lease_ms: int = 0
    released: bool = False

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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNREADABLE
    is_sound = 0 <= found.round <= MAX_ROUND and len(found.node) <= MAX_NAME and 0 <= found.lease_ms <= MAX_LEASE_MS
    return found if is_sound else UNREADABLE
