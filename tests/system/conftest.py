"""The system tests need root, namespaces and four programs. Where they are missing they are skipped, loudly."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.system import machine
from tests.system.cluster import Cluster
from tests.system.hosts import Theatre

HERE = Path(__file__).parent
_why = pytest.StashKey[list[str]]()
_failed = pytest.StashKey[bool]()
_preparing = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes minutes the first time is begun beside the tests that come before."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    command = ["setpriv", "--pdeathsig", "TERM", "nice", "-n", "15", sys.executable, "-m", "tests.system.prepare"]
    quiet, place = subprocess.DEVNULL, session.config.rootpath
    session.config.stash[_preparing] = subprocess.Popen(command, cwd=place, stdin=quiet, stdout=quiet, stderr=quiet)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (preparing := session.config.stash.get(_preparing, None)) is not None:
        preparing.terminate()
        preparing.wait()


@pytest.fixture(scope="session")
def theatre(request: pytest.FixtureRequest) -> Iterator[Theatre]:
    with ExitStack() as stack:
        stack.enter_context(_ended_in_order())
        try:
            machine.check()
            made = Theatre(stack)
        except machine.CannotRun as error:
            _skip(request, f"No host was booted: {error}.")
        yield made


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The path of a program that comes with the extra `dev`."""

    def find(name: str) -> str:
        path = Path(sys.executable).parent / name
        if not path.exists():
            _skip(request, f"There is no {name} beside this Python: pip install -e '.[dev]'.")
        return str(path)

    return find


def _skip(request: pytest.FixtureRequest, why: str) -> NoReturn:
    """The reason is told once, at the end, in full."""
    request.config.stash.setdefault(_why, []).append(why)
    pytest.skip("this machine lacks what is named under THE SYSTEM TESTS WERE SKIPPED")


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A time limit ends a run with SIGTERM: as Ctrl-C it takes the hosts down, and this run's files with them."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cluster(theatre: Theatre, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A, B and the witness W, shared by the tests: who takes it leaves it whole."""
    yield theatre.cluster()
    if request.node.stash.get(_failed, True):
        theatre.strike()


@pytest.fixture
def last_cluster(theatre: Theatre) -> Iterator[Cluster]:
    """The same, for a test that does not leave it whole."""
    yield theatre.cluster()
    theatre.strike()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if reasons := config.stash.get(_why, []):
        terminalreporter.section("THE SYSTEM TESTS WERE SKIPPED", red=True, bold=True)
        for why in dict.fromkeys(reasons):
            terminalreporter.write_line(why)
