"""The shell's own questions, as its script puts them: in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.cli import main
from tests.support.small_agent import SmallAgent, running


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallAgent]:
    monkeypatch.setenv("HAAGENT_RUN_DIR", str(tmp_path))
    small = SmallAgent()
    with running(small, str(tmp_path)):
        yield small


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """For the last word of the line."""
    words = line.split(" ")
    monkeypatch.setenv("_HAAGENT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    main([])
    out, err = capsys.readouterr()
    assert err == ""
    return [each.partition(",")[2] for each in out.splitlines() if each]


def test_commands_and_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert offered("haagent failo", monkeypatch, capsys) == ["failover"]
    assert {"--to", "--force"} <= set(offered("haagent failover --", monkeypatch, capsys))
    assert offered("haagent maintenance o", monkeypatch, capsys) == ["on", "off"]


def test_names_that_the_agent_knows(
    agent: SmallAgent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [member.name for member in agent.view().members]
    assert offered("haagent failover --to ", monkeypatch, capsys) == nodes
    assert offered(f"haagent standby {nodes[0]}", monkeypatch, capsys) == nodes[:1]
    assert offered("haagent standby nobody", monkeypatch, capsys) == []


def test_without_an_agent_there_is_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HAAGENT_RUN_DIR", "/nonexistent")
    assert offered("haagent failover --to ", monkeypatch, capsys) == []
