"""What is run again because the machine stood still, and what is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.standstill import LATE_S, Standstill

FAILS_TWICE = """
tries = []


def test_it():
    tries.append(1)
    assert len(tries) == 3
"""


def play(folder: Path, waits_s: Iterator[float], text: str = FAILS_TWICE) -> tuple[int, list[str]]:
    (folder / f"test_{folder.name}.py").write_text(text)
    plugin = Standstill([folder], waits_s.__next__)
    status = pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)], plugins=[plugin])
    return status, plugin.told


def test_a_failure_while_nobody_had_to_wait_counts(tmp_path: Path) -> None:
    assert play(tmp_path, itertools.repeat(LATE_S)) == (1, [])


def test_a_wait_before_the_test_is_no_excuse(tmp_path: Path) -> None:
    assert play(tmp_path, itertools.chain([1.0], itertools.repeat(0.0))) == (1, [])


def test_what_failed_while_the_machine_stood_still_is_run_again_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = play(tmp_path, itertools.repeat(0.2))
    assert status == 0
    assert len(told) == 2
    assert [line.rpartition("::")[2] for line in told] == [f"test_it: 200 ms, and assert {n} == 3" for n in (1, 2)]
    assert "run again" in capsys.readouterr().out


def test_what_fails_each_time_has_failed(tmp_path: Path) -> None:
    status, told = play(tmp_path, itertools.repeat(0.2), "def test_it():\n    assert False\n")
    assert (status, len(told)) == (1, 2)


def test_there_is_no_excuse_for_two_that_answer_at_once(tmp_path: Path) -> None:
    text = "from tests.support.standstill import never_two\n\ndef test_it():\n    never_two(0.0, 5.0)\n"
    assert play(tmp_path, itertools.repeat(0.2), text) == (1, [])
