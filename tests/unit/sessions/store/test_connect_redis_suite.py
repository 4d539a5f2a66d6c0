"""connect-redis's own tests against the door: how Express keeps its sessions, a thousand of them included.

Nothing of them is in this tree: tests/support/connect-redis fetches them from its package.
"""

from __future__ import annotations

from tests.support import suites
from tests.support.door import door


def test_all() -> None:
    suite = suites.of("connect-redis", is_optional=True)
    with door() as server:
        command = ["node", "node_modules/vitest/vitest.mjs", "run", "--root", "suite"]
        environment = {"PORT": str(server.door.port), "NO_COLOR": "1"}
        told = suites.output(command, cwd=suite, environment=environment)
        assert not server.door.counts["faults"]
    assert "Tests  4 passed (4)" in told, told[-5000:]
