"""Labs for tests: a name of their own, and gone at the end whatever happens (they die with pytest as well)."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from haagent.lab import Lab, LabError, namespaces
from tests.netns import gate_sight
from tests.netns.etcd_member import in_memory

_numbers = itertools.count(1)
_labs = pytest.StashKey[list[Lab]]()
LOG_LINES = 60  # of each agent, told when a test fails


@pytest.fixture(scope="session", autouse=True)
def _machine_allows_namespaces() -> None:
    try:
        namespaces.require_tools()
        namespaces.can_be_root()
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """`make_lab(nodes=3, has_witness=True, wishes=Wishes(interval="50ms"))`: see Lab.create."""
    made: list[Lab] = []
    request.node.stash[_labs] = made

    def make(**options: Any) -> Lab:
        name = f"t{os.getpid()}-{next(_numbers)}"
        made.append(Lab.create(name=name, dies_with_us=True, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.down()
        shutil.rmtree(in_memory(lab), ignore_errors=True)


@pytest.fixture(autouse=True)
def _end_neighbours() -> Iterator[None]:
    yield
    gate_sight.end_neighbours()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails says what its agents said: they are gone when somebody reads it."""
    report = yield
    if report.when == "call" and report.failed:
        for lab in item.stash.get(_labs, []):
            for host in lab.state().plan.servers:
                log = lab.agents.log(host.name)
                lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else ["no log"]
                report.sections.append((f"agent {host.name} of {lab.state().name}", "\n".join(lines)))
    return report
