"""A step of the wall clock that only one node's agent sees.

`clock.c` is compiled into a temporary directory and preloaded into the agents; each reads its offset from a file in its
own run directory. Without a C compiler there is no such fault, and the campaign says so.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
FILE = "clock"


def compile_to(directory: Path) -> Path | None:
    """The library, or None where it cannot be made."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = directory / "clock.so"
    words = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
    done = subprocess.run(words, capture_output=True, check=False)
    return library if done.returncode == 0 else None


def preloaded(command: Sequence[str], library: Path) -> tuple[str, ...]:
    """The agent's command, with the clock under it. `{run}` is filled in by the lab."""
    return ("env", f"LD_PRELOAD={library}", "CHAOS_CLOCK={run}/" + FILE, *command)


def step(run_directory: Path, seconds: float) -> None:
    """By so much from the true time; 0 steps back."""
    with (run_directory / FILE).open("r+b", buffering=0) as file:
        file.write(struct.pack("=q", int(seconds * 1e9)))
