"""nf_tables in bytes: attributes, messages and the expressions that our rules are made of.

Written with `struct` rather than by pyroute2, whose nftables part is declared a prototype, knows neither the owner of
a table nor batches with a generation, and takes a quarter of a second to load. The kernel's own decoder judges what
is written here (a batch is refused as a whole), and the tests read it back with `nft`.

Numbers are big-endian in nf_tables attributes, except in netlink's own headers and in what registers hold.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from haagent.kernel import netlink
from haagent.kernel.netlink import ACK, APPEND, CREATE, DUMP, HEADER, attribute

IPV4, ARP, IPV6 = 2, 3, 10  # NFPROTO_*

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, NEWRULE, NEWSET = 0, 1, 2, 3, 6, 9
NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN = 12, 13, 14, 15, 16
BATCH_BEGIN, BATCH_END = 0x10, 0x11  # without subsystem

PREROUTING, LOCAL_OUT, ARP_OUT = 0, 3, 1  # hooks
OWNED, PERSISTENT = 0x2, 0x4  # flags of a table
TIMED = 0x10  # flag of a set
IPV4_ADDRESS, IPV6_ADDRESS = (7, 4), (8, 16)  # type of a set's key as `nft` numbers it, and its length

REGISTER = 1
NAME = 1  # in every message of nf_tables that names a table, the attribute with its name

_GENERIC = struct.Struct(">BBH")  # family, version, resource
_NESTED = 0x8000
ACCEPT, DROP, GOTO = 1, 0, -4  # verdicts


def open_socket() -> socket.socket:
    return netlink.open_socket(12)  # NETLINK_NETFILTER


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def message(kind: int, family: int, *attributes: bytes, flags: int = 0) -> bytes:
    return netlink.message(SUBSYSTEM << 8 | kind, _GENERIC.pack(family, 0, 0) + b"".join(attributes), flags=flags)


def batch(messages: bytes, *, generation: int = 0) -> bytes:
    """All of it or nothing. With a generation: nothing, if the rules have changed since that one."""
    expected = number(1, generation) if generation else b""
    ours = _GENERIC.pack(0, 0, SUBSYSTEM)
    return netlink.message(BATCH_BEGIN, ours + expected) + messages + netlink.message(BATCH_END, ours)


def attributes(found: bytes, at: int = HEADER.size + _GENERIC.size) -> Iterator[tuple[int, bytes]]:
    """Of a message, or (`at=0`) of a nested attribute's payload."""
    return netlink.attributes(found, at)


# Messages


def get_tables() -> bytes:
    return message(GETTABLE, 0, flags=DUMP)


def get_generation() -> bytes:
    return message(GETGEN, 0)


def get_elements(family: int, table: str, name: str) -> bytes:
    return message(GETSETELEM, family, text(NAME, table), text(2, name), flags=DUMP)


def new_table(family: int, name: str, *, flags: int, comment: str = "") -> bytes:
    # The comment is user data in the manner of `nft`: type 0, length, text with its closing zero.
    said = comment.encode() + b"\0"
    user_data = attribute(6, bytes((0, len(said))) + said) if comment else b""
    return message(NEWTABLE, family, text(NAME, name), number(2, flags), user_data, flags=CREATE)


def delete_table(family: int, name: str) -> bytes:
    return message(DELTABLE, family, text(NAME, name))


def new_set(family: int, table: str, name: str, *, key: tuple[int, int], flags: int) -> bytes:
    kind, length = key
    parts = (text(NAME, table), text(2, name), number(3, flags), number(4, kind), number(5, length))
    return message(NEWSET, family, *parts, number(10, 1), flags=CREATE)  # an identity that the kernel insists on


def new_chain(family: int, table: str, name: str, *, hook: int | None = None, priority: int = 0) -> bytes:
    """With a hook the kernel calls it; without, another chain goes there."""
    base = b"" if hook is None else nested(4, number(1, hook), number(2, priority)) + text(7, "filter")
    return message(NEWCHAIN, family, text(NAME, table), text(3, name), base, flags=CREATE)


def new_rule(family: int, table: str, chain: str, *expressions: bytes) -> bytes:
    return message(NEWRULE, family, text(NAME, table), text(2, chain), nested(4, *expressions), flags=CREATE | APPEND)


def element(key: bytes, lasts_ms: int = 0) -> bytes:
    """With a time-out it is written twice: an element that is there already takes its new end from the second."""
    lasting = b"".join(attribute(kind, struct.pack(">Q", lasts_ms)) for kind in (4, 5)) if lasts_ms else b""
    return nested(1, nested(1, attribute(1, key)), lasting)


def add_elements(family: int, table: str, name: str, *elements: bytes, flags: int = 0) -> bytes:
    return message(NEWSETELEM, family, text(NAME, table), text(2, name), nested(3, *elements), flags=CREATE | flags)


def delete_elements(family: int, table: str, name: str, *elements: bytes) -> bytes:
    return message(DELSETELEM, family, text(NAME, table), text(2, name), nested(3, *elements))


def confirmed(message: bytes) -> bytes:
    """The same, with the wish to hear that it was done."""
    length, kind, flags, sequence, port = HEADER.unpack_from(message)
    return HEADER.pack(length, kind, flags | ACK, sequence, port) + message[HEADER.size :]


# Expressions


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


_LOAD_MARK = _expression("meta", number(1, REGISTER), number(2, 3))
_STORE_MARK = _expression("meta", number(2, 3), number(3, REGISTER))


def load_payload(offset: int, length: int) -> bytes:
    """From the network header."""
    return _expression("payload", number(1, REGISTER), number(2, 1), number(3, offset), number(4, length))


def equals(payload: bytes, *, is_equal: bool = True) -> bytes:
    return _expression("cmp", number(1, REGISTER), number(2, 0 if is_equal else 1), nested(3, attribute(1, payload)))


def _bitwise(mask: int, flip: int = 0) -> bytes:
    words = [nested(kind, attribute(1, struct.pack("=I", value))) for kind, value in ((4, mask), (5, flip))]
    return _expression("bitwise", number(1, REGISTER), number(2, REGISTER), number(3, 4), *words)


def is_in(name: str) -> bytes:
    return _expression("lookup", text(1, name), number(2, REGISTER))


def has_mark(bit: int) -> bytes:
    return _LOAD_MARK + _bitwise(bit) + equals(bytes(4), is_equal=False)


def set_mark(bit: int) -> bytes:
    return _LOAD_MARK + _bitwise(~bit & 0xFFFFFFFF, bit) + _STORE_MARK


def clear_mark(bit: int) -> bytes:
    return _LOAD_MARK + _bitwise(~bit & 0xFFFFFFFF) + _STORE_MARK


def is_local(flags: int) -> bytes:
    """The address is this host's. `flags`: which one of the packet, and whether the interface it came by matters."""
    return _expression("fib", number(1, REGISTER), number(2, 3), number(3, flags)) + equals(struct.pack("=I", 2))


FIB_DESTINATION, FIB_INTERFACE = 0x2, 0x8


def count() -> bytes:
    return _expression("counter")


def verdict(code: int, chain: str = "") -> bytes:
    name = text(2, chain) if chain else b""
    return _expression("immediate", number(1, 0), nested(2, nested(2, number(1, code), name)))
