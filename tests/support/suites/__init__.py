"""Tests that others have written for a Redis: where they are, and how those in Python are run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
IS_ALL = os.environ.get("SUITES") == "all"  # also what takes long
PATIENCE_S = 300
SELDOM = 2


def of(name: str, *, is_optional: bool = False) -> Path:
    """`is_optional`: `make test` does not fetch it."""
    suite = PROJECT / ".make" / name
    if not suite.exists():
        tell = pytest.skip if is_optional and not IS_ALL else pytest.fail
        tell(f"the tests of {name} are not in {suite}; `make .make/{name}` fetches them")
    return suite


def passed(suite: Path, cwd: Path, *words: str, skipped: Path) -> int:
    """How many do, and all do but those that are named in `skipped`. Some measure time, and a machine may be busy: what
    seldom fails is tried once more."""
    told = run_pytest(suite, cwd, *words, skipped=skipped)
    found = re.search(r"(\d+) passed", told)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", told, re.MULTILINE)
    assert len(failed) <= SELDOM, told[-5000:]
    for name in failed:
        once_more = run_pytest(suite, cwd, *words[:-1], name, skipped=skipped)
        assert re.search(r"^1 passed", once_more, re.MULTILINE), once_more[-5000:]
    return (int(found[1]) if found else 0) + len(failed)


def run_pytest(suite: Path, cwd: Path, *words: str, skipped: Path) -> str:
    python = [str(suite / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "leave_out"]
    return output(
        [*python, *words], cwd=cwd, environment={"PYTHONPATH": str(Path(__file__).parent), "SKIPPED": str(skipped)}
    )


def output(command: Sequence[str], *, cwd: Path, environment: dict[str, str]) -> str:
    told = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )
    return told.stdout.decode(errors="replace")
