"""What the store's process is told by the agent: at its start, and when the agents' configuration has changed."""

from __future__ import annotations

import secrets

import msgspec

from haagent.core.store.events import ReplicaSettings
from haagent.core.store.settings import StoreSettings
from haagent.peerlink.settings import Identity, LinkSettings
from haagent.sessions.relay.settings import RelaySettings


class PeerSettings(msgspec.Struct, frozen=True, kw_only=True):
    store: StoreSettings
    link: LinkSettings
    replica: ReplicaSettings


class Changed(msgspec.Struct, frozen=True, tag=True):
    """A later one: nodes have come or gone, or keys have been changed."""

    link: LinkSettings
    peers: dict[str, int]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to the store."""

    host: str
    port: int
    path: str
    mode: int  # of what is there
    password: str
    peers: PeerSettings | None = None  # one of the two: sessions are in the memory of the nodes,
    relay: RelaySettings | None = None  # or in a Redis

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port}, ...)"

    def fixed(self) -> Settings:
        """What cannot change while it runs: all but who the others are, and with which keys they are known."""
        if self.peers is None:
            return self
        replica = msgspec.structs.replace(self.peers.replica, peers={})
        return msgspec.structs.replace(self, peers=msgspec.structs.replace(self.peers, link=_NO_LINK, replica=replica))

    def born(self) -> Settings:
        """Each process of the store has a life of its own, by which its peers know it."""
        if self.peers is None:
            return self
        link = msgspec.structs.replace(self.peers.link, life=secrets.randbits(63))
        return msgspec.structs.replace(self, peers=msgspec.structs.replace(self.peers, link=link))

    def changed(self) -> Changed | None:
        """What one that runs is told of it. None: to a Redis, nodes and their keys are nothing."""
        return Changed(self.peers.link, self.peers.replica.peers) if self.peers is not None else None


_NO_LINK = LinkSettings(
    cluster="", me="", life=0, release="", addresses=(), peers={}, port=0, identity=Identity(b"", ())
)
