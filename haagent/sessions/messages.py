"""What the agent and the store's process tell each other, over a socket that only these two have.

The settings go this way because arguments and environment of a process can be read by every user of the host.
"""

from __future__ import annotations

import socket

import msgspec

from haagent.core.store.events import ReplicaSettings
from haagent.core.store.settings import StoreSettings
from haagent.peerlink.settings import LinkSettings

MOST = 128 * 1024  # bytes of one message


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to the store."""

    host: str
    port: int
    path: str
    mode: int  # of what is there
    password: str
    store: StoreSettings
    link: LinkSettings
    replica: ReplicaSettings

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port}, ...)"


class Changed(msgspec.Struct, frozen=True, tag=True):
    """A later one: nodes have come or gone, or keys have been changed."""

    link: LinkSettings
    peers: dict[str, int]


class Lost(msgspec.Struct, frozen=True, tag=True):
    """Or: these nodes were heard until now."""

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


class Facts(msgspec.Struct, frozen=True):
    """The store's, once it serves and then every second, and when it becomes ready."""

    is_ready: bool
    clients: int
    keys: int
    bytes: int
    peers: dict[str, PeerFacts]  # by name
    counts: dict[str, int]  # since its start


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
