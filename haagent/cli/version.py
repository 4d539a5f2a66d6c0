"""--version: what a bug report has to say: the release, the Python, and the libraries that do the work.

The libraries are those that the installed package declares, so the list never lags behind.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from haagent import __version__

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def versions() -> dict[str, Any]:
    return {"haagent": __version__, "python": platform.python_version(), "libraries": dict(_libraries())}


def text() -> str:
    found = versions()
    libraries = "".join(f"\n{name} {version}" for name, version in found["libraries"].items())
    return f"haagent {found['haagent']}\nPython {found['python']}{libraries}"


def _libraries() -> Iterator[tuple[str, str]]:
    try:
        declared = metadata.requires("haagent") or []
    except metadata.PackageNotFoundError:  # run from a directory that nobody installed
        declared = []
    for requirement in sorted(declared, key=str.lower):
        name = _NAME.match(requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            yield name[0], metadata.version(name[0])
        except metadata.PackageNotFoundError:
            yield name[0], "missing"
