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
        self._lock: list[int] = []  # held open: the run directory is ours until the addresses are gone
        self._reader = messages.Reader()

    def receive(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind, values = self._reader.read(message)
        if values is None:
            return
        if kind == messages.HELLO:
            self.node, self.lease_s, self.as_json = values
            self.is_in_force = True
            self._lock = [*descriptors]
        elif kind == messages.ADDRESSES:
            self.addresses = values
        elif kind == messages.LINKS:
            for sock, _ in self.outlets:
                sock.close()
            opened = [socket(fileno=descriptor) for descriptor in descriptors]
            self.outlets = list(zip(opened, values, strict=True))
        elif kind == messages.WORDS:
            self.words = values
        elif kind == messages.VOID:
            self.is_in_force = False

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
