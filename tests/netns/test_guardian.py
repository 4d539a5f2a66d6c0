"""The death of an agent, of its guardian, of both: what a client sees, what is left on the host, how life goes on.

Figures are printed; bounds say only what was not waited for. The targets are for `make bench`.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from haagent.lab import Lab, Measurement, Wishes, processes
from haagent.lab.plan import VIP4, VIP6
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    addresses,
    ballots,
    events,
    holder,
    member,
    noise_ms,
    other,
    runs,
    serves,
    serves_nothing,
    spread,
    told,
    wait_whole,
    watch_quietly,
)

pytestmark = pytest.mark.netns
RUNS = runs(4)


def log(lab: Lab, node: str) -> str:
    return lab.agents.log(node).read_text()


def live_again(lab: Lab, node: str) -> None:
    """A second life of an agent that has ended: it starts clean, and the other goes on holding."""
    lab.wait_for(lambda: not lab.agents.processes(lab.state(), node), what=f"all processes of {node} have ended")
    assert serves_nothing(lab, node)
    mine = holder_of_the_rest(lab, node)
    lab.start(node)
    wait_whole(lab, holders={"web": mine})


def holder_of_the_rest(lab: Lab, node: str) -> str:
    found = other(lab, node)
    lab.wait_for(lambda: serves(lab, found), what=f"{found} serves")
    return found


def worst_of(probe: Measurement, windows: list[tuple[float, float]]) -> tuple[list[float], float]:
    """The worst gap of each window, of both families; and how late the prober itself was."""
    seen = [probe.outages(start_s=start_s, end_s=end_s) for start_s, end_s in windows]
    return [max(one.worst_ms for one in both) for both in seen], max(one.stall_ms for both in seen for one in both)


def resident_mib(pid: int) -> float:
    """Proportional: what is shared counts by its share."""
    fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Pss"].split()[0]) / 1024


def test_two_small_processes_and_their_names(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=1)
    lab.wait_ready()
    pids = lab.agents.status("A")["pids"]
    everybody = lab.agents.processes(lab.state(), "A")
    found = {process.pid: Path(f"/proc/{process.pid}/comm").read_text().strip() for process in everybody}
    assert found == {pids["guardian"]: "haagent-guard", pids["agent"]: "haagent-agent"}
    started = lab.state().hosts["A"].agent
    assert started is not None
    assert started.pid == pids["guardian"]
    assert Path(f"/proc/{pids['agent']}/stat").read_text().rpartition(")")[2].split()[1] == str(pids["guardian"])
    resident = sum(resident_mib(pid) for pid in found)
    measured("resident (proportional), both", f"{resident:.1f} MiB")
    assert resident <= 60


@pytest.mark.parametrize("kind", ["two nodes", "a witness", "two nodes, 1 s"])
def test_a_killed_agent_is_replaced_without_waiting(make_lab: MakeLab, measured: Measured, kind: str) -> None:
    interval = "1s" if kind.endswith("1 s") else "100ms"
    lab = make_lab(nodes=2, has_witness=kind == "a witness", wishes=Wishes(interval=interval))
    wait_whole(lab)
    windows = []
    with lab.probe() as probe:
        probe.wait_answer()
        quiet = watch_quietly()
        for _ in range(runs(2) if interval == "1s" else RUNS):
            lost = holder(lab)
            start_s = time.monotonic()
            lab.faults.kill(lost)
            probe.wait_answer(by=other(lab, lost))
            windows.append((start_s, time.monotonic()))
            live_again(lab, lost)
            assert "2 addresses were gone" in log(lab, lost)
            assert "was ended by SIGKILL" in log(lab, lost)
    worst, late = worst_of(probe, windows)
    noise = noise_ms(probe, [quiet])
    measured(f"client without it when the agent is killed, {kind}", f"{spread(worst)}, noise {noise:.1f} ms")
    assert max(worst) <= LEASE_MS / 2 + noise + late
    assert all(one.dual_ms == 0 for one in probe.outages())
    texts = [one["text"] for one in events(lab, "A") if one["kind"] == "offline"]
    assert any("lost its agent; its guardian released everything" in text for text in texts)


def test_a_killed_guardian_is_survived_by_a_handover(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    windows = []
    with lab.probe() as probe:
        probe.wait_answer()
        quiet = watch_quietly()
        for _ in range(2):
            lost = holder(lab)
            start_s = time.monotonic()
            lab.faults.kill(lost, whom="guardian")
            probe.wait_answer(by=other(lab, lost))
            windows.append((start_s, time.monotonic()))
            assert "the guardian has died; handing over" in log(lab, lost)
            live_again(lab, lost)
    worst, late = worst_of(probe, windows)
    noise = noise_ms(probe, [quiet])
    measured("client without it when the guardian is killed", f"{spread(worst)}, noise {noise:.1f} ms")
    assert max(worst) <= LEASE_MS / 2 + noise + late
    assert all(one.dual_ms == 0 for one in probe.outages())


def test_both_killed_is_for_the_lease_to_end_and_for_the_next_life_to_clean(make_lab: MakeLab) -> None:
    """Nothing of ours removes the address then; that nobody is answered by it is the gate's matter."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    lost = holder(lab)
    with lab.probe() as probe:
        probe.wait_answer()
        lab.faults.kill(lost, whom="all")
        probe.wait_answer(by=other(lab, lost))
    assert "guardian" not in log(lab, lost)
    assert lab.agents.processes(lab.state(), lost) == []
    lab.start(lost)
    wait_whole(lab, holders={"web": other(lab, lost)})
    assert serves_nothing(lab, lost)


