"""Labs for tests: a name of their own, and gone at the end whatever happens (they die with pytest as well).

What a test measures is told at the end of the run, also when it passes: `measured("worst of 20", "312 ms")`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haagent.lab import Lab, LabError, namespaces

_numbers = itertools.count(1)
_figures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session", autouse=True)
def _machine_allows_namespaces() -> None:
    try:
        namespaces.require_tools()
        namespaces.can_be_root()
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """`make_lab(nodes=3, has_witness=True, wishes=Wishes(interval="50ms"))`: see Lab.create."""
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        name = f"t{os.getpid()}-{next(_numbers)}"
        made.append(Lab.create(name=name, dies_with_us=True, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.down()


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
