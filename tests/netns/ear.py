"""Hears a node's heartbeats as a bystander on the same wire, and measures the time between two.

    python -m tests.netns.ear INTERFACE MAC PORT

For each line on its standard input it prints the longest pause since the last one, in seconds, and begins anew.
"""

from __future__ import annotations

import select
import socket
import sys
import time

ETH_P_IP, SOL_PACKET, ADD_MEMBERSHIP, ALL_MULTICAST = 0x0800, 263, 1, 2
DESTINATION_PORT = 14 + 20 + 2  # in the frame; who sends heartbeats sends no IP options


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
