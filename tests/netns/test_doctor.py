"""The doctor on real hosts: silent where all is well, and one finding for each fault that is made."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from haagent.lab import Lab, Wishes
from haagent.lab.plan import CLIENT, SWITCH, VIP4, VIP6
from tests.support.observe import MakeLab, Measured, wait_whole

pytestmark = pytest.mark.netns
Found = dict[str, list[dict[str, Any]]]


def examined(lab: Lab, node: str, *words: str) -> tuple[int, Found, float]:
    """Exit status, what each check found, and how long it took."""
    config = lab.environment_on(node)["HAAGENT_CONFIG"]
    begin = time.monotonic()
    done = lab.run(node, ["haagent", "doctor", "--config", config, "--node", node, "--json", *words], checks=False)
    took_s = time.monotonic() - begin
    assert done.stderr == ""
    found: Found = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return done.returncode, found, took_s


def kinds(found: Found, check: str) -> list[str]:
    return [finding["severity"] for finding in found.get(check, [])]


def kill(lab: Lab, node: str) -> None:
    lab.agents.signal(node, signal.SIGTERM)
    lab.wait_for(lambda: not lab.agents.processes(lab.state(), node), what=f"the agent of {node} has ended")


def sysctl(lab: Lab, node: str, *settings: str) -> None:
    lab.run(node, ["sysctl", "-qw", *settings])


def test_nothing_is_wrong_with_a_healthy_node(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    status, found, took_s = examined(lab, "A")
    measured("with an agent", f"{took_s:.2f} s")
    serious = [one for check in found.values() for one in check if one["severity"] in ("error", "warning")]
    # How late this host wakes anybody is not the lab's fault, and a check that was not over says so.
    assert [one for one in serious if one["check"] != "jitter" and "not over" not in one["what"]] == []
    assert "hear each other over eth0" in found["heartbeats"][0]["what"]

    kill(lab, "B")
    status, found, took_s = examined(lab, "B")
    measured("without one", f"{took_s:.2f} s")
    assert status == 0 or kinds(found, "jitter") == ["error"]
    assert [kinds(found, check) for check in ("gate", "heartbeats", "peers", "neighbours")] == [["ok"]] * 4
    assert "A holds it" in found["neighbours"][0]["what"]
    assert not lab.run("B", ["nft", "list", "tables"]).stdout  # looking left nothing behind


def test_every_fault_is_found(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, links=2, wishes=Wishes(extra=""))
    wait_whole(lab)
    for node in "AB":
        kill(lab, node)
    lab.run("B", ["sh", "-c", _FAULTS])
    sysctl(lab, "B", "net.ipv4.conf.eth1.rp_filter=1", "net.ipv4.conf.all.arp_ignore=8")
    lab.run(CLIENT, ["ip", "address", "add", VIP4, "dev", "eth0"])
    try:
        status, found, _ = examined(lab, "B")
    finally:
        lab.run(CLIENT, ["ip", "address", "del", VIP4, "dev", "eth0"])
    assert status == 1
    expected = {
        "rp_filter": "eth1 drops what comes from A",
        "arp": "arp_ignore is 8",
        "heartbeats": "a firewall of this host drops UDP port",
        "firewall": "chain inet site input drops by default",
        "neighbours": "no node is known to hold it",
        "interfaces": "MTU of 1000",
        "agent": "no agent runs here",
    }
    for check, text in expected.items():
        assert any(text in finding["what"] for finding in found[check]), found[check]


# A route that leads A's second address over the first link, a small MTU, and a firewall that knows nothing of us.
_FAULTS = """
set -e
ip route add 10.20.2.10/32 dev eth0
ip link set eth1 mtu 1000
nft -f - <<END
table inet site {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport 22 accept
    }
}
END
"""


def test_another_key_another_file_and_no_ipv6(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    kill(lab, "B")
    sysctl(lab, "B", "net.ipv6.conf.eth0.disable_ipv6=1")
    directory = lab.directory / "strange"
    directory.mkdir()
    text = (lab.directory / "haagent.yaml").read_text()
    (directory / "haagent.yaml").write_text(text.replace(str(lab.directory / "cluster.key"), str(directory / "key")))
    lab.run("B", ["haagent", "keygen", str(directory / "key")])
    status, found, _ = examined(lab, "B", "--config", str(directory / "haagent.yaml"))
    assert status == 1
    assert "sealed with a key" in found["heartbeats"][0]["what"]
    assert kinds(found, "ipv6") == ["error"]

    # The same key, and a file that differs.
    (directory / "haagent.yaml").write_text(text + "failure_expiry: 7m\n")
    lab.run("B", ["ip", "link", "set", "eth0", "mtu", "1500"])
    _, found, _ = examined(lab, "B", "--config", str(directory / "haagent.yaml"))
    assert "a different configuration" in found["peers"][0]["what"]

    lab.run("B", ["ip", "link", "set", "eth0", "down"])
    status, found, _ = examined(lab, "B")
    assert (status, kinds(found, "interfaces")) == (1, ["error"])


@pytest.mark.parametrize("heartbeat", ["{group: 239.192.72.65}", "{group: 'ff15::7265'}"])
def test_whether_anybody_asks_who_listens_to_multicast(make_lab: MakeLab, tmp_path: Path, heartbeat: str) -> None:
    """The switch begins to snoop and to ask. Nobody has to wait for its next question of its own accord."""
    extra = tmp_path / "extra.yaml"
    extra.write_text(f"heartbeat: {heartbeat}\n")
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    wait_multicast(lab, "info", what="nobody is heard to ask")
    sysctl(lab, SWITCH, "net.ipv6.conf.br0.disable_ipv6=0")  # it asks with its own address
    lab.run(SWITCH, ["ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1"])
    wait_multicast(lab, "ok", what="the switch is heard to ask")


def wait_multicast(lab: Lab, severity: str, *, what: str) -> None:
    lab.wait_for(lambda: kinds(examined(lab, "A")[1], "multicast") == [severity], what=what, within_s=30)


def test_a_stranger_on_ipv6_and_a_frozen_agent(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    lab.faults.freeze("B")
    _, found, _ = examined(lab, "B")
    assert "frozen or overloaded" in found["agent"][0]["what"]
    lab.faults.thaw("B")
    for node in "AB":
        kill(lab, node)
    lab.run(CLIENT, ["ip", "address", "add", VIP6, "dev", "eth0", "nodad"])
    try:
        _, found, _ = examined(lab, "A")
    finally:
        lab.run(CLIENT, ["ip", "address", "del", VIP6, "dev", "eth0"])
    assert VIP6 in found["neighbours"][0]["what"]
