"""Holds RTNL, the lock without which nobody changes an address or an interface of any namespace, as the kernel does
itself for as long as it takes thousands of interfaces down.

A question about the loopback is answered under the lock, into a page that is not there: the kernel waits, with the
lock, for us to provide it (userfaultfd(2)). x86-64 and root only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
import time

PAGE = 4096
_USERFAULTFD = 323
_READ_WRITE, _PRIVATE_ANONYMOUS = 0x3, 0x22
_UFFDIO_API, _UFFDIO_REGISTER, _UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
_API, _MISSING = 0xAA, 1
_SIOCETHTOOL, _GET_LINK = 0x8946, 0xA


def hold(seconds: float) -> None:
    """Raises OSError where that cannot be done."""
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
        time.sleep(seconds)
        fcntl.ioctl(faults, _UFFDIO_ZEROPAGE, bytearray(struct.pack("QQQq", missing, PAGE, 0, 0)))
        asking.join()
