"""The agent's side: what is left with the guardian, kept in step with what the agent claims.

The rule: no claim goes out to the peers before the guardian has the words that release it. So the last words are sealed
anew when a heartbeat is about to carry a claim that they do not release, and only then does that heartbeat wait (60
microseconds). Everything else can follow it: a want is released by the words that are written right after it was sent,
and it is with the same ballot that it becomes a claim, so in a move nobody waits; a claim that ended stays released.

What was sent over the channel counts as left: the kernel keeps it, whoever dies next. Sending never waits. A guardian
that does not read (it is stopped) is out of date when the channel is full; it is told again with each heartbeat.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from socket import SO_SNDBUF, send_fds, socket

from haagent.core.final_release import covers_claims, last_words, releases
from haagent.core.messages import Ballot, Heartbeat
from haagent.core.wire import Sealer
from haagent.guardian import messages
from haagent.kernel.sockets import widen
from haagent.parts import Facts, Still

BUFFER_BYTES = 1 << 20

Outlets = Sequence[tuple[socket, Sequence[tuple[object, ...]]]]


class GuardianChannel(Still):
    """Without a guardian (`channel` is None) everything here does nothing.

    `lock` is the descriptor of the run directory's lock, which the guardian is to keep until it has done its work.
    """

    name = "guardian"

    def __init__(self, channel: socket | None = None, *, lock: int = -1, as_json: bool = False) -> None:
        self._channel, self._lock, self._as_json = channel, lock, as_json
        self._sealer: Sealer | None = None
        self._released: dict[str, Ballot | None] = {}  # by the words that the guardian has, per group
        self._is_stale = True
        self._outlets: Outlets = ()
        self._owed: dict[bytes, list[bytes]] = {}  # by kind: messages for which there was no room yet
        self._hello: tuple[object, ...] = ()
        self._abandoned: Callable[[], None] = lambda: None
        self.is_abandoned = False  # the guardian has died
        if channel is not None:
            channel.setblocking(False)
            widen(channel, SO_SNDBUF, BUFFER_BYTES)

    @property
    def pid(self) -> int | None:
        """Of the guardian."""
        return None if self._channel is None or self.is_abandoned else os.getppid()

    def name_us(self, *, node: str, lease_s: float, abandoned: Callable[[], None]) -> None:
        """Before it is opened. `abandoned` is called if the guardian dies before us."""
        self._hello = (node, lease_s, self._as_json)
        self._abandoned = abandoned

    async def open(self) -> None:
        """From now on the guardian acts when this process dies."""
        if self._channel is None:
            return
        loop = asyncio.get_running_loop()
        self._leave(messages.HELLO, self._hello)
        loop.add_reader(self._channel, self._guardian_ended, loop)

    def status(self) -> Facts:
        return {"pids": {"guardian": self.pid}}

    def name_addresses(self, packed: Iterable[bytes]) -> None:
        """All that this agent may have from now on."""
        self._leave(messages.ADDRESSES, sorted(set(packed)))

    def lend(self, outlets: Outlets) -> None:
        """The heartbeat sockets and where they send; nothing is done if they are the same as before."""
        if list(outlets) != list(self._outlets):
            self._outlets = tuple(outlets)
            self._leave(messages.LINKS, [targets for _, targets in outlets])

    def seal_with(self, sealer: Sealer) -> None:
        """One of its own, that seals nothing else. The words are written again with the next heartbeat."""
        self._sealer, self._is_stale = sealer, True

    def before(self, beat: Heartbeat) -> None:
        """It is about to be sent: it must claim nothing that the guardian could not release."""
        if self._channel is not None and not covers_claims(self._released, beat):
            self._write(beat)

    def after(self, beat: Heartbeat) -> None:
        """It was sent: what it says besides claims is written down for later."""
        if self._channel is None:
            return
        if self._is_stale or releases(beat) != self._released:
            self._write(beat)
        elif self._owed:
            self._send_owed()

    def void(self) -> None:
        """A clean end: what is in place is to stay, and the peers know what they need to know."""
        self._leave(messages.VOID, ())

    def _write(self, beat: Heartbeat) -> None:
        assert self._sealer is not None
        self._leave(messages.WORDS, self._sealer.seal(last_words(beat)))
        self._released, self._is_stale = releases(beat), False

    def _leave(self, kind: bytes, values: Sequence[object]) -> None:
        if self._channel is None:
            return
        self._owed[kind] = messages.messages(kind, values)  # a newer list replaces one that has not gone out
        self._send_owed()

    def _send_owed(self) -> None:
        assert self._channel is not None
        for kind, waiting in list(self._owed.items()):
            while waiting:
                descriptors = self._descriptors(kind) if len(waiting) == 1 else []
                if -1 in descriptors:
                    break  # a socket was closed meanwhile: a newer list is on its way
                try:
                    send_fds(self._channel, [waiting[0]], descriptors)
                except BlockingIOError:
                    return
                except ConnectionError:  # it has died: `abandoned` is on its way
                    self._owed.clear()
                    return
                del waiting[0]
            else:
                del self._owed[kind]

    def _descriptors(self, kind: bytes) -> list[int]:
        """What goes along with the last message of such a list."""
        if kind == messages.HELLO:
            return [] if self._lock < 0 else [self._lock]
        return [sock.fileno() for sock, _ in self._outlets] if kind == messages.LINKS else []

    def _guardian_ended(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._channel is not None
        loop.remove_reader(self._channel)
        self.is_abandoned = True
        self._abandoned()
