"""The agent's clock, its one alarm, and how far the host's own clock is steered away from it.

The clock counts the host's hardware counter (CLOCK_MONOTONIC_RAW), which no time service steers and nobody can set; and
on top of it what the host has slept (by which CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC), so that a lease ends for a
suspended host as it does for its peers. `core.clocks` says what stands on that.

All timers of the kernel follow the steered clock instead, asyncio's as well, and those round up to a millisecond. A
timerfd that the event loop reads like any socket takes an absolute instant, and is late by 0.3 ms instead of 1.2 ms
(median, idle; the 99th percentile under load is 1.5 ms instead of 5.5 ms). It is set by the rate that was measured
last, and set again if it fires too early.

Python 3.11 does not have the timerfd calls, hence ctypes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections import Counter
from collections.abc import Callable

from haagent.core.settings import SLEW

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC have these values
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_NS = 1_000_000_000

WINDOW_S = 0.1  # over which the rate is measured: then what two readings are apart makes no difference
TOGETHER_S = 2e-5  # readings of two clocks that took longer are not of one moment


class HardwareCounter:
    def __init__(self) -> None:
        self._slept_s = 0.0

    def now(self) -> float:
        """In seconds. It never goes back: a thread that is interrupted between two readings takes the sleep for less
        than it was, and the most that was ever seen of it counts."""
        booted = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._slept_s = max(self._slept_s, booted - time.clock_gettime(time.CLOCK_MONOTONIC))
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW) + self._slept_s


now = HardwareCounter().now


def wall_offset_s() -> float:
    """What to add to `now` for the time of day."""
    return time.time() - now()


class Steering:
    """How much faster the host's clock is made to run than its counter. Looked at with every step of the core."""

    def __init__(self) -> None:
        self.slew = 0.0
        self.is_beyond = False
        self.counters: Counter[str] = Counter()
        self._since: tuple[float, float] | None = None  # counter, clock

    def look(self) -> bool:
        """Whether that it is beyond the bound, or not, is news."""
        if self._since is not None and time.clock_gettime(time.CLOCK_MONOTONIC_RAW) < self._since[0] + WINDOW_S:
            return False
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        counter, clock = time.clock_gettime(time.CLOCK_MONOTONIC_RAW), time.clock_gettime(time.CLOCK_MONOTONIC)
        if clock - before > TOGETHER_S:
            return False
        if self._since is not None:
            self.slew = (clock - self._since[1]) / (counter - self._since[0]) - 1
        self._since, was_beyond, self.is_beyond = (counter, clock), self.is_beyond, abs(self.slew) > SLEW
        if self.is_beyond and not was_beyond:
            self.counters["clock_beyond"] += 1
        return self.is_beyond is not was_beyond


class Alarm:
    """Calls `fire` once, when the clock reaches the instant last set. A new instant replaces it; None: off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None], steering: Steering) -> None:
        self._loop, self._fire, self._steering = loop, fire, steering
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Itimerspec()  # no interval: it fires once
        self._deadline: float | None = None
        self._fd: int = self._libc.timerfd_create(time.CLOCK_BOOTTIME, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create: " + os.strerror(ctypes.get_errno()))
        loop.add_reader(self._fd, self._expired)

    def set(self, deadline_s: float | None) -> None:
        """An instant that has passed fires in the loop's next round, never from inside this call."""
        if deadline_s == self._deadline:
            return
        at_ns = 0  # off
        if deadline_s is not None:
            booted = time.clock_gettime(time.CLOCK_BOOTTIME)
            # All zero would mean "off" to the kernel: an instant at its start or before becomes its first ns.
            at_ns = max(1, int((booted + (deadline_s - now()) * (1 + self._steering.slew)) * _NS))
        self._spec.it_value.tv_sec, self._spec.it_value.tv_nsec = divmod(at_ns, _NS)
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime: " + os.strerror(ctypes.get_errno()))
        self._deadline = deadline_s

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew between the loop's wake-up and now: the earlier instant no longer counts
        deadline, self._deadline = self._deadline, None
        if deadline is not None and now() < deadline:
            self.set(deadline)  # the kernel's clock runs faster now than when it was set
        else:
            self._fire()


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))
