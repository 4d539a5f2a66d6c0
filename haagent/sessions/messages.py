"""What the agent and the store's process tell each other, over a socket that only these two have.

The settings (settings.py) go this way because arguments and environment of a process can be read by every user of the
host. An agent without sessions loads this file, and nothing of the store.
"""

from __future__ import annotations

import socket

import msgspec

MOST = 128 * 1024  # bytes of one message


class Lost(msgspec.Struct, frozen=True, tag=True):
    """To the store: these nodes were heard until now."""

    peers: list[str]


class Found(msgspec.Struct, frozen=True, tag=True):
    """To the store: these nodes were not heard until now."""

    peers: list[str]


class PeerFacts(msgspec.Struct, frozen=True):
    """As `status --json` names them."""

    linked: bool
    in_sync: bool
    queue: int  # changes of ours that it has not confirmed
    queue_bytes: int  # of these, roughly
    lag_ms: float  # since the oldest of these was made, or of those that the backlog still has
    ack_p50_ms: float | None  # from a batch to its confirmation, of its latest thousand; None: there was none
    ack_p99_ms: float | None
    last_full_sync: float | None  # seconds since we have last compared all with it; None: not in this life
    why: str  # it is not linked


class RelayFacts(msgspec.Struct, frozen=True):
    master: str  # its address; empty: there is none
    why: str  # there is none
    is_short: bool  # the latest change had too few replicas


class Facts(msgspec.Struct, frozen=True):
    """The store's, once it serves and then every second, and when it becomes ready."""

    is_ready: bool
    clients: int
    keys: int
    bytes: int
    peers: dict[str, PeerFacts]  # by name
    counts: dict[str, int]  # since its start
    relay: RelayFacts | None = None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It cannot serve, and ends."""

    why: str


class Noted(msgspec.Struct, frozen=True, tag=True):
    """Something happened to its replication, as `core.store.events.Note` says it."""

    kind: str
    peer: str
    text: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    facts: Facts


News = Serving | Refused | Noted


def pair() -> tuple[socket.socket, socket.socket]:
    """A message is sent and received whole, or not at all."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, its
