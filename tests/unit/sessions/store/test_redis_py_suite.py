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


@pytest.mark.parametrize("part", PARTS)
def test_part(part: str, measured: Callable[[str, str], None]) -> None:
    if not SUITE.exists():
        pytest.fail(f"redis-py's own tests are not in {SUITE}; `make .make/redis-py` fetches them")
    with door() as server:
        command = [
            *(str(SUITE / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--timeout", str(PATIENCE_S / 3), "--redis-url", f"redis://127.0.0.1:{server.door.port}/9"),
            *("-p", "leave_out"),
            f"tests/test_{part}.py",
        ]
        run = subprocess.run(
            command,
            cwd=SUITE,
            env=os.environ | {"PYTHONPATH": str(PLUGIN), "SKIPPED": str(SKIPPED)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
        assert not server.door.counts["faults"]
    told = run.stdout.decode(errors="replace")
    found = re.search(r"(\d+) passed", told)
    passed = int(found[1]) if found else 0
    measured("passed", str(passed))
    assert run.returncode == 0, told[-5000:]
    assert passed >= PARTS[part], told[-5000:]
