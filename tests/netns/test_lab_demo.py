"""The demo with real agents: what it promises is what happens. Times are loose; `make bench` measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

RUN = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "lab"]


@pytest.mark.parametrize("options", [[], ["--witness", "--links", "2", "--transport", "unicast"]], ids=["two", "three"])
def test_demo(options: list[str]) -> None:
    name = f"demo{os.getpid()}"
    done = subprocess.run(
        [*RUN, "demo", "--json", "--name", name, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    nothing, lost, moved = (act["outages"] for act in json.loads(done.stdout)["acts"])
    assert [outage["address"] for outage in nothing] == ["10.20.1.100", "fd00:20::100"]
    # with a witness, B may have a majority before A has started: then the tour begins there
    first, second = ("A", "B") if nothing[0]["answered_by"] == ["A"] else ("B", "A")
    for outage in nothing:
        assert outage["answered_by"] == [first]
    for outage in lost:
        assert outage["answered_by"] == [first, second]
        assert outage["worst_ms"] > 100  # less would mean that the lost host could still say that it lets go
    for outage in moved:
        assert outage["answered_by"] == [second, first]
    status = subprocess.run([*RUN, "status", "--name", name], capture_output=True, text=True, check=False)
    assert (status.returncode, "there is no lab" in status.stderr) == (1, True)
