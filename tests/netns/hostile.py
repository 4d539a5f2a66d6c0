"""A stranger on the client host: listens to the cluster's group, and sends into it whatever it is given.

python hostile.py capture GROUP PORT SECONDS            prints the datagrams heard, one a line, in hex
python hostile.py flood GROUP PORT RATE SECONDS         sends the datagrams of stdin in turn, prints how many
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

INTERFACE = "eth0"
BURST_S = 0.001


def capture(group: str, port: int, seconds: float) -> None:
    sock = _socket()
    sock.bind((group, port))
    member = struct.pack("@4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(INTERFACE))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            print(sock.recv(65535).hex())


def flood(group: str, port: int, rate: int, seconds: float) -> None:
    """In bursts of a millisecond: a tick that is late sends what it owes, so the rate holds on a busy machine."""
    sock, datagrams = _socket(), [bytes.fromhex(line) for line in sys.stdin]
    sent, start = 0, time.monotonic()
    while (spent := time.monotonic() - start) < seconds:
        while sent < spent * rate:
            sock.sendto(datagrams[sent % len(datagrams)], (group, port))
            sent += 1
        time.sleep(BURST_S)
    print(sent)


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    index = struct.pack("@4s4si", bytes(4), bytes(4), socket.if_nametoindex(INTERFACE))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
    return sock


if __name__ == "__main__":
    if sys.argv[1] == "capture":
        capture(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        flood(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
