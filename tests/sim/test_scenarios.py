"""`haagent simulate` as an operator sees it: the command as typed, and all that it prints.

After an intended change: `GOLDEN=rewrite pytest tests/sim/test_scenarios.py`. Keep only what you understand.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from haagent.cli import main
from haagent.simulate import World

README = Path(__file__).parents[2] / "README.md"
SCENARIOS = Path(__file__).parent / "scenarios"
TWO, THREE = str(SCENARIOS / "two.yaml"), str(SCENARIOS / "three.yaml")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["simulate", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def facts(capsys: pytest.CaptureFixture[str], text: str, *, config: str = THREE, **options: int) -> dict[str, Any]:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    _, out, err = run(capsys, "--config", config, "-e", text, "--json", *words)
    assert not err
    found: dict[str, Any] = json.loads(out)
    return found


def web(found: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = next(group for group in found["groups"] if group["name"] == "web")
    return group


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.txt")), ids=lambda path: path.stem)
def test_scenario(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SCENARIOS)
    written = path.read_text()
    command = written.splitlines()[0]
    assert command.startswith("$ haagent simulate ")
    assert main(shlex.split(command)[2:]) == 0
    told = f"{command}\n{capsys.readouterr().out}"
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(told)
    else:
        assert told == written


def test_the_same_seed_tells_the_same_story_in_another_process() -> None:
    """Where sets and dictionaries of names have another order."""
    words = ["simulate", "--config", THREE, "--seed", "5", "-e", "at 3s kill A and B back after 1s; until 8s"]
    told = {
        subprocess.run(
            [sys.executable, "-c", f"from haagent.cli import main; main({words})"],
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    }
    assert len(told) == 1


def test_another_seed_has_other_times_and_the_same_end(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (facts(capsys, "at 3s crash A; until 6s", seed=seed) for seed in (1, 2))
    assert one["timeline"] != other["timeline"]
    assert web(one)["holders"] == web(other)["holders"] == ["B"]


def test_a_scenario_comes_from_a_file_or_from_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "at 2s kill A   # its guardian speaks\nuntil 3s\n"
    file = tmp_path / "story.txt"
    file.write_text(text)
    from_file = run(capsys, "--config", TWO, str(file))
    read_end, write_end = os.pipe()
    os.write(write_end, text.encode())
    os.close(write_end)
    with open(read_end) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(capsys, "--config", TWO, "-") == from_file
    assert run(capsys, "--config", TWO, "-e", text) == from_file


def test_an_agent_that_dies_costs_milliseconds_and_one_that_dies_with_its_guardian_a_lease(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert web(facts(capsys, "at 3s kill A; until 6s"))["longest_s"] < 0.010
    assert 0.25 < web(facts(capsys, "at 3s kill A entirely; until 6s"))["longest_s"] < 0.36


def test_a_frozen_holder_answers_until_its_gate_shuts(capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, "at 3s freeze A; until 6s")
    (shut,) = [line for line in found["timeline"] if line["kind"] == "gate" and line["group"] == "web"]
    assert shut["node"] == "A"
    assert web(found)["outages"][0]["from_s"] == shut["time_s"]
    assert web(found)["two_at_once"] == []


def test_without_a_gate_a_frozen_holder_answers_on_and_it_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ungated.yaml"
    file.write_text(Path(THREE).read_text() + "gate: off\n")
    status, out, _ = run(capsys, "--config", str(file), "-e", "at 3s freeze A; at 9s thaw A; until 12s")
    assert status == 0
    assert "A  web  address   nobody has renewed the address: the kernel has removed it" in out
    assert "TWO NODES ANSWERED AT ONCE for" in out
    assert "`gate: off` allows that: an agent that cannot act cannot release." in out
    group = web(facts(capsys, "at 3s kill A entirely; until 9s", config=str(file)))
    assert [one["nodes"] for one in group["two_at_once"]] == [["A", "B"]]
    assert web(facts(capsys, "at 3s crash A; until 9s", config=str(file)))["two_at_once"] == []


def test_what_must_never_happen_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "_remove_all", lambda self, host: None)  # a guardian that speaks too early
    status, out, _ = run(capsys, "--config", THREE, "-e", "at 3s kill A; until 6s")
    assert status == 1
    assert "That must never happen: please report it" in out


def test_clients_of_an_isolated_host_count_as_without_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    group = web(facts(capsys, "at 3s isolate A for 1s; until 6s"))
    assert group["outages"][0]["from_s"] == pytest.approx(3.0, abs=0.0006)
    assert group["longest_s"] > 0.25


def test_what_an_operator_may_not_do_is_refused_in_the_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, "at 3s failover web to W; kill A, B and W; after 1s clear; until 6s")
    assert [line["text"] for line in found["timeline"] if line["kind"] == "refused"] == [
        "W is a witness; it cannot take web"
    ]
    assert "no agent answers: the command is lost" in [line["text"] for line in found["timeline"]]


def test_a_node_that_is_started_later_is_not_there_before(capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, "at 9s start A; until 12s", config=TWO)
    assert next(line for line in found["timeline"] if line["node"] == "A")["time_s"] > 9
    assert web(found)["holders"] == ["B"]
    assert 5.0 < web(found)["first_held_s"] < 6.0


def test_etcd_gives_the_leases_where_it_is_configured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "etcd.yaml"
    written = Path(TWO).read_text() + "on_partition: consistent\n"
    file.write_text(written + 'coordination: {etcd: {endpoints: ["http://10.20.1.20:2379"]}}\n')
    group = web(facts(capsys, "at 8s crash A; at 15s etcd lost; at 20s etcd back; until 30s", config=str(file)))
    assert group["holders"] == ["B"]
    assert len(group["outages"]) == 2
    assert group["two_at_once"] == []


def test_a_minute_of_three_nodes_is_a_few_thousand_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Which take less than a second; a time would depend on the machine."""
    from haagent.config import check
    from haagent.simulate import read, simulate

    settings = check(THREE).settings()
    assert simulate(settings, read("at 5s crash A; until 60s", settings, name="-")).steps < 10_000


