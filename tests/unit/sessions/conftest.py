"""For all tests of sessions."""

from __future__ import annotations

import pytest

from tests.support.ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def link() -> int:
    return free_port()
