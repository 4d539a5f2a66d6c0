"""The story of a user's session, as `haagent lab demo --sessions` tells it: with a real shop behind a real balancer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.lab import processes
from haagent.lab.state import directory_of

PROJECT = Path(__file__).parents[2]
SHOPS, MADE = PROJECT / "examples" / "shop", PROJECT / ".make"
PYTHON = f"{MADE}/shop-python/bin/python {SHOPS}/shop.py"
NODE = f"env NODE_PATH={MADE}/shop-node/node_modules node {SHOPS}/node/shop.js"
DEMO = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "lab", "demo", "--sessions"]

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="no HAProxy on this host"),
]
pytest.importorskip("aiohttp")
pytest.importorskip("hiredis")


def made(shop: str) -> pytest.MarkDecorator:
    file = MADE / f"shop-{shop}" / "made"
    return pytest.mark.skipif(
        not file.exists(), reason=f"what the shop needs is not installed: make {file.relative_to(PROJECT)}"
    )


def assert_nothing_is_left(name: str) -> None:
    directory = directory_of(name)
    assert not directory.exists()
    assert processes.marked(directory) == []


@pytest.mark.parametrize(
    "shop", [pytest.param(PYTHON, marks=made("python"), id="python"), pytest.param(NODE, marks=made("node"), id="node")]
)
def test_the_story_holds(shop: str) -> None:
    name = f"shop{os.getpid()}"
    done = subprocess.run(
        [*DEMO, "--json", "--name", name, "--shop", shop], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert {story["first"], story["second"]} == {"A", "B"}
    assert story["lost_ms"] > 0
    assert 0 < story["ready_ms"] <= story["back_ms"]
    last = [line["text"] for line in story["lines"]][-2:]
    assert "serves the tab again" in last[0]
    assert last[0].endswith("A book, A lamp, A kettle, A chair.")
    assert "is logged out on" in last[1]
    assert_nothing_is_left(name)


@made("python")
def test_nothing_is_left_when_it_is_interrupted() -> None:
    name = f"shop{os.getpid()}i"
    words = [*DEMO, "--name", name, "--shop", PYTHON]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as telling:
        assert telling.stderr is not None
        said = []
        for line in telling.stderr:
            said.append(line)
            if "goes on asking" in line:
                telling.send_signal(signal.SIGINT)
                break
        said.append(telling.stderr.read())
        assert telling.wait() == 130, "".join(said)
    assert_nothing_is_left(name)


def test_a_shop_that_cannot_run_says_why() -> None:
    name = f"shop{os.getpid()}w"
    words = [*DEMO, "--name", name, "--shop", "python3 -c 'import no_such_framework'"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "the shop ended on A: ModuleNotFoundError: No module named 'no_such_framework'. `make lab-sessions`"
        in done.stderr
    )
    assert_nothing_is_left(name)
