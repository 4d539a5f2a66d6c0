"""The lab itself: cables, faults, measurement, and that nothing is left. Agents are stand-ins or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.lab import Lab, LabError, processes, state

pytestmark = pytest.mark.netns

MakeLab = Callable[..., Lab]
STAND_IN = (sys.executable, str(Path(__file__).parent / "stand_in.py"), "{node}", "{run}")
VIP4, VIP6 = "10.20.1.100", "fd00:20::100"


def reaches(lab: Lab, source: str, target: str) -> bool:
    """One ARP and one echo request, from the start: no neighbour entry to hide behind."""
    lab.run(source, ["ip", "neigh", "flush", "all"])
    return lab.run(source, ["ping", "-c1", "-W1", target], checks=False).returncode == 0


def hears(lab: Lab, listener: str, speaker: str) -> bool:
    """A datagram is sent once, one way. The neighbour is entered by hand, so that no answer is needed."""
    plan = lab.state().plan
    there, here = plan.host(listener), plan.host(speaker)
    mac = there.ports[0].mac
    lab.run(speaker, ["ip", "neigh", "replace", there.address, "lladdr", mac, "dev", "eth0", "nud", "permanent"])
    hear = (
        "import socket; s=socket.socket(2,2); s.bind(('',9999)); s.settimeout(0.7); print('up',flush=True); s.recv(9)"
    )
    child = lab.start_on(listener, [sys.executable, "-c", hear])
    assert child.stdout is not None
    child.stdout.readline()
    say = f"import socket; s=socket.socket(2,2); [s.sendto(b'x',('{there.address}',9999)) for _ in range(3)]"
    lab.run(here.name, [sys.executable, "-c", say])
    child.communicate()
    return child.returncode == 0


def hold(lab: Lab, name: str) -> None:
    for address in (f"{VIP4}/24", f"{VIP6}/64"):
        lab.run(name, ["ip", "address", "add", address, "dev", "eth0", "nodad"])


def traces_of(lab: Lab) -> list[object]:
    return [processes.marked(lab.directory), lab.directory.exists()]


def machine() -> list[str]:
    """What a lab must leave as it was: interfaces, named namespaces, rules."""
    commands = [["ip", "-o", "link"], ["ip", "netns"], ["nft", "list", "ruleset"]]
    return [subprocess.run(words, capture_output=True, text=True, check=False).stdout for words in commands]


def test_hosts_reach_each_other_and_answer_with_their_own_ttl(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True, links=2, command=None)
    for node in lab.state().plan.nodes:
        said = lab.run("client", ["ping", "-c1", "-W1", node.address]).stdout
        assert f"ttl={node.ttl} " in said
    assert reaches(lab, "A", "fd00:20::11")
    assert reaches(lab, "A", "10.20.2.11")
    assert not reaches(lab, "A", "10.20.2.1")  # the client is on the first link alone
    assert lab.run("A", ["ls", "/sys/class/net"]).stdout.split() == ["eth0", "eth1", "lo"]


def test_cut_is_silent_and_heals(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=3, command=None)
    lab.faults.cut("A", "B")
    assert not reaches(lab, "A", "10.20.1.11")
    assert reaches(lab, "A", "10.20.1.12")
    assert lab.run("A", ["cat", "/sys/class/net/eth0/carrier"]).stdout.strip() == "1"
    lab.faults.cut("C")
    assert not reaches(lab, "C", "10.20.1.1")
    assert not reaches(lab, "C", "10.20.1.10")
    with pytest.raises(LabError, match="heal C as a whole"):
        lab.faults.heal("A", "C")
    lab.faults.heal("C")
    assert reaches(lab, "C", "10.20.1.1")
    assert not reaches(lab, "A", "10.20.1.11")
    lab.faults.heal()
    assert reaches(lab, "A", "10.20.1.11")
    assert lab.state().damage.sentences() == []


def test_cut_one_way(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=None)
    lab.faults.cut("A", "B", one_way=True)
    assert not hears(lab, listener="B", speaker="A")
    assert hears(lab, listener="A", speaker="B")


def test_loss_is_near_what_was_asked_for(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1, command=None)
    hold(lab, "A")
    with lab.probe(asks_directly=False) as probe:
        probe.wait_answer(by="A")
        lab.faults.lose("client", 20)
        start_s = time.monotonic()
        time.sleep(1.0)
        end_s = time.monotonic()
        lab.faults.lose("client", 0)
        probe.wait_answer()
    seen = probe.outage(VIP4, start_s=start_s, end_s=end_s)
    # a probe and its answer each pass one lossy port: 0.8 x 0.8
    assert 0.5 < seen.answered / seen.probes < 0.78


def test_link_down_takes_the_carrier(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, links=2, command=None)
    lab.faults.link("A", "down", link="eth1")
    carriers = ["cat", "/sys/class/net/eth0/carrier", "/sys/class/net/eth1/carrier"]
    assert lab.run("A", carriers).stdout.split() == ["1", "0"]
    lab.faults.link("A", "up", link="eth1")
    assert lab.run("A", carriers).stdout.split() == ["1", "1"]
    with pytest.raises(LabError, match="has no link eth7; it has eth0, eth1"):
        lab.faults.link("A", "down", link="eth7")


def test_probe_tells_who_answered_and_for_how_long_nobody_did(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=None)
    hold(lab, "A")
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        lab.faults.crash("A")
        lost_s = time.monotonic()
        hold(lab, "B")
        lab.run("client", ["ip", "neigh", "flush", "all"])
        taken_s = time.monotonic()
        probe.wait_answer(by="B", since_s=start_s)
    for seen in probe.outages(start_s=start_s):
        assert seen.answered_by == ["A", "B"]
        assert (taken_s - lost_s) * 500 < seen.worst_ms < (time.monotonic() - start_s) * 1000
        assert seen.dual_ms == 0


def test_probe_sees_two_holders_although_the_client_talks_to_one(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=None)
    hold(lab, "A")
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        hold(lab, "B")
        time.sleep(0.3)
        end_s = time.monotonic()
    for seen in probe.outages(start_s=start_s, end_s=end_s):
        assert seen.answered_by == ["A"]  # nobody announced anything: the client's ARP table still says A
        assert seen.dual_ms > 150


def test_verbs_for_agents(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=STAND_IN)
    lab.wait_ready()
    assert lab.agents.holder() == "A"
    assert "stand-in of A is ready" in lab.agents.tail("A")
    assert f"{lab.directory}/B/run" in lab.run("B", ["env"]).stdout

    lab.faults.freeze("A")
    found = lab.agents.processes(lab.state(), "A")
    assert len(found) == 2
    assert all(process.is_frozen for process in found)
    lab.faults.thaw("A")
    assert lab.agents.status("A")["node"] == "A"

    lab.faults.kill("A")
    assert len(lab.agents.processes(lab.state(), "A")) == 1  # what the agent started lives on
    assert VIP4 in lab.run("A", ["ip", "address"]).stdout
    with pytest.raises(LabError, match="`haagent lab start A` starts it"):
        lab.faults.kill("A")
    lab.start("A")
    lab.wait_ready()
    with pytest.raises(LabError, match="runs already"):
        lab.start("A")


def test_a_crashed_host_boots_without_what_it_held(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=STAND_IN)
    lab.wait_ready()
    lab.run("B", ["ip", "address", "add", f"{VIP4}/24", "dev", "eth0"])
    lab.faults.crash("B")
    assert lab.agents.processes(lab.state(), "B") == []
    assert not reaches(lab, "client", "10.20.1.11")
    lab.faults.heal()
    assert not reaches(lab, "client", "10.20.1.11")  # healing plugs no cable into a host that is gone
    lab.start("B")
    lab.wait_ready()
    assert VIP4 not in lab.run("B", ["ip", "address"]).stdout
    assert reaches(lab, "client", "10.20.1.11")
    assert reaches(lab, "client", "fd00:20::11")


def test_an_agent_that_ends_at_once_is_told_with_its_last_words(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1, command=("sh", "-c", "echo no such file; exit 2"))
    with pytest.raises(LabError, match=r"the agent of A ended(.|\n)*no such file"):
        lab.wait_ready()


def test_down_leaves_nothing(make_lab: MakeLab) -> None:
    before = machine()
    lab = make_lab(nodes=2, command=STAND_IN)
    lab.wait_ready()
    lab.faults.cut("A")
    assert machine() == before
    assert lab.down()
    assert not lab.down()
    assert machine() == before
    assert traces_of(lab) == [[], False]


def test_down_after_every_process_was_killed_by_hand(make_lab: MakeLab) -> None:
    before = machine()
    lab = make_lab(nodes=2, command=STAND_IN)
    lab.wait_ready()
    found = processes.marked(lab.directory)
    processes.send_all(found, signal.SIGKILL)
    assert processes.wait_gone(found) == []
    lab.down()
    assert machine() == before
    assert traces_of(lab) == [[], False]


def test_down_finds_what_outlived_its_keeper(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1, command=STAND_IN)
    lab.wait_ready()
    for host in lab.state().hosts.values():
        host.keeper.send(signal.SIGKILL)
    (lab.directory / "lab.json").write_text("{")  # not even the state is left
    lab.down()
    assert traces_of(lab) == [[], False]


def test_a_lab_dies_with_its_process(tmp_path: Path) -> None:
    name = f"d{os.getpid()}"
    script = (
        "import os, signal; from haagent.lab import Lab\n"
        f"lab = Lab.create(name={name!r}, command={STAND_IN!r}, dies_with_us=True)\n"
        "lab.wait_ready(); print(lab.directory, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lab = Lab(Path(done.stdout.strip()))
    agents_and_keepers = [one for host in lab.state().hosts.values() for one in (host.keeper, host.agent) if one]
    try:
        assert len(agents_and_keepers) == 6
        assert processes.wait_gone(agents_and_keepers) == []
    finally:
        lab.down()


def test_names_are_taken_once(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1, command=None)
    with pytest.raises(LabError, match="is up already"):
        Lab.create(name=lab.directory.name, command=None)
    with pytest.raises(LabError, match="there is no host `Z` in this lab; it has A, client"):
        lab.faults.cut("Z")
    with pytest.raises(LabError, match="no agent runs on `client`"):
        lab.faults.crash("client")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_leaves_nothing(number: signal.Signals) -> None:
    """It is interrupted while it waits for the agents, twice: a second Ctrl-C must not stop the cleaning."""
    before, name = machine(), f"i{os.getpid()}-{number}"
    script = (
        "import sys, time; from haagent.cli import main; from haagent.lab.agents import Agents\n"
        "Agents.wait_ready = lambda *_, **__: print('waiting', flush=True) or time.sleep(60)\n"
        f"sys.exit(main(['lab', 'up', '--name', {name!r}]))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(number)
    child.send_signal(number)
    assert child.wait(timeout=20) == 130
    child.communicate()
    assert machine() == before
    assert traces_of(Lab(state.directory_of(name))) == [[], False]
