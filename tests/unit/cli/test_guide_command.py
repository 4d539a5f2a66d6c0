"""The command that docs/guide/add-a-command.md adds: the page's own text is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.cli import main
from haagent.cli.commands import COMMANDS
from tests.support.guide import block
from tests.support.small_agent import SmallAgent, running


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallAgent]:
    (tmp_path / "holder_of_the_guide.py").write_text(block("add-a-command.md", "command"))
    line = eval("{" + block("add-a-command.md", "line").replace("haagent.cli.holder", "holder_of_the_guide") + "}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMMANDS, "Look", COMMANDS["Look"] | line)
    monkeypatch.setenv("HAAGENT_RUN_DIR", str(tmp_path))
    agent = SmallAgent()
    with running(agent, str(tmp_path)):
        yield agent
    sys.modules.pop("holder_of_the_guide", None)


def test_it_answers_a_person_and_a_program(agent: SmallAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["holder", "web"]) == 0
    assert capsys.readouterr().out == "A\n"
    assert main(["holder", "web", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"group": "web", "holder": "A"}


def test_it_fails_with_what_to_do_next(agent: SmallAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["holder", "wbe"]) == 2
    assert capsys.readouterr().err == "haagent: There is no group `wbe`; there are: web.\n"
    agent.regroup({"holder": ""})
    assert main(["holder", "web"]) == 1
    assert capsys.readouterr().err == "haagent: Nobody holds web. `haagent status` says why.\n"


def test_help_names_it(agent: SmallAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "Print the node that holds a group." in capsys.readouterr().out
