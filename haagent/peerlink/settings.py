"""What the link must know, as plain values: they cross a pipe to the store's process."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """Made by `identity.derive`."""

    shown: bytes  # the private key and the certificate that this node shows, as PEM: secret
    trusted: tuple[bytes, ...]  # the certificates that a peer may show, as DER

    def __repr__(self) -> str:
        return f"Identity(..., {len(self.trusted)} trusted)"


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    me: str
    life: int  # of who speaks: random, new at every start
    release: str
    addresses: tuple[str, ...]  # this node's own
    peers: dict[str, tuple[str, ...]]  # and theirs
    port: int
    identity: Identity
    tick_s: float = 0.5  # every time-out is a number of these

    def paths(self, peer: str) -> list[tuple[str, str]]:
        """From our n-th address to its n-th, as the heartbeats go."""
        pairs = zip(self.addresses, self.peers[peer], strict=False)
        return [(mine, theirs) for mine, theirs in pairs if (":" in mine) == (":" in theirs)]

    def hosts(self) -> dict[str, str]:
        """Whose address it is."""
        return {plain(address): peer for peer, addresses in self.peers.items() for address in addresses}


def plain(address: str) -> str:
    """As the kernel writes it, without the interface of a link-local one."""
    return str(ip_address(address.partition("%")[0]))
