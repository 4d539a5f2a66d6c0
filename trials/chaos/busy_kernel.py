"""Holds RTNL, the lock without which nobody changes an address or an interface of any namespace, as the kernel does
itself for as long as it takes thousands of interfaces down.

    python busy_kernel.py HOLD_S PAUSE_S         (again and again, until its input ends)

A question about the loopback is answered under the lock, into a page that is not there: the kernel waits, with the
lock, for us to provide it (userfaultfd(2)). x86-64 and root only. That needs a process of its own: a thread that waits
for the lock in the kernel, and has Python's own lock, would keep the one that is to let go from doing so. It dies with
whoever started it, and by an alarm.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAGE = 4096
_USERFAULTFD = 323
_READ_WRITE, _PRIVATE_ANONYMOUS = 0x3, 0x22
_UFFDIO_API, _UFFDIO_REGISTER, _UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
_API, _MISSING = 0xAA, 1
_SIOCETHTOOL, _GET_LINK = 0x8946, 0xA
_SET_PDEATHSIG = 1
ALARM_S = 10


class Impossible(Exception):
    """Not on this machine."""


@contextmanager
def holding(hold_s: float, pause_s: float = 0.05) -> Iterator[None]:
    """From the first hold to the end of the last."""
    words = [sys.executable, "-P", __file__, f"{hold_s}", f"{pause_s}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline() != b"held\n":
                raise Impossible(holder.stderr.read().decode().strip().rpartition("\n")[2])
            yield
        finally:
            holder.stdin.close()  # it ends when it has let go


def is_possible() -> bool:
    try:
        with holding(0.0):
            return True
    except Impossible:
        return False


def main() -> None:
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    hold_s, pause_s = map(float, sys.argv[1:])
    while True:
        signal.alarm(int(hold_s) + ALARM_S)
        _hold(hold_s, held=lambda: os.write(1, b"held\n"))
        if select.select([0], [], [], pause_s)[0]:
            return


def _hold(seconds: float, *, held: Callable[[], object]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    start = libc.mmap(None, ctypes.c_size_t(2 * PAGE), _READ_WRITE, _PRIVATE_ANONYMOUS, -1, ctypes.c_long(0))
    missing = start + PAGE
    faults = libc.syscall(_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    if faults < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    fcntl.ioctl(faults, _UFFDIO_API, bytearray(struct.pack("QQQ", _API, 0, 0)))
    fcntl.ioctl(faults, _UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", missing, PAGE, _MISSING, 0)))
    asked = missing - 4  # the question is before the edge, and the answer behind it
    ctypes.memmove(asked, struct.pack("I", _GET_LINK), 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        request = ctypes.create_string_buffer(struct.pack("16sQ16x", b"lo", asked))
        asking = threading.Thread(target=libc.ioctl, args=(way.fileno(), _SIOCETHTOOL, request))
        asking.start()
        if not select.select([faults], [], [], 10)[0]:
            raise TimeoutError("the kernel did not come to the page")
        held()
        time.sleep(seconds)
        fcntl.ioctl(faults, _UFFDIO_ZEROPAGE, bytearray(struct.pack("QQQq", missing, PAGE, 0, 0)))
        asking.join()
    os.close(faults)


if __name__ == "__main__":
    main()
