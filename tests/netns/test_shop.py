"""The story of a user's session, as `haagent lab demo --sessions` tells it: with a real shop behind a real balancer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from haagent.lab import Lab, processes
from haagent.lab.shopping import COOKIE, Story, play
from haagent.lab.state import directory_of
from tests.netns.session_stage import lab_with_sessions
from tests.support.observe import PATIENCE_S, MakeLab, running
from trials.store.stage import CLIENT_OF_STORE

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
    assert_told(msgspec.json.decode(done.stdout, type=Story))
    assert_nothing_is_left(name)


def assert_told(story: Story) -> None:
    assert {story.first, story.second} == {"A", "B"}
    assert story.lost_ms > 0
    assert 0 < story.ready_ms <= story.back_ms
    last = [line.text for line in story.lines][-2:]
    assert "serves the tab again" in last[0]
    assert last[0].endswith("A book, A lamp, A kettle, A chair.")
    assert "is logged out on" in last[1]


# Where sessions are, how they are replicated, and whether the balancer keeps users with a node. What the command tells
# is above; with VARIANTS=all in the environment the others, too.
VARIANTS = [("peer", "sync", ""), ("peer", "async", COOKIE), ("redis", "sync", ""), ("redis", "async", COOKIE)]
if os.environ.get("VARIANTS") == "all":
    VARIANTS += [("peer", "async", ""), ("peer", "sync", COOKIE), ("redis", "async", ""), ("redis", "sync", COOKIE)]


@made("python")
@pytest.mark.parametrize(("store", "replication", "cookie"), VARIANTS)
def test_the_story_holds_however_sessions_are_kept(
    make_lab: MakeLab, tmp_path: Path, store: str, replication: str, cookie: str
) -> None:
    """With `async` and no cookie a user must not be faster than the replication: what a node has not heard of yet it
    does not show, and a framework that writes the session with every page writes what it has."""
    if store == "redis" and shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this host")
    lab = lab_with_sessions(make_lab, tmp_path, store=store, replication=replication, spares=2)

    def settle() -> None:
        if (store, replication, cookie) == ("peer", "async", ""):
            lab.wait_for(lambda: same_everywhere(lab), what="the stores are the same", within_s=PATIENCE_S)

    assert_told(play(lab, PYTHON.split(), tell=lambda _: None, cookie=cookie, settle=settle))


def same_everywhere(lab: Lab) -> bool:
    found = [json.loads(lab.run(node, [*CLIENT_OF_STORE, "dump"]).stdout) for node in running(lab)]
    values = [{key: value for key, (value, _) in one.items()} for one in found]
    return all(one == values[0] for one in values)


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
