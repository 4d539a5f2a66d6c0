"""The store's process. Its standard input is a socket to the agent: from it come the settings, and its end is the end.

It imports no room of the agent, so it starts fast and there is little in it to break into. The agent's privileges are
given up first: a port above 1023 needs none.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from haagent.sessions.messages import MOST, Found, Lost, News, Noted, Refused, Serving
from haagent.sessions.settings import Changed, PeerSettings, Settings

if TYPE_CHECKING:
    from haagent.sessions.relay.server import Relay
    from haagent.sessions.store.member import Member

NAME = "haagent-store"  # the kernel keeps 15 characters
TELL_S = 1.0
_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _CLEAR_ALL = 4, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_DECODER = msgspec.msgpack.Decoder(Changed | Found | Lost)
_LIBC = ctypes.CDLL(None, use_errno=True)

logger = logging.getLogger(__name__)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal, or systemd, tells all processes:
        signal.signal(number, signal.SIG_IGN)  # the agent decides when this one ends
    channel = socket.socket(fileno=os.dup(0))
    settings = msgspec.msgpack.decode(channel.recv(MOST), type=Settings)
    _become_store()
    channel.setblocking(False)
    try:
        member = _relay(settings) if settings.peers is None else _member(settings, settings.peers, channel)
    except ImportError as missing:
        hint = "install `haagent[sessions]` with pip"
        _tell(channel, Refused(f"it needs the Python package {missing.name}; {hint}"))
        return
    work = _live(channel, member)
    try:
        import uvloop
    except ImportError:
        status = asyncio.run(work)
    else:
        status = uvloop.run(work)
    sys.exit(status)


def _member(settings: Settings, peers: PeerSettings, channel: socket.socket) -> Member:
    from haagent.sessions.store.member import Member, MemberOptions
    from haagent.sessions.store.server import Options

    door = msgspec.structs.replace(
        msgspec.convert(settings, Options, from_attributes=True), node_number=peers.replica.number, store=peers.store
    )
    member = Member(MemberOptions(door=door, link=peers.link, replica=peers.replica))
    member.on_note = lambda note: _tell(channel, Noted(note.kind, note.peer, note.text))
    return member


def _relay(settings: Settings) -> Relay:
    from haagent.sessions.relay.server import Options, Relay

    return Relay(msgspec.convert(settings, Options, from_attributes=True))


async def _live(channel: socket.socket, member: Member | Relay) -> int:
    """Until the agent wants no more, or a bug is found: what it returns is the status with which the process ends."""
    ended, status = asyncio.Event(), 0

    def fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal status
        if not _is_a_bug(context):
            loop.default_exception_handler(context)
            return
        logger.critical("a bug ends this store: %s", context["message"], exc_info=context.get("exception"))
        status = 1
        ended.set()

    asyncio.get_running_loop().set_exception_handler(fail)
    try:
        await member.open()
    except OSError as error:
        _tell(channel, Refused(os.strerror(error.errno) if error.errno else str(error)))
        return status

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
            case Found(peers):
                member.find(peers)

    member.on_change = lambda: _tell(channel, Serving(member.facts()))  # a balancer waits for it, or who is to stop
    asyncio.get_running_loop().add_reader(channel, hear)
    try:
        while not ended.is_set():
            _tell(channel, Serving(member.facts()))
            try:
                async with asyncio.timeout(TELL_S):
                    await ended.wait()
            except TimeoutError:
                pass
    finally:
        member.on_change = lambda: None  # the agent does not listen any more
        await member.close()
    return status


def _is_a_bug(context: dict[str, Any]) -> bool:
    """Of what goes on for all. One that a single connection has met ends that connection; and the kernel may refuse."""
    return "task" in context or ("protocol" not in context and not isinstance(context.get("exception"), OSError))


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
