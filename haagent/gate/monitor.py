"""Hearing that another program changed the permanent table: `nft flush ruleset` does, on a kernel before 6.9.

A later kernel lets a table be owned and yet outlive its owner: there nobody but us can change it while we live, and
this listener is not needed. The table with the key is owned everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from haagent.gate import encoding as nft
from haagent.gate.ruleset import GATE
from haagent.kernel import netlink

_NFNLGRP_NFTABLES = 7
_BUDGET = 64  # datagrams per turn of the loop
_NAME = GATE.encode() + b"\0"


class Monitor:
    """`touched` is called once per turn in which somebody else changed something of ours, or may have."""

    def __init__(self, *, is_own: Callable[[int], bool], touched: Callable[[], None]) -> None:
        self._is_own, self._touched = is_own, touched
        self._loop = asyncio.get_running_loop()
        self._socket = nft.open_socket()
        self._socket.setsockopt(netlink.SOL_NETLINK, netlink.ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._loop.add_reader(self._socket, self._drain)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _drain(self) -> None:
        is_touched = False
        for datagram in netlink.arrived(self._socket, most=_BUDGET):
            # Lost messages were perhaps about us.
            is_touched |= datagram is None or any(self._is_about_us(*parts) for parts in netlink.split(datagram))
        if is_touched:
            self._touched()

    def _is_about_us(self, kind: int, _flags: int, _sequence: int, port: int, message: bytes) -> bool:
        if kind >> 8 != nft.SUBSYSTEM or self._is_own(port) or len(message) <= netlink.HEADER.size:
            return False
        # Every message about a table or a part of one names the table in its first attribute.
        return next(nft.attributes(message), (0, b"")) == (nft.NAME, _NAME)
