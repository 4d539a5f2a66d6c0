"""The facts about the machine without which the figures mean nothing."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

from haagent import __version__


def facts(*, began_load: float) -> list[str]:
    """Sentences."""
    return [
        f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB; Linux {platform.release()}; "
        f"{_distribution()}; Python {platform.python_version()}.",
        f"haagent {__version__}; keepalived {_keepalived()} of the distribution.",
        f"Load average when it began {began_load:.1f}, at its end {os.getloadavg()[0]:.1f}.",
        f"Measured on {datetime.datetime.now(tz=datetime.UTC).date().isoformat()}.",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "an unnamed distribution"


def _keepalived() -> str:
    done = subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False)
    return next((word.lstrip("v") for word in (done.stdout + done.stderr).split() if word.startswith("v")), "unknown")
