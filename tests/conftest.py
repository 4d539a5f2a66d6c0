"""For all tests.

What a test measures is told at the end of the run, also when it passes: `measured("worst of 20", "312 ms")`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.support.standstill import Standstill

settings.register_profile("untimed", deadline=None)  # no example is wrong because the machine was busy
settings.load_profile("untimed")

# A shell starts what runs in the background with SIGINT ignored, and every program that a test starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Standstill())


_figures = pytest.StashKey[list[str]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    figures = request.config.stash.setdefault(_figures, [])

    def tell(what: str, figure: str) -> None:
        figures.append(f"{request.node.name}: {what}: {figure}")

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(_figures, []):
        terminalreporter.section("measured")
        for line in figures:
            terminalreporter.write_line(line)
