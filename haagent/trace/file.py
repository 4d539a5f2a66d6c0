"""A trace as a file: a line that says what it is, a checksum, and the header, the state and the steps in msgpack.

    haagent trace 2\\n   CRC-32 of the rest, 4 bytes   Trace

The header can be read by every release that knows the number in the first line. The rest is the core's own, and is run
by the core that wrote it: `core` is a hash of its source. There is no key in it, nor any address; names of nodes and
groups, the history of that time and what hooks and checks have said are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

from haagent import __version__
from haagent.core.node import Node
from haagent.trace.entry import Entry, decode
from haagent.trace.errors import TraceError
from haagent.trace.origin import core_digest
from haagent.trace.ring import LENGTH_BYTES, Ring
from haagent.trace.snapshot import restore

MAGIC = b"haagent trace 2\n"
CRC_BYTES = 4
MAX_BYTES = 64 * 1024 * 1024  # of a file
MAX_UNPACKED_BYTES = 512 * 1024 * 1024  # of each part of it


class Header(msgspec.Struct, frozen=True):
    release: str
    core: str
    cluster: str
    node: str
    saved_at: float  # seconds of the epoch


class Trace(msgspec.Struct, frozen=True):
    header: Header
    state: bytes  # zlib, of a snapshot
    steps: tuple[bytes, ...]  # zlib, each of many steps with their lengths

    @property
    def is_of_this_core(self) -> bool:
        return self.header.core == core_digest()

    def node(self) -> Node:
        return restore(_unpacked(self.state))

    def entries(self) -> Iterator[Entry]:
        for packed in self.steps:
            data = memoryview(_unpacked(packed))
            while data:
                end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
                if len(data) < end:
                    raise TraceError("a step in it is cut short; save it again")
                try:
                    yield decode(data[LENGTH_BYTES:end])
                except msgspec.MsgspecError as error:
                    raise TraceError(f"a step in it makes no sense to this release ({error})") from error
                data = data[end:]


def take(ring: Ring, *, saved_at: float) -> Trace:
    """What the ring has now. Quick: what is long is done by `encode`, which may run beside the agent."""
    if ring.fault:
        raise TraceError(f"this agent keeps no trace any more ({ring.fault}); please report it, and restart the agent")
    settings = ring.node.state.settings
    return Trace(
        Header(__version__, core_digest(), settings.cluster, settings.me, saved_at),
        ring.segments[0].state,
        tuple(segment.steps() for segment in ring.segments),
    )


def encode(trace: Trace) -> bytes:
    body = msgspec.msgpack.encode(trace)
    return MAGIC + zlib.crc32(body).to_bytes(CRC_BYTES, "big") + body


def read(data: bytes) -> Trace:
    if not data.startswith(MAGIC):
        word = b"haagent trace "
        if data.startswith(word):
            other = data[len(word) : len(word) + 8].split(b"\n")[0].decode(errors="replace")
            raise TraceError(f"it has layout {other}, and this release reads layout 2; use the release that wrote it")
        raise TraceError("it is not a trace; `haagent trace save` writes one")
    body = data[len(MAGIC) + CRC_BYTES :]
    if zlib.crc32(body).to_bytes(CRC_BYTES, "big") != data[len(MAGIC) : len(MAGIC) + CRC_BYTES]:
        raise TraceError("it is damaged or cut short; save or copy it again")
    try:
        return msgspec.msgpack.decode(body, type=Trace)
    except msgspec.MsgspecError as error:
        raise TraceError(f"its content makes no sense ({error}); use the release that wrote it") from error


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise TraceError(f"it is damaged ({error}); save or copy it again") from error
    if unpacker.unconsumed_tail:
        raise TraceError("it is larger than any that an agent writes")
    return data
