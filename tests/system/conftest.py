"""The system tests need root, namespaces and four programs. Where they are missing they are skipped, loudly."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.system import machine
from tests.system.cluster import Cluster
from tests.system.theatre import Theatre

_why = pytest.StashKey[str]()
_figures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def theatre(request: pytest.FixtureRequest) -> Iterator[Theatre]:
    with ExitStack() as stack:
        stack.enter_context(_ended_in_order())
        try:
            machine.check()
            made = Theatre(stack)
        except machine.CannotRun as error:
            request.config.stash[_why] = str(error)
            pytest.skip(f"no system tests: {error}")
        yield made


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A time limit ends a run with SIGTERM: as Ctrl-C it takes the hosts down, and this run's files with them."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cluster(theatre: Theatre) -> Iterator[Cluster]:
    """A, B and the witness W as the playbook left them, on disks of their own."""
    with theatre.copy() as copy:
        yield copy


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    figures = request.config.stash.setdefault(_figures, [])

    def tell(what: str, figure: str) -> None:
        figures.append(f"{what}: {figure}")

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if why := config.stash.get(_why, ""):
        terminalreporter.section("THE SYSTEM TESTS WERE SKIPPED", red=True, bold=True)
        terminalreporter.write_line(why)
    if figures := config.stash.get(_figures, []):
        terminalreporter.section("measured on booted hosts")
        for line in figures:
            terminalreporter.write_line(line)
