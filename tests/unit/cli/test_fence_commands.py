"""`haagent fence` and `haagent confirm-down`: what is asked first, what is refused, and what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haagent.cli import main
from haagent.config import FencingConfig
from haagent.core.view import MemberState
from haagent.fencing import FenceError
from tests.support.small_agent import FILE, ON_B, SmallAgent, member, running

Printed = pytest.CaptureFixture[str]
HOW = {"agent": "fence_ipmilan", "action": "off", "timeout_s": 30.0, "running": False, "last": ""}


@pytest.fixture
def agent() -> SmallAgent:
    """A of three nodes; B has a fence and holds `web`."""
    agent = SmallAgent()
    fenced = msgspec.structs.replace(agent.config.nodes["B"], fencing=FencingConfig("fence_ipmilan"))
    agent.config = msgspec.structs.replace(agent.config, nodes={**agent.config.nodes, "B": fenced})
    agent.fenced = {"nodes": {"B": HOW}, "faults": []}
    agent.regroup(ON_B)
    return agent


@pytest.fixture
def run_dir(agent: SmallAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HAAGENT_RUN_DIR", str(tmp_path))
    with running(agent, str(tmp_path)):
        yield str(tmp_path)


def answers(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """At the terminal. What was asked is collected."""
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return answer

    monkeypatch.setattr("click.termui.visible_prompt_func", ask)
    return asked


@pytest.mark.usefixtures("run_dir")
class TestFence:
    def test_it_says_what_the_node_holds_and_asks(
        self, agent: SmallAgent, capsys: Printed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = answers(monkeypatch, "n")
        assert main(["fence", "B"]) == 130
        printed = capsys.readouterr()
        assert printed.out == ""
        # an older click writes the question itself, and has only a space written before the answer
        question = printed.err + "".join(asked)
        assert question.startswith("B is online and holds web. Do `off` to it with fence_ipmilan? [y/N]")
        assert agent.confirmed == []
        answers(monkeypatch, "y")
        assert main(["fence", "B"]) == 0
        out, err = capsys.readouterr()
        assert out == "B is fenced: Success: Powered OFF.\n"
        assert "fence_ipmilan is asked to do `off` to B" in err
        assert agent.confirmed == [("B", "fence_ipmilan has confirmed `off`, asked by an operator")]

    def test_a_program_is_not_asked(self, agent: SmallAgent, capsys: Printed) -> None:
        assert main(["fence", "B", "--json"]) == 2
        assert json.loads(capsys.readouterr().err)["error"]["message"] == "With --json nobody is asked: add --yes."
        assert main(["fence", "B", "--json", "--yes"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "node": "B",
            "fenced": True,
            "held": ["web"],
            "said": "Success: Powered OFF",
            "text": "B is fenced: Success: Powered OFF.",
        }

    def test_a_refusal_is_told_and_nothing_is_confirmed(self, agent: SmallAgent, capsys: Printed) -> None:
        agent.fence_says = FenceError("fence_ipmilan ended with status 1: login denied")
        assert main(["fence", "B", "-y"]) == 1
        said = capsys.readouterr().err.splitlines()
        assert said[-1] == "haagent: B is not fenced: fence_ipmilan ended with status 1: login denied."
        assert agent.confirmed == []

    @pytest.mark.parametrize(
        ("node", "status", "says"),
        [
            ("A", 4, "This is A itself: have another node fence it."),
            ("W", 4, "No fence is configured for W. Write `nodes: {W: {fencing: {agent: fence_...}}}`"),
            ("C", 2, "This cluster has no node `C`."),
        ],
    )
    def test_who_cannot_be_fenced(self, node: str, status: int, says: str, capsys: Printed) -> None:
        assert main(["fence", node, "--yes"]) == status
        assert says in capsys.readouterr().err


@pytest.mark.usefixtures("run_dir")
class TestConfirmDown:
    def away(self, agent: SmallAgent, **changes: Any) -> None:
        members = (member("A"), member("B", MemberState.OFFLINE, **changes), member("W", MemberState.WITNESS))
        agent.become(members=members)

    def test_a_node_that_is_away(self, agent: SmallAgent, capsys: Printed) -> None:
        self.away(agent, last_heard_s=3.0)
        assert main(["confirm-down", "B"]) == 0
        assert capsys.readouterr().out == "B counts as down until it is heard again; web may be taken.\n"
        assert agent.confirmed == [("B", "the operator says so")]
        self.away(agent, last_heard_s=None)
        agent.regroup({"holder": ""})
        assert main(["confirm-down", "B", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "node": "B",
            "down": True,
            "text": "B counts as down until it is heard again; what it held may be taken.",
        }

    @pytest.mark.parametrize(
        ("node", "status", "says"),
        [
            ("A", 4, "This is A itself, and it runs."),
            ("B", 4, "B was heard 43 ms ago: it is not down."),
            ("W", 4, "W is heard: it is not down."),
            ("C", 2, "This cluster has no node `C`."),
        ],
    )
    def test_who_is_heard_is_not_down(
        self, agent: SmallAgent, node: str, status: int, says: str, capsys: Printed
    ) -> None:
        """Also one whose heartbeats arrive although they do not answer ours."""
        self.away(agent)
        assert main(["confirm-down", node]) == status
        assert says in capsys.readouterr().err
        assert agent.confirmed == []


def test_check_config_warns_of_an_agent_that_is_not_on_this_host(tmp_path: Path, capsys: Printed) -> None:
    """It may be on the nodes: that is no fault."""
    file = tmp_path / "haagent.yaml"
    file.write_text(
        FILE.replace("B: {address: 10.20.1.11}", "B: {address: 10.20.1.11, fencing: {agent: fence_of_nobody}}")
    )
    assert main(["check-config", str(file)]) == 0
    assert "! B cannot be fenced from here: fence_of_nobody is not on this host" in capsys.readouterr().out
    assert main(["check-config", str(file), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1


@pytest.mark.usefixtures("run_dir")
def test_status_tells_what_the_guards_and_the_fences_see(agent: SmallAgent, capsys: Printed) -> None:
    gateways = [{"address": "10.20.1.1", "interface": "eth0", "reachable": False}]
    agent.guarded |= {
        "outside": {"reachable": False, "gateways": gateways, "why_not_watched": "", "probe": {}},
        "faults": ["cannot listen on eth0: Operation not permitted"],
    }
    agent.fenced["faults"] = ["B cannot be fenced from here: fence_ipmilan is not on this host"]
    assert main(["status", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["guards"]["outside"]["gateways"] == gateways
    assert facts["fencing"]["nodes"]["B"]["agent"] == "fence_ipmilan"
    assert facts["warnings"][-3:] == [
        "This node cannot reach gateway 10.20.1.1 or the host of `guards.probe`: if it is the only one, it "
        "releases its groups and takes none.",
        "cannot listen on eth0: Operation not permitted.",
        "B cannot be fenced from here: fence_ipmilan is not on this host.",
    ]
    agent.guarded["outside"] = {"reachable": None, "gateways": [], "why_not_watched": "no default route on eth0"}
    assert main(["status"]) == 0
    assert "The gateway is not watched: no default route on eth0." in capsys.readouterr().out
