"""Redis's own tests against the door, as far as they are about what it has; `skipped.txt` has the others, and why.

Nothing of them is in this tree: tests/support/redis-suite fetches them from Debian's source package.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.core.store.settings import StoreSettings
from haagent.sessions.store.state import MEBIBYTE, Limits
from tests.support.door import door

PROJECT = Path(__file__).parents[4]
SUITE = PROJECT / ".make" / "redis-suite"
SKIPPED = Path(__file__).with_name("skipped.txt")

# Each part, and how many tests of it pass.
PARTS = {
    "type/string": 65,
    "type/incr": 21,
    "type/hash": 70,
    "expire": 57,
    "scan": 8,
    "keyspace": 43,
    "multi": 22,
    "protocol": 15,
    "pubsub": 15,
    "quit": 3,
}
OPTIONS = ["--ignore-encoding", "--ignore-digest", "--tags", "-needs:debug", "--durable"]
PATIENCE_S = 300


def test_enough_of_it_passes() -> None:
    assert sum(PARTS.values()) >= 300


@pytest.mark.parametrize("part", PARTS)
def test_part(part: str, tmp_path: Path, measured: Callable[[str, str], None]) -> None:
    if not SUITE.exists():
        pytest.fail(f"Redis's own tests are not in {SUITE}; `make .make/redis-suite` fetches them")
    names = [line for line in SKIPPED.read_text().splitlines() if line and not line.startswith("#")]
    (skipped := tmp_path / "skipped").write_text("\n".join(names) + "\n")
    roomy = StoreSettings(max_value_bytes=64 * MEBIBYTE)
    with door(limits=Limits(query_bytes=128 * MEBIBYTE), store=roomy) as server:
        where = ["--host", "127.0.0.1", "--port", str(server.door.port), "--single", f"unit/{part}"]
        command = ["tclsh", "tests/test_helper.tcl", *where, *OPTIONS, "--skipfile", str(skipped)]
        run = subprocess.run(
            command, cwd=SUITE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False
        )
        assert not server.door.counts["faults"]
    told = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout.decode(errors="replace"))
    passed = len(re.findall(r"^\[ok\]", told, re.MULTILINE))
    measured("passed", str(passed))
    assert not re.findall(r"^\[(?:err|exception)\].*", told, re.MULTILINE), told[-5000:]
    assert passed >= PARTS[part], told[-5000:]
