"""What happens to the replication of a node, and what it wants to be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec

from haagent.core.store.effects import Effect
from haagent.core.store.messages import Message


class ReplicaSettings(msgspec.Struct, frozen=True, kw_only=True):
    me: str
    number: int  # in stamps
    peers: dict[str, int]  # the others, and their numbers
    is_sync: bool = False
    is_strict: bool = False  # a change that not every in-sync peer has in time is answered with NOREPLICAS
    sync_timeout_s: float = 0.25
    backlog_bytes: int = 64 * 1024 * 1024
    window_bytes: int = 1024 * 1024  # under way to one peer
    compare_every_s: float = 60.0
    join_timeout_s: float = 60.0
    touch_every_s: float = 5.0
    dead_after_s: float = 10.0


# Events


class Linked(NamedTuple):
    peer: str
    life: int


class Unlinked(NamedTuple):
    peer: str


class Died(NamedTuple):
    """Somebody who knows says that this life of the peer is over, and ends its link. If he is wrong that costs a new
    link, and no session."""

    peer: str


class Received(NamedTuple):
    peer: str
    message: Message


class Peered(NamedTuple):
    """These are the others from now on, and their numbers."""

    peers: dict[str, int]


class Wrote(NamedTuple):
    """What a command has changed. Whoever waits for it to be safe holds a ticket."""

    effects: list[Effect]
    ticket: int | None = None


class Woke(NamedTuple):
    """The deadline has come."""


Event = Linked | Unlinked | Died | Received | Peered | Wrote | Woke


# Actions


class Outcome(Enum):
    OK = "everybody who counts has it"
    NO_REPLICAS = "it is here, and perhaps elsewhere"


class Send(NamedTuple):
    peer: str
    message: Message


class HangUp(NamedTuple):
    """The peer has said what no store says. For this machine its link has ended."""

    peer: str
    why: str


class Answer(NamedTuple):
    ticket: int
    outcome: Outcome


class Ready(NamedTuple):
    """The store may be read and written."""


@dataclass(frozen=True)
class Note:
    kind: str  # joins, ready, in_sync, out_of_sync
    peer: str
    text: str


Action = Send | HangUp | Answer | Ready | Note
