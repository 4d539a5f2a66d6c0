"""--version: what a bug report needs, for people and for programs."""

from __future__ import annotations

import json

import pytest

from haagent import __version__
from haagent.cli import main, version


def test_it_tells_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    told = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["haagent"] == __version__
    assert {"Python", "click", "msgspec", "pyroute2"} <= set(told)
    assert "missing" not in told.values()


@pytest.mark.parametrize("words", [["--json", "--version"], ["--version", "--json"]])
def test_to_programs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == version.versions()
