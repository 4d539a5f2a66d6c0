"""django-redis's own tests against the door, as far as they are about what it has.

Nothing of them is in this tree: tests/support/python-suite fetches them from django-redis's source distribution, and
`skipped_django_redis.txt` names those left out. They are there for each of its clients, serialisers and compressions;
but for `make suites` the first is enough, without what waits for seconds to pass.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import suites
from tests.support.door import door

SKIPPED = Path(__file__).with_name("skipped_django_redis.txt")
OTHERS = ("gzip", "herd", "json", "lz4", "msgpack", "sharding", "usock", "zlib", "zstd")
SETTINGS = ["sqlite", *(f"sqlite_{name}" for name in OTHERS if suites.IS_ALL)]
WAITING = ["setnx_timeout", "timeout", "timeout_parameter_as_positional_argument"]
WAITING += ["touch_default_timeout", "touch_forever", "touch_positive_timeout"]
LEAST, LEAST_SHARDED = 108, 98  # so many pass with each of the settings


@pytest.mark.parametrize("settings", SETTINGS)
def test_with_settings(settings: str, tmp_path: Path, measured: Callable[[str, str], None]) -> None:
    suite = suites.of("django-redis")
    shutil.copytree(suite / "tests", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = tests\n")
    waiting = [] if suites.IS_ALL else [f"tests/test_backend.py::TestDjangoRedisCache::test_{name}" for name in WAITING]
    (skipped := tmp_path / "skipped").write_text("\n".join([SKIPPED.read_text(), *waiting]))
    with door(path=str(tmp_path / "redis.sock")) as server:
        for file in (tmp_path / "tests" / "settings").glob("*.py"):  # they name the usual places of a Redis
            text = file.read_text().replace("127.0.0.1:6379", f"127.0.0.1:{server.door.port}")
            file.write_text(text.replace("/tmp/redis.sock", str(tmp_path / "redis.sock")))
        passed = suites.passed(suite, tmp_path, "-n0", "-k", f"[{settings}]", "tests", skipped=skipped)
        assert not server.door.counts["faults"]
    measured("passed", str(passed))
    assert passed >= (LEAST_SHARDED if settings == "sqlite_sharding" else LEAST)
