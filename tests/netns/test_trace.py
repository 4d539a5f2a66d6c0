"""A real failover, recorded by the agents that went through it, is decided again to the same end."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from haagent.lab import Lab
from haagent.lab.agents import executable
from haagent.trace import read
from tests.support.observe import MakeLab, Measured, holder, other, told, wait_whole

pytestmark = pytest.mark.netns


def replayed(file: Path, *options: str) -> dict[str, Any]:
    """Anywhere: no agent, no node, no configuration."""
    words = [*executable(), "replay", str(file), "--json", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def saved(lab: Lab, node: str, directory: Path) -> Path:
    file = directory / f"{node}.trace"
    answer = told(lab, node, "trace", "save", str(file))
    assert (answer["node"], answer["bytes"]) == (node, file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file


def test_a_recorded_failover_is_decided_again_to_the_same_end(
    make_lab: MakeLab, measured: Measured, tmp_path: Path
) -> None:
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    lost = holder(lab)
    successor = other(lab, lost)
    lab.faults.cut(lost)
    lab.wait_for(lambda: holder_is(lab, successor), what="the other one serves")
    lab.faults.heal()
    wait_whole(lab)
    told(lab, lost, "failover", "--to", lost)
    wait_whole(lab, holders={"web": lost})
    kinds = {}
    for name in (lost, successor, "W"):
        again = replayed(saved(lab, name, tmp_path))
        assert again["same"], again["difference"]
        assert again["core_matches"]
        assert again["node"] == name
        kinds[name] = [line["kind"] for line in again["timeline"] if line["group"] == "web"]
        measured(f"steps in the trace of {name}", f"{again['steps']}, {(tmp_path / f'{name}.trace').stat().st_size} B")
    assert kinds[successor] == ["taken", "yielding", "dropped"]
    assert kinds[lost] == ["taken", "dropped", "asked", "taken"]
    written = (lab.directory / "cluster.key").read_text().strip().encode()
    for name in kinds:
        trace = read((tmp_path / f"{name}.trace").read_bytes())
        plain = b"".join(zlib.decompress(part) for part in (trace.state, *trace.steps))
        assert written not in plain
        assert base64.b64decode(written) not in plain


def holder_is(lab: Lab, name: str) -> bool:
    groups = lab.agents.status(name)["groups"]
    return all(one["holder"] == name and one["active"] for one in groups)
