"""What systemd is told of the agent (sd_notify(3)), and how often it wants to hear that the agent lives.

Everything here does nothing when no service manager listens.
"""

from __future__ import annotations

import os
import time


class Notifier:
    def __init__(self) -> None:
        self._is_heard = bool(os.environ.get("NOTIFY_SOCKET"))
        self._status = ""

    @property
    def is_heard(self) -> bool:
        return self._is_heard

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

    def status(self, text: str) -> None:
        """The sentence in `systemctl status`. Said again only when it has changed."""
        if text != self._status:
            self._status = text
            self._tell("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """systemd tells by the instant which of several reloads is meant; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if self._is_heard:
            from systemd.daemon import notify  # not needed, and not imported, where nobody listens

            notify(state)
