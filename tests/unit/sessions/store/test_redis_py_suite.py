"""redis-py's own tests against the door, as far as they are about what it has; `skipped_redis_py.txt` has the others.

Nothing of them is in this tree: tests/support/redis-py fetches them from redis-py's source distribution.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.door import door

PROJECT = Path(__file__).parents[4]
SUITE = PROJECT / ".make" / "redis-py"
PLUGIN = PROJECT / "tests" / "support" / "redis-py"
SKIPPED = Path(__file__).with_name("skipped_redis_py.txt")

# Each file, and how many tests of it pass.
PARTS = {"commands": 190, "lock": 32, "pipeline": 32, "scripting": 4, "encoding": 10}
PATIENCE_S = 300
SELDOM = 2


@pytest.mark.parametrize("part", PARTS)
def test_part(part: str, measured: Callable[[str, str], None]) -> None:
    if not SUITE.exists():
        pytest.fail(f"redis-py's own tests are not in {SUITE}; `make .make/redis-py` fetches them")
    with door() as server:
        told = run(server.door.port, f"tests/test_{part}.py")
        found = re.search(r"(\d+) passed", told)
        passed = int(found[1]) if found else 0
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", told, re.MULTILINE)
        assert len(failed) <= SELDOM, told[-5000:]
        for name in failed:  # some of them measure time, and a machine may be busy
            told = run(server.door.port, name)
            assert re.search(r"^1 passed", told, re.MULTILINE), told[-5000:]
        assert not server.door.counts["faults"]
    measured("passed", str(passed + len(failed)))
    assert passed + len(failed) >= PARTS[part], told[-5000:]


def run(port: int, what: str) -> str:
    command = [
        *(str(SUITE / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "leave_out"),
        *("--timeout", str(PATIENCE_S / 3), "--redis-url", f"redis://127.0.0.1:{port}/9", what),
    ]
    told = subprocess.run(
        command,
        cwd=SUITE,
        env=os.environ | {"PYTHONPATH": str(PLUGIN), "SKIPPED": str(SKIPPED), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )
    return told.stdout.decode(errors="replace")
