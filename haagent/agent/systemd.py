"""What systemd is told of the agent (sd_notify(3)), and how often it wants to hear that the agent lives.

Everything here does nothing when no service manager listens, and waits for none: what one that is busy (it reads all
units anew, say) has no room for is said later, and of each kind only the newest.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from haagent.kernel.timer import Timer
from haagent.parts import Still

TELL_S = 0.2  # between two sentences
AGAIN_S = 0.1  # until it is tried again when there was no room


Background = Callable[[Coroutine[Any, Any, None]], None]


class Notifier(Still):
    name = "systemd"

    def __init__(
        self,
        *,
        sentence: Callable[[], str] = str,
        is_alive: Callable[[float], bool] = lambda _: True,
        background: Background | None = None,
    ) -> None:
        """`is_alive` is told how often it is asked."""
        self._sentence, self._is_alive, self._background = sentence, is_alive, background
        self._is_heard = bool(os.environ.get("NOTIFY_SOCKET"))
        self._status = ""
        self._soon = Timer(lambda: self.say(self._sentence()))
        self._owed: dict[str, str] = {}  # by kind, in the order in which it is to be said
        self._again = Timer(self._send_owed)

    @property
    def watchdog_s(self) -> float | None:
        """How often to call `alive`: half of what systemd allows. None: it does not watch this process."""
        allowed_us = os.environ.get("WATCHDOG_USEC", "")
        watched = os.environ.get("WATCHDOG_PID") or str(os.getpid())
        if not self._is_heard or not allowed_us.isdigit() or int(allowed_us) == 0 or watched != str(os.getpid()):
            return None
        return int(allowed_us) / 1_000_000 / 2

    def ready(self) -> None:
        """Of the start, and of a reload when it is over."""
        self._tell("READY=1")

    def say(self, text: str) -> None:
        """The sentence in `systemctl status`. Said again only when it has changed."""
        if text != self._status:
            self._status = text
            self._tell("STATUS=" + " ".join(text.split()))

    def say_soon(self) -> None:
        """Something has changed that the sentence may be about."""
        if self._is_heard and not self._soon.is_set:
            self._soon.set(TELL_S)

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """systemd tells by the instant which of several reloads is meant; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def open(self) -> None:
        if self._background is not None and self._is_heard:
            self._background(self._feed_watchdog())

    async def _feed_watchdog(self) -> None:
        period_s = self.watchdog_s
        while period_s is not None:
            await asyncio.sleep(period_s)
            if self._is_alive(period_s):
                self.alive()

    def _tell(self, state: str) -> None:
        if self._is_heard:
            kind = state.partition("=")[0]
            self._owed.pop(kind, None)
            self._owed[kind] = state
            self._send_owed()

    def _send_owed(self) -> None:
        """A datagram each: systemd's library would do the same, and need not be there for it."""
        place = os.environ["NOTIFY_SOCKET"]
        address = "\0" + place[1:] if place.startswith("@") else place
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sending:
            for kind, state in list(self._owed.items()):
                try:
                    sending.sendto(state.encode(), address)
                except BlockingIOError:
                    self._again.set(AGAIN_S)
                    return
                del self._owed[kind]
