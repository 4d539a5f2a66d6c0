"""A control socket of a small agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_agent import SmallAgent, running


@pytest.fixture
def agent() -> SmallAgent:
    return SmallAgent()


@pytest.fixture
def run_dir(agent: SmallAgent, tmp_path: Path):
    with running(agent, str(tmp_path)):
        yield str(tmp_path)
