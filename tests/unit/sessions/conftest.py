"""For all tests of sessions."""

from __future__ import annotations

import socket

import pytest


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free()


@pytest.fixture
def link() -> int:
    return free()
