"""Run a campaign on the core compiled by mypyc: the same files, the same decisions, about twice the schedules.

Everything happens in a copy, so that no compiled module is ever imported by the agent. The transcript of a seed is the
same to the last character; `make replay` tells its story with the plain files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# These stay as they are: mypyc forgets what a struct is besides (frozen, ordered), and breaks enumerations that make
# their members themselves.
VALUES = ("(msgspec.Struct, ", "def __new__(", "(Meaningful)")
BUILD = """
from setuptools import setup
from mypyc.build import mypycify
modules = mypycify({files!r}, opt_level="2")
setup(name="core", packages=[], ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
"""


def main(first: str, count: str, *options: str) -> int:
    place = ROOT / ".make" / "compiled"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("haagent", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "netns"))
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    core = sorted(path for path in (place / "haagent" / "core").rglob("*.py") if path.name != "__init__.py")
    files = [str(path.relative_to(place)) for path in core if not any(mark in path.read_text() for mark in VALUES)]
    (place / "build.py").write_text(BUILD.format(files=files))
    build = subprocess.run([sys.executable, "build.py"], cwd=place, check=False, capture_output=True, text=True)
    if build.returncode != 0:
        print(build.stdout, build.stderr, "the core could not be compiled", sep="\n", file=sys.stderr)
        return build.returncode
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *options, "--campaign", first, count], cwd=place, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
