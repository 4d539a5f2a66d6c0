"""The store's process. Its standard input is a socket to the agent: from it come the settings, and its end is the end.

It imports no room of the agent, so it starts fast and there is little in it to break into. The agent's privileges are
given up first: a port above 1023 needs none.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import msgspec

from haagent.sessions.messages import MOST, Changed, Facts, Lost, News, Noted, PeerFacts, Refused, Serving, Settings

if TYPE_CHECKING:
    from haagent.core.store.replica import Replica
    from haagent.peerlink import LinkStatus
    from haagent.sessions.store.member import Member

NAME = "haagent-store"  # the kernel keeps 15 characters
TELL_S = 1.0
_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _CLEAR_ALL = 4, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_DECODER = msgspec.msgpack.Decoder(Changed | Lost)
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal, or systemd, tells all processes:
        signal.signal(number, signal.SIG_IGN)  # the agent decides when this one ends
    channel = socket.socket(fileno=os.dup(0))
    settings = msgspec.msgpack.decode(channel.recv(MOST), type=Settings)
    _become_store()
    channel.setblocking(False)
    try:
        member = _member(settings)
    except ImportError as missing:
        hint = "install `haagent[sessions]` with pip"
        _tell(channel, Refused(f"it needs the Python package {missing.name}; {hint}"))
        return
    work = _live(channel, member)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _member(settings: Settings) -> Member:
    from haagent.sessions.store.member import Member, MemberOptions
    from haagent.sessions.store.server import Options

    door = Options(
        host=settings.host,
        port=settings.port,
        path=settings.path,
        mode=settings.mode,
        password=settings.password,
        node_number=settings.replica.number,
        store=settings.store,
    )
    return Member(MemberOptions(door=door, link=settings.link, replica=settings.replica))


async def _live(channel: socket.socket, member: Member) -> None:
    try:
        await member.open()
    except OSError as error:
        _tell(channel, Refused(os.strerror(error.errno) if error.errno else str(error)))
        return
    ended = asyncio.Event()

    def hear() -> None:
        """The agent's next message; when it says nothing more, this is its end."""
        try:
            data = channel.recv(MOST)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(channel)
            ended.set()
            return
        match _DECODER.decode(data):
            case Changed(link, peers):
                member.configure(link, peers)
            case Lost(peers):
                member.lose(peers)

    member.on_ready = lambda: _tell(channel, Serving(_facts(member)))  # a balancer waits for it
    member.on_note = lambda note: _tell(channel, Noted(note.kind, note.peer, note.text))
    asyncio.get_running_loop().add_reader(channel, hear)
    try:
        while not ended.is_set():
            _tell(channel, Serving(_facts(member)))
            try:
                async with asyncio.timeout(TELL_S):
                    await ended.wait()
            except TimeoutError:
                pass
    finally:
        await member.close()


def _facts(member: Member) -> Facts:
    door, replica = member.server.door, member.replica
    peers = {status.peer: _peer(replica, status, time.monotonic()) for status in member.link.status()}
    counts = {**door.counts, **{f"link_{cause}": count for cause, count in member.link.counts.items()}}
    counts |= {f"replica_{name}": count for name, count in replica.counters.items()}
    return Facts(replica.is_ready, len(door.clients), door.store.count, door.store.bytes_used(), peers, counts)


def _peer(replica: Replica, status: LinkStatus, now: float) -> PeerFacts:
    peer, stream = replica.peers[status.peer], replica.stream
    queue_bytes, since = stream.lacking(peer.reader)
    acks_ms = sorted(took_s * 1000 for took_s in peer.reader.acks_s)
    return PeerFacts(
        linked=status.is_linked,
        in_sync=peer.is_in_sync,
        queue=stream.seq - peer.reader.acked,
        queue_bytes=queue_bytes,
        lag_ms=0.0 if since is None else (now - since) * 1000,
        ack_p50_ms=acks_ms[len(acks_ms) // 2] if acks_ms else None,
        ack_p99_ms=acks_ms[len(acks_ms) * 99 // 100] if acks_ms else None,
        last_full_sync=None if peer.compared_at is None else now - peer.compared_at,
        why=status.why,
    )


def _tell(channel: socket.socket, what: News) -> None:
    try:
        channel.send(msgspec.msgpack.encode(what))
    except BlockingIOError:
        pass  # the agent is held up: it hears the next one
    except BrokenPipeError:
        pass  # and when it has ended, so do we


def _become_store() -> None:
    """Named, and without privileges: neither what systemd gave the agent nor those of root. Nobody reads its memory."""
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(NAME)
    _LIBC.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    if _LIBC.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