def test_one_group_can_be_told_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--config", THREE, "-e", "at 3s crash A; until 6s", "--group")
    found = json.loads(run(capsys, *words, "db", "--json")[1])
    assert {(line["group"], line["kind"]) for line in found["timeline"]} == {("db", "taken"), ("", "fault")}
    assert [group["name"] for group in found["groups"]] == ["db"]
    status, _, err = run(capsys, *words, "mail")
    assert (status, err) == (2, "haagent: This configuration has no group `mail`. There are web, db.\n")


def test_the_readme_shows_what_its_configuration_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its examples are played with the configuration that it shows."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    config = tmp_path / "haagent.yaml"
    config.write_text(next(text for kind, text in blocks if kind == "yaml"))
    for _, text in blocks:
        if text.startswith("$ haagent simulate "):
            command, _, printed = text.partition("\n")
            main([*shlex.split(command)[2:], "--config", str(config)])
            assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Name one scenario"),
        (["-e", "until 1s", "story.txt"], "Name one scenario"),
        (["/nonexistent/story.txt"], "cannot be read: No such file"),
        (["-e", "at 5s kil A; hela"], "-e:1: there is no statement `kil`; did you mean `kill`?"),
        (["-e", "until 1s", "--config", "/nonexistent.yaml"], "/nonexistent.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_played_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    status, out, err = run(capsys, "--config", TWO, *words)
    assert (status, out) == (2, "")
    assert complaint in err


def test_faults_of_a_scenario_are_there_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--config", TWO, "-e", "at 5s kil A\nhela", "--json")
    assert (status, out) == (2, "")
    assert json.loads(err)["error"]["faults"] == [
        {"line": 1, "message": "there is no statement `kil`", "hint": "did you mean `kill`?"},
        {"line": 2, "message": "there is no statement `hela`", "hint": "did you mean `heal`?"},
    ]
