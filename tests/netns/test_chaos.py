"""The chaos campaign and the benchmark on real daemons, a few seconds of each: they do what they say, and then go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from haagent.lab import Lab, processes, state
from haagent.lab.agents import AGENT
from haagent.lab.plan import VIP4, VIP6
from tests.support.observe import events
from tests.support.standstill import never_two
from trials.chaos import clock
from trials.chaos.cluster import GROUP, OTHER, SPARE, cluster, holders_by_address, wait_settled
from trials.chaos.episode import Told, play
from trials.chaos.history import History, check, see
from trials.chaos.schedule import Mode, Strike

pytestmark = pytest.mark.netns


def test_a_few_episodes_without_a_violation() -> None:
    strikes = [
        (Strike("host lost", "holder", 0.0, 0.6),),
        (Strike("cut from the nodes", "holder", 0.0, 0.6), Strike("agent restarted", "other", 0.1, 0.3)),
        (Strike("clock stepped", "holder", 0.0, 0.3, amount=-3600.0),),
    ]
    with cluster(f"chaostest{os.getpid()}", Mode.CONSISTENT, interval="100ms") as made:
        for number, episode in enumerate(strikes, 1):
            played = play(made, episode, Told(seed=0, number=number, noise_ms=50.0))
            never_two(see(played).dual_ms)
            assert check(played) == []


def test_each_fault_that_needs_more_than_a_signal_or_a_cut() -> None:
    """Without a violation; and it was really there."""
    with cluster(f"chaostest{os.getpid()}", Mode.CONSISTENT, interval="100ms") as made:
        lab = made.lab

        def befall(*strikes: Strike) -> History:
            played = play(made, strikes, Told(seed=0, number=1, noise_ms=50.0))
            never_two(see(played).dual_ms)
            assert check(played) == []
            return played

        befall(Strike("one node reloaded", "holder", 0.0, 0.5))
        befall(Strike("one node reloaded", "other", 0.0, 0.5))
        reloaded = Counter(one["node"] for one in events(lab, "W") if one["kind"] == "reloaded")
        assert reloaded == {"A": 2, "B": 2}, "each by itself, and put back"

        before = holders_by_address(lab, wait_settled(lab))
        befall(Strike("addresses swapped", "witness", 0.0, 0.4))
        after = holders_by_address(lab, wait_settled(lab))
        assert after[VIP4] != after[OTHER]
        assert (after[VIP6], before[VIP4]) == (after[OTHER], before[OTHER])

        befall(Strike("twin started", "holder", 0.0, 2.5))
        assert "another host uses the name" in lab.agents.log(SPARE).read_text()

        befall(Strike("clock steered", "holder", 0.0, 0.5, amount=-9.9), Strike("host lost", "holder", 0.3, 0.6))
        assert [lab.agents.status(name)["counters"].get("clock_beyond", 0) for name in "ABW"] == [0, 0, 0]
        steered = befall(Strike("clock steered too far", "holder", 0.0, 0.6, amount=15.0)).blows[0].node
        assert lab.agents.status(steered)["counters"]["clock_beyond"] == 1
        assert wait_settled(lab)[GROUP] != steered

        if made.chances.has_rtnl:
            strikes = Strike("RTNL held", "holder", 0.0, 1.2, amount=0.3), Strike("planned move", "holder", 0.1, 0.1)
            befall(*strikes)

        moved = befall(Strike("hook hung", "holder", 0.0, 1.0)).blows[0].node
        assert wait_settled(lab)[GROUP] != moved


def test_a_stepped_clock_is_one_nodes_alone(tmp_path: Path) -> None:
    library = clock.compile_to(tmp_path)
    if library is None:
        pytest.skip("there is no C compiler")
    command = clock.preloaded(AGENT, library)
    here_s = time.time()
    with Lab.create(name=f"clock{os.getpid()}", nodes=2, command=command, dies_with_us=True) as lab:
        wait_settled(lab)
        clock.step(lab.run_directory("A"), -86400.0)
        lab.agents.signal("A", signal.SIGHUP)  # it reads its file again and says so
        lab.wait_for(lambda: "reload" in lab.agents.tail("A"), what="A has something to say")
        stamps = {name: lab.agents.tail(name).splitlines()[-1][5:15] for name in ("A", "B")}
        assert stamps["A"] < stamps["B"]
        assert wait_settled(lab)
    assert abs(time.time() - here_s) < 60


def test_guardian_and_agent_are_told_apart() -> None:
    with Lab.create(name=f"tree{os.getpid()}", nodes=2, dies_with_us=True) as lab:
        wait_settled(lab)
        pids = lab.agents.status("A")["pids"]
        found = lab.agents.tree("A")
        assert found.deciding is not None
        assert found.deciding.pid == pids["agent"]
        assert (found.guardian.pid if found.guardian else None) == pids["guardian"]


@pytest.mark.parametrize("module", ["trials.chaos", "trials.bench"])
def test_interrupted_it_leaves_nothing(module: str, tmp_path: Path) -> None:
    if module == "trials.bench" and not Path("/usr/sbin/keepalived").exists():
        pytest.skip("keepalived is not installed")
    options = {
        "trials.chaos": ["--minutes", "1", "--seed", str(random.randrange(1000)), "--records", str(tmp_path)],
        "trials.bench": ["--runs", "9", "--only", "none"],
    }
    child = subprocess.Popen(
        [sys.executable, "-m", module, *options[module]], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert child.stderr is not None
    with child.stderr:
        for line in child.stderr:
            if " 1" in line and "outage" in line:  # the first of many has been played
                break
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
    assert child.wait(timeout=30) == 130, said
    labs = [f"chaos{child.pid}-c", f"bench{child.pid}-1-haagent", f"bench{child.pid}-2-keepalived"]
    directories = [state.directory_of(name) for name in labs]
    assert [directory for directory in directories if directory.exists()] == []
    assert [process.pid for directory in directories for process in processes.marked(directory)] == []
