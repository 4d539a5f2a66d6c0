"""What the agent and the store's process tell each other, over a socket that only these two have.

The settings go this way because arguments and environment of a process can be read by every user of the host.
"""

from __future__ import annotations

import socket

import msgspec

from haagent.core.store.settings import StoreSettings

MOST = 128 * 1024  # bytes of one message


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The first message, and the only one to the store."""

    host: str
    port: int
    path: str
    password: str
    node_number: int
    store: StoreSettings

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port}, ...)"


class Facts(msgspec.Struct, frozen=True):
    """The store's, once it serves and then every second."""

    clients: int
    keys: int
    bytes: int
    counts: dict[str, int]  # since its start


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It cannot serve, and ends."""

    why: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    facts: Facts


def pair() -> tuple[socket.socket, socket.socket]:
    """A message is sent and received whole, or not at all."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, its
