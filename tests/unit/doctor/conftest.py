from __future__ import annotations

from pathlib import Path

import pytest

from haagent.doctor.context import Subject
from tests.support.bare_host import bare_host


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return bare_host(tmp_path)
