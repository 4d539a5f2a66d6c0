"""A test of real processes that failed while the machine stood still has judged the machine: it is run again.

Agents that wait longer than a part of their interval for a processor suspect each other, and are right to. On a machine
that others use as well such a moment comes now and then, and a test that finds the consequence has found nothing. So
a metronome runs beside these tests, and a failure counts only if no ordinary process had to wait for long meanwhile, or
if it comes again and again. What was run again, and why, is told at the end of the run.

There is no excuse for what holds on any machine: that two hosts never answer at once in `consistent` (`never_two`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from trials.chaos.metronome import Metronome, metronome

LATE_S = 0.05  # half an interval of the agents under test
TRIES = 3
REAL = tuple(Path(__file__).parents[1] / folder for folder in ("netns", "system"))


class NoExcuse(AssertionError):
    """Something that a machine which stands still does not explain."""


def never_two(*dual_ms: float) -> None:
    if any(dual_ms):
        raise NoExcuse(f"two answered at once, for {max(dual_ms):g} ms")


class Standstill:
    """A plugin of pytest."""

    def __init__(self, folders: Collection[Path] = REAL, longest_wait_s: Callable[[], float] | None = None) -> None:
        """`longest_wait_s`: since it was asked last."""
        self._folders, self._longest_wait_s = folders, longest_wait_s or self._ask
        self._stack = ExitStack()
        self._metronome: Metronome | None = None
        self._may_excuse = True
        self.told: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not any(folder in item.path.parents for folder in self._folders):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._judged(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None and isinstance(call.excinfo.value, NoExcuse):
            self._may_excuse = False

    def _judged(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        self._longest_wait_s()  # what was before is no excuse
        self._may_excuse = True
        for left in reversed(range(TRIES)):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            failed = [report for report in reports if report.failed]
            waited_s = self._longest_wait_s()
            if not failed or waited_s <= LATE_S or not self._may_excuse or not left:
                break
            crash = getattr(failed[0].longrepr, "reprcrash", None)
            why = crash.message.splitlines()[0] if crash is not None else f"its {failed[0].when} failed"
            self.told.append(f"{item.nodeid}: {1000 * waited_s:.0f} ms, and {why}")
        return reports

    def _ask(self) -> float:
        if self._metronome is None:
            self._metronome = self._stack.enter_context(metronome())
        return max((late.late_s for late in self._metronome.since()), default=0.0)

    def pytest_unconfigure(self) -> None:
        self._stack.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.told:
            terminalreporter.section("run again: a process had to wait this long for a processor")
            for line in self.told:
                terminalreporter.write_line(line)
