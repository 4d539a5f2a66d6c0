"""A program on a disk that does not answer: whoever opens the file, to read it or to execute it, waits.

A process that holds a lease of the file (fcntl(2), F_SETLEASE) is asked to give it back first, and takes its time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLDER = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
file, until = os.open(sys.argv[1], os.O_RDONLY), time.monotonic() + 5
while True:
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:  # somebody else has it open just now
        if time.monotonic() > until:
            raise
        time.sleep(0.01)
    else:
        break
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def hanging(file: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"held\n"
            yield
        finally:
            holder.stdin.close()  # it ends, and the disk answers
