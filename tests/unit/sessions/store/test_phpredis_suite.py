"""phpredis's own tests of its session handler against the door: all 23, locks and new identifiers included.

Nothing of them is in this tree: tests/support/phpredis-suite fetches them from Debian's source package.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support import suites
from tests.support.door import door

TESTS = 23


def test_sessions(measured: Callable[[str, str], None]) -> None:
    tests = suites.of("phpredis", is_optional=True) / "tests"
    with door() as server:
        words = ["--class", "Redis", "--host", "127.0.0.1", "--port", str(server.door.port), "--test", "testSession_"]
        command = ["php", "-d", "display_errors=0", "TestRedis.php", "--nocolors", *words]
        # The PHP that they start for each session: as it is installed, and not with what was built beside them.
        told = suites.output(command, cwd=tests, environment={"TEST_PHP_ARGS": "-d display_errors=0"})
        assert not server.door.counts["faults"]
    measured("passed", str(told.count("[PASSED]")))
    assert "All tests passed." in told, told[-5000:]
    assert len(re.findall(r"^testSession_", told, re.MULTILINE)) == told.count("[PASSED]") >= TESTS, told[-5000:]
