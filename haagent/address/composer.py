"""Frames and messages, composed by scapy and pyroute2 in a process of its own that ends when it is not needed any more.

The agent needs a few hundred bytes of them, at its start and when a reload names new addresses. The two libraries take
half a second to load and 36 MiB, which would otherwise stay in the process that has to be small. What depends on the
moment (an interface's number, its hardware address, a lifetime) is written into the finished bytes by who sends them
(`rewriting`, `encoding`).

`begin` starts the process and does not wait: it loads the libraries while the agent loads itself. `compose` asks it, as
often as the start or the reload needs something; what has been composed once is not asked for again, so who prepares a
change beforehand meets no failure in the middle of it. `rest` lets the process end. An agent that is up needs none.

`python -m haagent.address.composer` is that process: it answers on its standard output what it is asked on its standard
input, each a number (the length, four bytes) and so much msgpack, until the input ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from io import BufferedRWPair
from pathlib import Path
from typing import BinaryIO

import msgspec

COMPOSE_S = 20.0  # less than one on a host that has nothing else to do; systemd waits 30 s for our start
_LENGTH = struct.Struct("=I")
_PACKAGES = str(Path(__file__).parents[2])


class CannotCompose(Exception):
    """The text is for an operator: what, and what to do."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    what: str  # a function of `frames` or `messages`
    words: tuple[str | int, ...]  # bytes as hexadecimal digits


Way = BinaryIO | BufferedRWPair
Compose = Callable[[Sequence[Wanted]], Awaitable[list[bytes]]]


class Composer:
    """`compose` is used from the loop, everything else from anywhere."""

    def __init__(self) -> None:
        self._composed: dict[Wanted, bytes] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._way: Way | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Composer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Raises `CannotCompose`, as does `compose`."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        ours.settimeout(COMPOSE_S)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this Python, this module
                    [sys.executable, "-P", "-m", __name__],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    env=_environment(),
                )
        except OSError as error:
            ours.close()
            raise CannotCompose(_sentence(f"{sys.executable}: {error.strerror}")) from error
        with ours:
            self._way = ours.makefile("rwb")

    async def compose(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """In the order of `wanted`."""
        missing = [one for one in wanted if one not in self._composed]
        if missing:
            import asyncio  # after `begin`: its import is one of the things that the process need not wait for

            self._composed.update(await asyncio.to_thread(self._ask, missing))
        return [self._composed[one] for one in wanted]

    async def rest(self) -> None:
        """Everything has been composed, for now."""
        import asyncio

        await asyncio.to_thread(self._let_go)

    def close(self) -> None:
        if (process := self._process) is not None:
            process.kill()  # who waits for its answer waits no longer
        self._let_go()

    def _ask(self, wanted: Sequence[Wanted]) -> dict[Wanted, bytes]:
        with self._turn:
            self.begin()
            assert self._way is not None
            try:
                _write(self._way, msgspec.msgpack.encode(wanted))
                composed = msgspec.msgpack.decode(_read(self._way), type=list[bytes])
            except TimeoutError:
                self._end()
                raise CannotCompose(_sentence(f"not within {COMPOSE_S:g} s; is this host overloaded?")) from None
            except (OSError, EOFError):
                raise CannotCompose(_sentence(self._end())) from None
        return dict(zip(wanted, composed, strict=True))

    def _let_go(self) -> None:
        with self._turn:
            if self._process is not None:
                self._end()

    def _end(self) -> str:
        """Its last words."""
        assert self._process is not None
        assert self._way is not None
        with contextlib.suppress(OSError):  # what could not be sent to it
            self._way.close()
        self._process.kill()
        _, complaint = self._process.communicate()
        status, self._process, self._way = self._process.returncode, None, None
        said = complaint.decode(errors="replace").split("\n")
        return next((line for line in reversed(said) if line.strip()), f"it ended with status {status}")


async def here(wanted: Sequence[Wanted]) -> list[bytes]:
    """In this process, for who does not mind its size."""
    return _composed(wanted)


def _composed(wanted: Sequence[Wanted]) -> list[bytes]:
    from haagent.address import frames, messages

    composers: dict[str, Callable[..., bytes]] = {
        each.__name__: each for each in (*frames.COMPOSERS, *messages.COMPOSERS)
    }
    return [composers[one.what](*one.words) for one in wanted]


def _environment() -> dict[str, str]:
    """Modules come from where ours do, and from nowhere else: neither the working directory nor a variable matters.

    scapy makes directories for its console in the user's home; not where there can be none.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    places = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), _PACKAGES]))
    return {**kept, "PYTHONPATH": places, "XDG_CONFIG_HOME": "/dev/null/none", "XDG_CACHE_HOME": "/dev/null/none"}


def _sentence(why: str) -> str:
    hint = f"scapy and pyroute2 do that, in a process of {sys.executable}: install what is missing, or let it start"
    return f"the frames and messages that move an address cannot be composed: {why}; {hint}"


def _write(way: Way, data: bytes) -> None:
    way.write(_LENGTH.pack(len(data)) + data)
    way.flush()


def _read(way: Way) -> bytes:
    """Raises `EOFError`."""
    (length,) = _LENGTH.unpack(_exactly(way, _LENGTH.size))
    return _exactly(way, length)


def _exactly(way: Way, length: int) -> bytes:
    data = way.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    import gc

    gc.disable()  # it lives for a second
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("0")  # the agent is spared when memory runs out; not this
    _composed(())  # before the first question comes: that is what takes its time
    with contextlib.suppress(EOFError):
        while True:
            wanted = msgspec.msgpack.decode(_read(sys.stdin.buffer), type=list[Wanted])
            _write(sys.stdout.buffer, msgspec.msgpack.encode(_composed(wanted)))


if __name__ == "__main__":
    main()
