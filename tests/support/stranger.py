"""A stranger on the link: uses somebody's address, or asks for it.

python stranger.py announce INTERFACE ADDRESS MAC TIMES PAUSE    says that it has the address
python stranger.py probe INTERFACE ADDRESS MAC                   asks whether the address is free

Frames by hand, so that a test of our frames does not use our frames.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from ipaddress import IPv4Address, ip_address


def arp(mac: bytes, sender: bytes, target: bytes) -> bytes:
    body = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, sender, bytes(6), target)
    return (b"\xff" * 6 + mac + b"\x08\x06" + body).ljust(60, b"\0")


def discovery(mac: bytes, source: bytes, target: bytes, *, kind: int, group: bytes) -> bytes:
    option = (2).to_bytes() + b"\x01" + mac if kind == 136 else b""
    message = struct.pack(">BBHI", kind, 0, 0, 0x20000000 if kind == 136 else 0) + target + option
    pseudo = source + group + struct.pack(">II", len(message), 58) + message
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack(">H", ~total & 0xFFFF) + message[4:]
    header = struct.pack(">IHBB", 6 << 28, len(message), 58, 255) + source + group
    return b"\x33\x33" + group[-4:] + mac + b"\x86\xdd" + header + message


def frame(what: str, address: str, mac: bytes) -> bytes:
    target = ip_address(address)
    if isinstance(target, IPv4Address):
        return arp(mac, target.packed if what == "announce" else bytes(4), target.packed)
    if what == "announce":
        return discovery(mac, target.packed, target.packed, kind=136, group=ip_address("ff02::1").packed)
    solicited = bytes.fromhex("ff0200000000000000000001ff") + target.packed[-3:]
    return discovery(mac, bytes(16), target.packed, kind=135, group=solicited)


def main(what: str, interface: str, address: str, mac: str, times: str = "1", pause: str = "0") -> None:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.bind((interface, 0))
    for _ in range(int(times)):
        link.send(frame(what, address, bytes.fromhex(mac.replace(":", ""))))
        time.sleep(float(pause))


if __name__ == "__main__":
    main(*sys.argv[1:])
