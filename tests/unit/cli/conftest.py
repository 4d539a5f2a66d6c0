"""For the tests of `haagent sessions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.door import door
from tests.support.session_operator import Stage


@pytest.fixture
def stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    with door() as server:
        yield Stage(tmp_path, server.door.port, capsys)