def test_a_guardian_that_slept_through_it_disturbs_nobody(make_lab: MakeLab) -> None:
    """Everything of the host is frozen, its agent is killed meanwhile, and the others have long taken over."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    lost = holder(lab)
    with lab.probe() as probe:
        probe.wait_answer()
        lab.faults.freeze(lost)
        probe.wait_answer(by=other(lab, lost))
        agent = next(one for one in lab.agents.processes(lab.state(), lost) if _is_agent(one))
        agent.send(signal.SIGKILL)
        assert processes.wait_gone([agent]) == []
        before = ballots_on(lab, other(lab, lost))
        start_s = time.monotonic()
        lab.faults.thaw(lost)
        lab.wait_for(lambda: not lab.agents.processes(lab.state(), lost), what="the guardian has done its work")
        probe.wait_answer(by=other(lab, lost))
        end_s = time.monotonic()
    assert serves_nothing(lab, lost)
    assert ballots_on(lab, other(lab, lost)) == before
    assert all(one.answered_by == [other(lab, lost)] for one in probe.outages(start_s=start_s, end_s=end_s))
    live_again(lab, lost)


def _is_agent(process: processes.Process) -> bool:
    return Path(f"/proc/{process.pid}/comm").read_text().strip() == "haagent-agent"


def ballots_on(lab: Lab, node: str) -> set[str]:
    return {str(group["ballot"]) for group in lab.agents.status(node)["groups"]}


SECOND_GROUP = """
groups:
  web: {prefer: [A, B]}
  db: {addresses: [10.20.1.101/24], interface: eth0, backend: arp, prefer: [A, B]}
