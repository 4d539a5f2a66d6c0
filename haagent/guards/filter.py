"""Which frames the kernel hands to the guards: a program of its packet filter (bpf) for each of the two sockets.

The process must not wake for every ARP request on a busy link. What passes: ARP whose sender says that it has one of
the group's addresses, replies of a gateway, and probes (sender 0.0.0.0) for the group's addresses; neighbour
advertisements for these, and solicitations from `::`, which are IPv6's probes. Of an IPv6 address only the last four
bytes are compared here: it is cheaper, and whoever reads the frame compares the rest.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

SO_ATTACH_FILTER = 26
MOST = 800  # addresses; the kernel takes 4096 instructions. Beyond, all ARP or ICMPv6 passes
SNAP = 128  # bytes of a frame that are read: both kinds are shorter

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136

Instruction = tuple[int, int, int, int]  # code, skip if true, skip if false, number

_DROP: Instruction = (_RETURN, 0, 0, 0)
_PASS: Instruction = (_RETURN, 0, 0, SNAP)


def arp(addresses: Iterable[bytes], gateways: Iterable[bytes]) -> list[Instruction]:
    """Of frames from the Ethernet header on: sender's address at 28, target's at 38, operation at 20."""
    held, asked = list(addresses), list(gateways)
    if len(held) + len(asked) > MOST:
        return [_PASS]
    program: list[Instruction] = [(_LOAD_WORD, 0, 0, 28)]
    program += _any_of(held)
    for gateway in asked:
        is_reply: list[Instruction] = [(_LOAD_HALF, 0, 0, 20), (_EQUAL, 0, 1, 2), _PASS, _DROP]
        program += [(_EQUAL, 0, len(is_reply), _number(gateway)), *is_reply]
    program += [(_EQUAL, 1, 0, 0), _DROP, (_LOAD_WORD, 0, 0, 38)]
    return [*program, *_any_of(held), _DROP]


def discovery(addresses: Iterable[bytes]) -> list[Instruction]:
    """IPv6: next header at 20, source at 22, ICMPv6 type at 54, target at 62."""
    wanted = list(addresses)
    if len(wanted) > MOST:
        return [(_LOAD_BYTE, 0, 0, 20), (_EQUAL, 0, 1, _ICMPV6), _PASS, _DROP]
    from_nobody: list[Instruction] = []
    for word in range(22, 38, 4):
        from_nobody += [(_LOAD_WORD, 0, 0, word), (_EQUAL, 1, 0, 0), _DROP]
    kinds: list[Instruction] = [
        *((_LOAD_BYTE, 0, 0, 20), (_EQUAL, 1, 0, _ICMPV6), _DROP),
        *((_LOAD_BYTE, 0, 0, 54), (_EQUAL, 2 + len(from_nobody), 0, _ADVERTISEMENT), (_EQUAL, 1, 0, _SOLICITATION)),
        _DROP,
    ]
    return [*kinds, *from_nobody, (_LOAD_WORD, 0, 0, 74), *_any_of(address[-4:] for address in wanted), _DROP]


def attach(opened: socket.socket, program: list[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    kept = ctypes.create_string_buffer(code, len(code))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(kept)))


def _any_of(words: Iterable[bytes]) -> list[Instruction]:
    program: list[Instruction] = []
    for word in words:
        program += [(_EQUAL, 0, 1, _number(word)), _PASS]
    return program


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")
