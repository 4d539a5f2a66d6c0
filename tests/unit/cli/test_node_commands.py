"""node add, remove, wait: what becomes of the file, what is said, what is refused, and when it is over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haagent.cli import main
from haagent.config import ConfigError, Fault, load
from haagent.core.view import MemberState
from tests.support.small_agent import ON_B, SmallAgent, group, member, running

TEXT = """\
cluster: shop
heartbeat: {interfaces: [eth0], insecure: true}
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}  # the other rack
  W: {address: 10.20.1.12, witness: true}
groups:
  web: {addresses: [10.20.1.100/24], prefer: [A, B]}
"""
ADD_C = ["node", "add", "C", "--address", "10.20.1.13"]
LINE_C = "  C: {address: 10.20.1.13}\n"


class Agent(SmallAgent):
    """Its reload is a real one, and the other nodes follow at once, unless a test says that they do not."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.follow, self.late = file, True, 0
        self.take_in()

    def take_in(self, **changes: Any) -> None:
        self.config = load(str(self.file), node="A")
        names = tuple(self.config.nodes)
        members = tuple(member(name) for name in names)
        voters = tuple(sorted(names))
        consistent = self.config.on_partition == "consistent"
        self.now = msgspec.structs.replace(
            self.now, **({"members": members, "voters": voters, "consistent": consistent} | changes)
        )

    async def reload(self) -> str:
        if isinstance(self.reloaded, Exception):
            raise self.reloaded
        if self.follow:
            self.take_in()
        return "in force"

    def change(self, name: str, **changes: Any) -> None:
        members = tuple(
            msgspec.structs.replace(one, **changes) if one.name == name else one for one in self.now.members
        )
        self.now = msgspec.structs.replace(self.now, members=members)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "haagent.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def agent(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    monkeypatch.setenv("HAAGENT_RUN_DIR", str(file.parent))
    agent = Agent(file)
    with running(agent, str(file.parent)):
        yield agent