"""


def test_what_a_reload_adds_is_let_go_of_as_well(make_lab: MakeLab, tmp_path: Path) -> None:
    """Over unicast: there a socket's port is not shared, and the guardian has copies of the sockets."""
    extra = tmp_path / "extra.yaml"
    extra.write_text("heartbeat: {transport: unicast}")
    lab = make_lab(nodes=2, links=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    file = lab.directory / "haagent.yaml"
    text = file.read_text()
    file.write_text(text.replace("groups:\n", SECOND_GROUP.lstrip()[:8] + SECOND_GROUP.splitlines()[3] + "\n"))
    for node in ("A", "B"):
        told(lab, node, "reload")
    wait_whole(lab)
    lost = holder(lab, "db")
    if holder(lab) != lost:
        told(lab, lost, "failover", "web", "--to", lost)
        wait_whole(lab, holders={"web": lost, "db": lost})
    # One of its links goes and comes back with another socket; the last words have to go over what is there then.
    lab.faults.link(lost, "down", link="eth1")
    lab.wait_for(lambda: len(member(lab, other(lab, lost), lost)["links"]) == 1, what="one link is lost")
    lab.faults.link(lost, "up", link="eth1")
    lab.wait_for(lambda: len(member(lab, other(lab, lost), lost)["links"]) == 2, what="both links carry heartbeats")
    start_s = time.monotonic()
    lab.faults.kill(lost)
    lab.wait_for(lambda: serves(lab, other(lab, lost), VIP4, VIP6, "10.20.1.101"), what="the other serves all")
    assert not {VIP4, VIP6, "10.20.1.101"} & addresses(lab, lost)
    assert "3 addresses were gone" in log(lab, lost)
    said = [one for one in events(lab, other(lab, lost)) if one["kind"] == "offline"]
    assert "lost its agent" in said[-1]["text"]
    assert time.monotonic() - start_s < 20


def test_a_kill_in_maintenance_leaves_nothing_in_place(make_lab: MakeLab) -> None:
    """Only a clean stop does: nobody knows what an agent was about when it was killed."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    lost = holder(lab)
    told(lab, lost, "maintenance", "on")
    lab.faults.kill(lost)
    assert serves_nothing(lab, lost)


STRIKE = """
import socket, sys
from haagent.guardian.kernel import Kernel
from haagent.kernel.netlink import Refused
kernel = Kernel()
try:
    print(kernel.strike([socket.inet_pton(socket.AF_INET6 if ":" in word else socket.AF_INET, word)
                         for word in sys.argv[1:]]))
except Refused as refused:
    print("refused:", refused)
"""


class TestKernel:
    def test_only_what_was_named_is_struck_wherever_it_is(self, make_lab: MakeLab) -> None:
        lab = make_lab(nodes=1, links=2, command=None)
        before = addresses(lab, "A")
        for address, link in (("10.20.1.100/24", "eth0"), ("10.20.1.100/32", "eth1"), ("10.20.1.200/24", "eth0")):
            lab.run("A", ["ip", "address", "add", address, "dev", link])
        lab.run("A", ["ip", "address", "add", f"{VIP6}/64", "dev", "eth0", "nodad"])
        assert lab.run("A", [sys.executable, "-c", STRIKE, VIP4, VIP6, "10.20.1.111"]).stdout == "3\n"
        assert addresses(lab, "A") == before | {"10.20.1.200"}
        assert lab.run("A", [sys.executable, "-c", STRIKE, VIP4, VIP6]).stdout == "0\n"
        assert lab.run("A", [sys.executable, "-c", STRIKE]).stdout == "0\n"

    def test_many_addresses_are_no_obstacle(self, make_lab: MakeLab) -> None:
        """More than one datagram of the kernel's list."""
        lab = make_lab(nodes=1, command=None)
        batch = "".join(f"address add 10.99.{number // 250}.{number % 250 + 1}/32 dev lo\n" for number in range(1000))
        lab.run("A", ["sh", "-c", f"printf '%s' '{batch}' | ip -batch -"])
        lab.run("A", ["ip", "address", "add", f"{VIP4}/24", "dev", "eth0"])
        assert lab.run("A", [sys.executable, "-c", STRIKE, VIP4, "10.99.3.250"]).stdout == "2\n"
        assert len(addresses(lab, "A")) > 999

    def test_many_addresses_are_struck_at_once(self, make_lab: MakeLab) -> None:
        """The queue has room for the acknowledgements of 277: more were refused, after they had been removed."""
        lab = make_lab(nodes=1, command=None)
        before = addresses(lab, "A")
        unwanted = [f"10.99.{number // 250}.{number % 250 + 1}" for number in range(600)]
        batch = "".join(f"address add {address}/32 dev lo\n" for address in unwanted)
        lab.run("A", ["sh", "-c", f"printf '%s' '{batch}' | ip -batch -"])
        assert lab.run("A", [sys.executable, "-c", STRIKE, *unwanted]).stdout == "600\n"
        assert addresses(lab, "A") == before

    def test_a_refusal_names_the_address(self, make_lab: MakeLab) -> None:
        lab = make_lab(nodes=1, command=None)
        lab.run("A", ["ip", "address", "add", f"{VIP4}/24", "dev", "eth0"])
        powerless = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--ambient-caps", "-all"]
        said = lab.run("A", [*powerless, sys.executable, "-c", STRIKE, VIP4]).stdout
        assert said == f"refused: cannot remove {VIP4}/24: Operation not permitted\n"
        assert VIP4 in addresses(lab, "A")


def test_ballots_do_not_go_back_over_a_death(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    lost = holder(lab)
    (before,) = ballots(lab)
    lab.faults.kill(lost)
    live_again(lab, lost)
    (after,) = ballots(lab)
    assert int(after.partition(".")[0]) > int(before.partition(".")[0])
