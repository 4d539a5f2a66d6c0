"""redis-py's own tests against the door, as far as they are about what it has; `skipped_redis_py.txt` has the others.

Nothing of them is in this tree: tests/support/python-suite fetches them from redis-py's source distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import suites
from tests.support.door import door

SKIPPED = Path(__file__).with_name("skipped_redis_py.txt")

# Each file, and how many tests of it pass.
PARTS = {"commands": 190, "lock": 32, "pipeline": 32, "scripting": 4, "encoding": 10}


@pytest.mark.parametrize("part", PARTS)
def test_part(part: str, measured: Callable[[str, str], None]) -> None:
    suite = suites.of("redis-py")
    with door() as server:
        words = ["--timeout", str(suites.PATIENCE_S / 3), "--redis-url", f"redis://127.0.0.1:{server.door.port}/9"]
        passed = suites.passed(suite, suite, *words, f"tests/test_{part}.py", skipped=SKIPPED)
        assert not server.door.counts["faults"]
    measured("passed", str(passed))
    assert passed >= PARTS[part]