def test_a_dry_run_shows_the_change_and_makes_none(agent: Agent, file: Path, capsys: Any) -> None:
    assert main([*ADD_C, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert f"+{LINE_C}" in out
    assert err == ""
    assert file.read_text() == TEXT
    assert not file.with_suffix(".yaml.bak").exists()


def test_add_changes_the_file_and_says_what_to_do_elsewhere(agent: Agent, file: Path, capsys: Any) -> None:
    file.chmod(0o640)
    assert main(ADD_C) == 0
    out, err = capsys.readouterr()
    assert out == "All agree: the nodes are A, B, W, C.\n"
    assert "on B: haagent node add C --address 10.20.1.13\n" in err
    assert "on C: copy the file and the key there, then start the agent\n" in err
    assert "# the other rack" in file.read_text()
    assert LINE_C in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.with_suffix(".yaml.bak").read_text() == TEXT
    changed = file.read_text()
    assert main([*ADD_C, "--json"]) == 0  # again
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["diff"], told["voters"]) == (True, "", ["A", "B", "C", "W"])
    assert file.read_text() == changed
    assert file.with_suffix(".yaml.bak").read_text() == TEXT


def test_remove_takes_it_out_of_the_groups_as_well(agent: Agent, file: Path, capsys: Any) -> None:
    file.write_text(TEXT.replace("  W:", LINE_C + "  W:").replace("[A, B]", "[A, C]"))
    agent.take_in()
    assert main(["node", "remove", "C"]) == 0
    assert file.read_text() == TEXT.replace("[A, B]", "[A]")
    assert "on C: stop the agent, and disable it\n" in capsys.readouterr().err
    assert main(["node", "remove", "C"]) == 0


def test_it_waits_for_all_and_says_whom_it_waits_for(agent: Agent, capsys: Any) -> None:
    agent.follow = False
    agent.change("B", config_matches=False, config_differs=("nodes.C",))
    assert main([*ADD_C, "--wait", "300ms"]) == 1
    err = capsys.readouterr().err
    assert "Not all agree after 0.3 s: B's file differs in: nodes.C." in err
    assert "on W: haagent node add C" in err
    assert "on B:" not in err  # it has it already
    assert main(["node", "wait", "--wait", "300ms", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["lacking"] == ["B's file differs in: nodes.C"]
    agent.change("B", config_matches=True, config_differs=())
    assert main(["node", "wait", "--wait", "300ms"]) == 0
    agent.now = msgspec.structs.replace(agent.now, voters=("A", "B"))
    assert main(["node", "wait", "--wait", "300ms"]) == 1
    assert "the voters are still A, B" in capsys.readouterr().err


def test_one_that_was_away_before_is_not_waited_for(agent: Agent, capsys: Any) -> None:
    agent.follow = False
    agent.change("W", state=MemberState.OFFLINE)
    agent.change("B", config_matches=False, config_differs=("nodes.C",))
    assert main(["node", "wait", "--wait", "300ms"]) == 1
    assert "W is not heard" in capsys.readouterr().err
    assert main([*ADD_C, "--wait", "300ms"]) == 1
    assert "W is not heard" not in capsys.readouterr().err


def test_no_wait(agent: Agent, file: Path, capsys: Any) -> None:
    agent.follow = False
    assert main([*ADD_C, "--wait", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] is False
    assert LINE_C in file.read_text()


@pytest.mark.parametrize(
    ("words", "changes", "says"),
    [
        (["remove", "A"], {}, "run this on another node"),
        (["remove", "B"], {"groups": (group("web", **ON_B),)}, "B holds web: `haagent standby B` first"),
        (["remove", "B"], {"leader": "B"}, "B holds leader: `haagent standby B` first"),
        (["remove", "W"], {"quorate": False}, "hears no majority"),
        (ADD_C[1:], {"voters": ("A", "B")}, "one at a time may come or go: add C, then add W"),
        (["add", "B", "--address", "10.20.1.19"], {}, "has a node B already"),
    ],
)
def test_an_unsafe_step_is_refused_in_words(
    agent: Agent, file: Path, capsys: Any, words: list[str], changes: dict[str, Any], says: str
) -> None:
    agent.take_in(**changes)
    assert main(["node", *words]) == 4
    assert says in capsys.readouterr().err
    assert file.read_text() == TEXT


def test_not_while_another_change_is_under_way(agent: Agent, file: Path, capsys: Any) -> None:
    agent.change("B", config_matches=False, config_differs=("groups.web.hooks", "nodes.D"))
    assert main(ADD_C) == 4
    assert "B's file differs in nodes.D: finish that change of the nodes first" in capsys.readouterr().err
    agent.change("B", config_differs=("groups.web.hooks",))
    file.write_text(TEXT + "gate: auto\n")
    assert main(ADD_C) == 4
    assert "has changes that the agent does not run" in capsys.readouterr().err


def test_not_without_a_majority_of_those_that_are_left(agent: Agent, capsys: Any) -> None:
    agent.change("B", state=MemberState.OFFLINE)
    assert main(["node", "remove", "W"]) == 2  # and it would be two
    assert "needs three voters" in capsys.readouterr().err
    agent.change("W", state=MemberState.OFFLINE)
    assert main(ADD_C) == 4
    assert "Of A, B, W, C only A, C would be heard" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["C D", "C"])
def test_a_file_with_faults_is_never_written(agent: Agent, file: Path, capsys: Any, name: str) -> None:
    assert main(["node", "add", name, "--address", "10.20.1.11"]) == 2
    assert f"{file}:7" in capsys.readouterr().err
    assert file.read_text() == TEXT


def test_a_refused_reload_leaves_the_file_as_it_was(agent: Agent, file: Path, capsys: Any) -> None:
    agent.reloaded = ConfigError(str(file), [Fault(0, "nodes", "not now")])
    assert main(ADD_C) == 2
    assert "not now" in capsys.readouterr().err
    assert file.read_text() == TEXT


def test_what_follows_from_the_number_of_nodes_is_written_down(agent: Agent, file: Path) -> None:
    """With two nodes `available` holds, with three `consistent` would; agents that run cannot change that."""
    file.write_text(TEXT.replace("  W: {address: 10.20.1.12, witness: true}\n", ""))
    agent.take_in()
    assert main(["node", "add", "W", "--address", "10.20.1.12", "--witness"]) == 0
    assert "witness: true}" in file.read_text()
    assert file.read_text().endswith("on_partition: available\n")
