"""The nine steps in which Tomcat's clustering how-to tells what replicated sessions are, with whole agents.

A and B are nodes, S1 and S2 sessions; S0 is there when B comes up.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from haagent.lab import Lab
from tests.netns.session_stage import answers_until_ready, ask, lab_with_sessions, wait_replicated
from tests.support.observe import PATIENCE_S, MakeLab, member

pytestmark = pytest.mark.netns
pytest.importorskip("hiredis")

DEADLINE_MS = 60_000


@pytest.mark.parametrize("replication", ["sync", "async"])
@pytest.mark.parametrize(
    "store",
    [
        "peer",
        pytest.param(
            "redis",
            marks=pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this host"),
        ),
    ],
)
def test_the_nine_steps(make_lab: MakeLab, tmp_path: Path, store: str, replication: str) -> None:
    """With `redis` the nodes keep nothing: the sessions are on a third host, which stays.

    To take over the state, (2) and (6), means there that a node has found Redis before it says that it is well; the end
    of S1 and S2 on the other node too, (7) and (9), that no door shows what it has seen before. What was answered is on
    both at once, with `async` as well, because there is one copy; with `sync` a replica has it.
    """
    is_at_once = store == "redis" or replication == "sync"
    lab = lab_with_sessions(make_lab, tmp_path, store=store, replication=replication)

    lab.faults.crash("B")
    wait_offline(lab, "A", "B")
    assert ask(lab, "A", "SETEX session:S0 3600 a-book") == ["OK"], "(1) A is up, alone"
    assert "Sessions on A: " in lab.run("A", ["haagent", "status"]).stdout

    lab.start("B")
    assert_shows_nothing_else(lab, "B", "session:S0", "a-book")  # (2) B comes up, with the state from A
    wait_replicated(lab, "A", "B")

    assert ask(lab, "A", "SETEX session:S1 3600 three-books") == ["OK"], "(3) S1 begins on A"
    if not is_at_once:
        wait_answer(lab, "B", "EXISTS session:S1", "1")

    lab.faults.crash("A")
    wait_offline(lab, "B", "A")  # (4) A crashes, and B takes it out of its membership

    assert ask(lab, "B", "GET session:S1") == ["three-books"], "(5) B serves S1, and the user notices nothing"
    assert ask(lab, "B", "SETEX session:S1 3600 four-books") == ["OK"]

    lab.start("A")
    assert_shows_nothing_else(lab, "A", "session:S1", "four-books")  # (6) A returns, and first takes over what B has
    wait_replicated(lab, "A", "B")

    assert ask(lab, "A", "DEL session:S1") == ["1"], "(7) the user logs out on A"
    if is_at_once:
        assert ask(lab, "B", "EXISTS session:S1") == ["0"]
    else:
        wait_answer(lab, "B", "EXISTS session:S1", "0")

    assert ask(lab, "B", f"PSETEX session:S2 {DEADLINE_MS} a-lamp") == ["OK"], "(8) S2 begins on B"
    wait_answer(lab, "A", "GET session:S2", "a-lamp")
    assert 0 < int(ask(lab, "A", "PTTL session:S2")[0]) <= DEADLINE_MS

    assert ask(lab, "B", "PEXPIRE session:S2 500") == ["1"], "the user's last request"
    wait_answer(lab, "A", "EXISTS session:S2", "0")  # (9) S2 ends by inactivity, on A too
    assert ask(lab, "B", "EXISTS session:S2") == ["0"]
    for node in "AB":
        assert ask(lab, node, "DBSIZE", "GET session:S0") == ["1", "a-book"]


def wait_offline(lab: Lab, node: str, gone: str) -> None:
    lab.wait_for(
        lambda: member(lab, node, gone)["state"] == "offline", what=f"{node} misses {gone}", within_s=PATIENCE_S
    )


def wait_answer(lab: Lab, node: str, command: str, answer: str) -> None:
    what = f"{node} answers {answer} to {command}"
    lab.wait_for(lambda: ask(lab, node, command) == [answer], what=what, within_s=PATIENCE_S)


def assert_shows_nothing_else(lab: Lab, node: str, key: str, value: str) -> None:
    """Nor says that it is well before it shows that; `None` would be a session that it does not know yet."""
    seen = answers_until_ready(lab, node, key)
    assert {line.partition(" ")[2] for line in seen} <= {"nothing", "LOADING", value}
    assert seen[-1] == f"200 {value}"
