"""What the agent has left with the guardian: values, and the descriptors that came with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from socket import socket

from haagent.guardian import messages

Outlet = tuple[socket, list[tuple[str | int, ...]]]


class CleanupState:
    def __init__(self) -> None:
        self.node = ""
        self.lease_s = 1.0
        self.as_json = False
        self.addresses: list[bytes] = []
        self.words: list[bytes] = []  # none yet, or nothing to say
        self.outlets: list[Outlet] = []
        self.is_in_force = False  # from the agent's first word until it says that nothing is left to be done
        self._lock = -1  # held open: the run directory is ours until the address is gone, not until the agent is
        self._reader = messages.Reader()

    def receive(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind, parts = self._reader.read(message)
        if parts is None:
            return
        if kind == messages.HELLO:
            self._greet(parts, descriptors)
        elif kind == messages.ADDRESSES:
            self.addresses = parts
        elif kind == messages.LINKS:
            self._replace_outlets(parts, descriptors)
        elif kind == messages.WORDS:
            self.words = parts
        elif kind == messages.VOID:
            self.is_in_force = False

    def _greet(self, parts: Sequence[bytes], descriptors: Sequence[int]) -> None:
        name, lease_ms, form = parts
        self.node, self.lease_s, self.as_json = name.decode(), int(lease_ms) / 1000, form == b"json"
        self.is_in_force = True
        for descriptor in descriptors:
            self._lock = descriptor

    def _replace_outlets(self, parts: Sequence[bytes], descriptors: Sequence[int]) -> None:
        for sock, _ in self.outlets:
            sock.close()
        self.outlets = [
            (socket(fileno=descriptor), messages.read_destinations(part))
            for part, descriptor in zip(parts, descriptors, strict=True)
        ]

    def speak(self) -> tuple[int, str]:
        """The last words, on every link to everybody. How many datagrams left, and the last refusal."""
        sent, refusal = 0, ""
        for sock, targets in self.outlets:
            for datagram in self.words:
                for target in targets:
                    try:
                        sock.sendto(datagram, target)
                        sent += 1
                    except OSError as error:  # another link may carry it
                        refusal = os.strerror(error.errno or 0)
        return sent, refusal
