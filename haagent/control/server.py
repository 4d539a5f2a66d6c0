"""The server half of the control socket, inside the agent's event loop.

A client is a stranger until it has shown who it is, and stays a nuisance after that: it may send anything, stop
reading, never finish a line, or come a thousand times. So every read and write has an end, lines and clients are
bounded, and whatever goes wrong with one client ends that client's connection and nothing else.

Must be opened by the process that holds `place.run_lock`: that is why it may replace a socket it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import logging
import os
import socket
import struct
from collections.abc import Iterator

import msgspec

from haagent.config import ConfigError, KeyFileError
from haagent.control import events, fencing, operations, requests, tracing
from haagent.control.facade import Facade
from haagent.control.place import SOCKET, socket_path
from haagent.control.requests import AnyRequest, Listener, Refusal
from haagent.parts import CannotReload, Still

GROUP = "haagent"  # its members may give orders without being root

MAX_LINE = 64 * 1024  # bytes of a request; the longest sensible one has a few hundred
MAX_CLIENTS = 32  # a person, a few scripts and a few `--watch`
FIRST_LINE_S = 10.0  # who connects has something to say
IDLE_S = 300.0  # between two requests of one connection
PARTING_S = 1.0  # for a client that is sent away to read why
WRITE_S = 10.0  # a client that does not read is let go

SO_PEERGROUPS = 59  # of Linux 4.13; Python's socket module has no name for it
MAX_GROUP_BYTES = 1024  # the most that Python's getsockopt takes: 256 groups

logger = logging.getLogger(__name__)


class ControlServer(Still):
    name = "control"

    def __init__(self, agent: Facade, *, run_dir: str) -> None:
        self._agent, self._run_dir = agent, run_dir
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._group = _group_id()

    async def open(self) -> None:
        listener = _listen(self._run_dir, self._group)
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=listener, limit=MAX_LINE, backlog=MAX_CLIENTS
        )

    async def close(self) -> None:
        """Stop listening and end every client; a command that still waits is told nothing more."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._run_dir, SOCKET))

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was on its way while we closed
            writer.close()
            return
        # A task of our own: it can be cancelled, and it is not forgotten while it runs.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self._agent, reader, writer)
        try:
            if len(self._clients) > 2 * MAX_CLIENTS:
                return  # a flood: not even told, so that it cannot use up the agent's descriptors
            if not _is_allowed(writer.get_extra_info("socket"), self._group):
                await client.send_away(f"Only root and members of the group `{GROUP}` may use this socket.", code=4)
            elif len(self._clients) > MAX_CLIENTS:
                await client.send_away(f"{MAX_CLIENTS} clients are connected already; try again in a moment.", code=1)
            else:
                await client.serve()
        except OSError:
            pass  # the client is gone or does not read (TimeoutError): nobody is left to be told
        finally:
            writer.close()


class _Client:
    """One connection: requests one after another, until the client leaves or is sent away."""

    def __init__(self, agent: Facade, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._agent, self._reader, self._writer = agent, reader, writer
        self._listener = Listener(
            say=lambda text: self._send({"progress": text}),
            tell=lambda event: self._send({"event": event}),
            is_leaving=reader.at_eof,
        )

    async def serve(self) -> None:
        patience_s = FIRST_LINE_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await self.send_away(f"A request is one line of at most {MAX_LINE} bytes.", code=2)
                return
            await self._answer(line)
            patience_s = IDLE_S

    async def _answer(self, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line, type=AnyRequest)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            await self.fail(f"The request is not understood: {error}", code=2)
            return
        try:
            result = await self._perform(request)
        except Refusal as refusal:
            await self.fail(refusal.message, code=refusal.status, details=refusal.details)
        except ConfigError as error:
            faults = msgspec.to_builtins(error.faults)
            message = f"The file is refused; the running configuration stays.\n{error}"
            await self.fail(message, code=2, details={"file": error.file, "faults": faults})
        except KeyFileError as error:
            await self.fail(f"The keys are refused; the running configuration stays.\n{error}", code=2)
        except CannotReload as error:
            await self.fail(f"Refused; the running configuration stays: {error}", code=1)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            # A bug in answering one operator must not cost the cluster a holder. It is logged whole, and told.
            logger.exception("control: %s failed", type(request).__name__.lower())
            await self.fail(
                "The agent could not answer because of a fault of its own; its log has the details.", code=1
            )
        else:
            await self._send({"result": result})

    async def _perform(self, request: AnyRequest) -> dict[str, object]:
        agent = self._agent
        match request:
            case requests.Status():
                return agent.status()
            case requests.Counters():
                return dict(sorted(agent.counters().items()))
            case requests.Reload():
                return {"text": await agent.reload()}
            case requests.Failover():
                return await operations.failover(agent, request, self._listener)
            case requests.Standby():
                return await operations.standby(agent, request, self._listener)
            case requests.Unstandby():
                return await operations.unstandby(agent, request)
            case requests.Maintenance():
                return await operations.maintenance(agent, request)
            case requests.Clear():
                return await operations.clear(agent, request)
            case requests.Fence():
                return await fencing.fence(agent, request, self._listener)
            case requests.ConfirmDown():
                return await fencing.confirm_down(agent, request)
            case requests.Events():
                return await events.tell(agent, request, self._listener)
            case requests.SaveTrace():
                return await tracing.give(agent, self._listener)

    async def fail(self, message: str, *, code: int, details: dict[str, object] | None = None) -> None:
        await self._send({"error": {"status": code, "message": message} | (details or {})})

    async def send_away(self, message: str, *, code: int) -> None:
        """The reason, and then nothing more. What the client is still sending is read for a moment.

        To close a socket with unread data resets it, and the client would lose the reason.
        """
        await self.fail(message, code=code)
        self._writer.write_eof()
        async with asyncio.timeout(PARTING_S):
            while await self._reader.read(MAX_LINE):
                pass

    async def _send(self, line: dict[str, object]) -> None:
        self._writer.write(msgspec.json.encode(line) + b"\n")
        async with asyncio.timeout(WRITE_S):
            await self._writer.drain()


def _listen(run_dir: str, group: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(run_dir, SOCKET))  # of an agent that died: the run lock says that no other lives
    with socket_path(run_dir) as path, _making_for(group):
        listener.bind(path)
    return listener


@contextlib.contextmanager
def _making_for(group: int | None) -> Iterator[None]:
    """A socket that is made meanwhile is for its owner and for `group`.

    It has its mode and its group from the start: to change them by its path, later, could hit another file.
    """
    mask, own = os.umask(0o117), os.getegid()
    try:
        if group is not None and os.geteuid() == 0:
            _become_member(group)
        yield
    finally:
        if os.getegid() != own:
            os.setegid(own)
        os.umask(mask)


def _become_member(group: int) -> None:
    try:
        os.setegid(group)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The group does not exist in this user namespace, and so nobody of it is here.


def _group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _is_allowed(connection: socket.socket, group: int | None) -> bool:
    """Asked from the kernel, which knows the groups of the peer as well; a name service could hang."""
    three = struct.Struct("iii")
    _, uid, gid = three.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, three.size))
    if uid in (0, os.geteuid()):
        return True
    if group is None:
        return False
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_GROUP_BYTES)
    except OSError:
        return False  # in more groups than can be asked for, or a kernel that does not tell: not proved, so not allowed
    return group == gid or group in struct.unpack(f"{len(raw) // 4}I", raw)
