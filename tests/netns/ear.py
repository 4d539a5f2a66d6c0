"""Hears a node's heartbeats as a bystander on the same wire, and measures the time between two.

    with listening_to(lab, "A") as ear:
        ...
        print(ear.longest_pause_s())

The bystander is a process of its own on the client's host (`python -m tests.netns.ear INTERFACE MAC PORT`). For each
line on its standard input it prints the longest pause since the last one, in seconds, and begins anew.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from haagent.lab import Lab
from haagent.lab.plan import CLIENT

HEARTBEATS = "7265"  # the port, where the configuration does not say
ETH_P_IP, SOL_PACKET, ADD_MEMBERSHIP, ALL_MULTICAST = 0x0800, 263, 1, 2
DESTINATION_PORT = 14 + 20 + 2  # in the frame; who sends heartbeats sends no IP options


class Ear:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def longest_pause_s(self) -> float:
        """Between two heartbeats, since this was asked last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def listening_to(lab: Lab, node: str) -> Iterator[Ear]:
    mac = lab.state().plan.host(node).port("eth0").mac
    process = lab.start_on(CLIENT, [sys.executable, "-m", "tests.netns.ear", "eth0", mac, HEARTBEATS])
    ear = Ear(process)
    ear.longest_pause_s()  # it listens
    try:
        yield ear
    finally:
        process.kill()
        process.wait()


def main(interface: str, mac: str, port: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as wire:
        wire.bind((interface, ETH_P_IP))
        every_group = socket.if_nametoindex(interface).to_bytes(4, sys.byteorder) + ALL_MULTICAST.to_bytes(
            2, sys.byteorder
        )
        wire.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, every_group + bytes(10))
        listen(wire, bytes.fromhex(mac.replace(":", "")), int(port).to_bytes(2, "big"))


def listen(wire: socket.socket, mac: bytes, port: bytes) -> None:
    longest_s, before = 0.0, time.monotonic()
    while True:
        ready, _, _ = select.select([wire, sys.stdin], [], [])
        now = time.monotonic()
        if wire in ready:
            frame = wire.recv(2048)
            if frame[6:12] == mac and frame[DESTINATION_PORT : DESTINATION_PORT + 2] == port:
                longest_s, before = max(longest_s, now - before), now
        elif not sys.stdin.readline():
            return
        else:
            print(max(longest_s, now - before), flush=True)
            longest_s, before = 0.0, now


if __name__ == "__main__":
    main(*sys.argv[1:])
