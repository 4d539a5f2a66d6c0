"""Sessions in a real cluster, with whole agents: lost hosts, killed processes, restarts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.lab import processes
from haagent.lab.configuration import Wishes
from tests.netns.session_stage import ask, wait_replicated
from tests.support.observe import PATIENCE_S, MakeLab, ballots, wait_whole
from trials.store import trials

pytestmark = pytest.mark.netns
pytest.importorskip("hiredis")


def test_a_store_that_is_killed_comes_back_and_moves_nothing(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "sessions.yaml"
    extra.write_text("sessions: {}\n")
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    wait_replicated(lab, "A", "B")
    before = ballots(lab)
    assert ask(lab, "A", "SETEX session:US_1 3600 three-books") == ["OK"]
    pid = lab.agents.status("A")["pids"]["store"]
    os.kill(pid, signal.SIGKILL)
    lab.wait_for(lambda: lab.agents.status("A")["pids"]["store"] not in (None, pid), what="it is started again")
    wait_replicated(lab, "A", "B")
    assert ask(lab, "A", "GET session:US_1") == ["three-books"]
    assert ballots(lab) == before, "no group has moved"


@pytest.mark.parametrize("replication", ["sync", "async"])
def test_what_was_answered_outlives_its_host(replication: str, measured: Callable[[str, str], None]) -> None:
    """Under load; `make sessions` does it fifty times."""
    row = trials.host_lost(replication, 2, print)
    measured(row.what, row.figures)
    assert not row.complaint


def test_two_sides_of_a_cut_become_equal_and_logouts_stand(measured: Callable[[str, str], None]) -> None:
    row = trials.partition(1, print)
    measured(row.what, row.figures)
    assert not row.complaint


def test_all_nodes_restart_one_right_after_the_other_and_no_session_is_lost(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "sessions.yaml"
    extra.write_text("sessions: {}\n")
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    wait_replicated(lab, "A", "B")
    text = "x" * 1000
    for first in range(0, 5000, 100):  # as many as take a moment to take over
        ask(lab, "A", "MSET " + " ".join(f"session:{number} {text}" for number in range(first, first + 100)))
    for node in ("A", "B", "A"):
        tree = lab.agents.running(node)
        lab.agents.signal(node, signal.SIGTERM)
        assert not processes.wait_gone(tree.everybody, within_s=PATIENCE_S)
        lab.start(node)
        lab.agents.wait_ready(within_s=PATIENCE_S)  # as `systemctl restart` returns; the store may lack all as yet
    wait_replicated(lab, "A", "B")
    assert ask(lab, "A", "DBSIZE") == ask(lab, "B", "DBSIZE") == ["5000"]
