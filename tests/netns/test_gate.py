"""The gate on a real kernel, alone: held by one process on a host of a lab.

Who answers is what the client's prober sees, a millisecond apart; what a process, `ip` or `nft` says is not believed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haagent.lab import Lab, Measurement
from haagent.lab.answers import UNANSWERED
from haagent.lab.plan import CLIENT, VIP4, VIP6
from tests.netns.gate_sight import Owner, asked, bind, tables
from tests.support.observe import MakeLab, Measured, gap_ms, serves

pytestmark = pytest.mark.netns

LATE_MS = 30.0  # by how much a loaded machine may be late with anything that is judged here
ALL = {"arp", "probe", "unicast", "solicited", "directed"}


MakeOwner = Callable[..., Owner]


@pytest.fixture
def make_owner() -> Iterator[MakeOwner]:
    made: list[Owner] = []

    def make(lab: Lab, name: str, *words: str) -> Owner:
        made.append(Owner(lab, name, *words))
        return made[-1]

    yield make
    for owner in made:
        owner.close()


def pings(lab: Lab, source: str, target: str) -> bool:
    """Without what the host has learned from earlier silence."""
    words = f"ip neigh flush dev eth0; ping -c1 -W0.5 {target}"
    return lab.run(source, ["sh", "-c", words], checks=False).returncode == 0


def replies(probe: Measurement, vip: str) -> list[tuple[float, float]]:
    """When a probe was sent and when it was answered."""
    trace = next(trace for trace in probe.stop() if trace.address == vip)
    pairs = zip(trace.sent, trace.replied, strict=True)
    return [(trace.start_s + sent / 1e6, trace.start_s + back / 1e6) for sent, back in pairs if back > 0]


def last_reply(probe: Measurement, vip: str) -> float:
    return max(back for _, back in replies(probe, vip))


def answered_ms(probe: Measurement, vip: str) -> int:
    """In how many milliseconds the host answered what was put to it directly, whatever the client's tables say."""
    trace = next(trace for trace in probe.stop() if trace.address == vip)
    return sum(max(replies) != UNANSWERED for replies in zip(*trace.direct_replied.values(), strict=True))


def silence(lab: Lab, probe: Measurement) -> None:
    """Until the addresses have not been answered for a while."""
    lab.wait_for(
        lambda: all(time.monotonic() - last.at_s > 0.2 for last in probe.last().values()), what="nobody answers"
    )


def test_open_is_open_and_shut_is_shut(make_lab: MakeLab, make_owner: MakeOwner, measured: Measured) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    assert asked(lab, "A") == ALL
    owner = make_owner(lab, "A")
    assert owner.first == {"state": "shut", "why": "", "notes": [], "counters": {}, "shared": False}
    assert asked(lab, "A") == set()
    assert not pings(lab, CLIENT, VIP4)
    assert not pings(lab, "A", VIP6)  # nor from the host itself
    assert pings(lab, CLIENT, lab.state().plan.host("A").address)
    opened = owner.do("open", 600)
    measured("opening, from cold", f"{opened['took_us']:.0f} us")
    assert asked(lab, "A") == ALL
    assert pings(lab, CLIENT, VIP4)
    assert pings(lab, CLIENT, VIP6)
    assert pings(lab, "A", VIP4)
    assert pings(lab, "A", VIP6)
    owner.do("shut")
    assert asked(lab, "A") == set()
    assert not pings(lab, CLIENT, VIP6)
    owner.do("close")
    assert tables(lab, "A") == set()
    assert asked(lab, "A") == ALL


def test_the_owners_death_shuts_it_and_the_next_life_takes_it_over_shut(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    owner.do("open", 600)
    with lab.probe(asks_directly=False) as probe:
        probe.wait_answer(by="A")
        killed_s = owner.send(signal.SIGKILL)
        silence(lab, probe)
    for vip in (VIP4, VIP6):
        after_ms = 1000 * (last_reply(probe, vip) - killed_s)
        measured(f"last answer for {vip} after SIGKILL", f"{after_ms:.1f} ms")
        assert after_ms < LATE_MS
    assert serves(lab, "A")
    assert asked(lab, "A") == set()
    with lab.probe() as probe:
        heir = make_owner(lab, "A", "--adopting")  # it wants to adopt, and must not: that life was killed
        assert heir.first["state"] == "shut"
        heir.do("shut")
    assert (answered_ms(probe, VIP4), answered_ms(probe, VIP6)) == (0, 0)
    assert "error" not in heir.do("open", 600)
    assert asked(lab, "A") == ALL


def test_a_frozen_owners_gate_shuts_with_its_lease_and_not_before(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    owner.do("open", 600)
    with lab.probe(asks_directly=False) as probe:
        probe.wait_answer(by="A")
        until_s = owner.do("open", 0.7)["until_s"]
        owner.send(signal.SIGSTOP)
        silence(lab, probe)
        owner.send(signal.SIGCONT)
        assert owner.do("facts")["state"] == "shut"
    for vip in (VIP4, VIP6):
        early_ms = 1000 * (until_s - last_reply(probe, vip))
        measured(f"last answer for {vip} before the lease's end", f"{early_ms:.1f} ms")
        assert -LATE_MS < early_ms < 100 + LATE_MS


def test_renewing_keeps_it_open_and_a_late_renewal_of_a_thawed_owner_opens_nothing(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    with lab.probe(asks_directly=False) as probe:
        owner.do("open", 0.35)
        owner.do("keep", 0.35)
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        time.sleep(1.5)  # four leases
        end_s = time.monotonic()
        owner.do("shut")
        silence(lab, probe)
        shut_s = time.monotonic()
        owner.do("renew", 600)
        time.sleep(0.1)
    worst = max(gap_ms(one) for one in probe.outages(start_s=start_s, end_s=end_s))
    measured("worst gap while renewed", f"{worst:.1f} ms")
    assert worst < 100 + LATE_MS
    assert last_reply(probe, VIP4) < shut_s
    assert last_reply(probe, VIP6) < shut_s


@pytest.mark.parametrize("words", [(), ("--shared",)], ids=["owned", "as before 6.9"])
def test_another_program_that_flushes_all_rules_opens_nothing_for_long(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured, words: tuple[str, ...]
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A", *words)
    assert owner.first["shared"] is bool(words)
    before = tables(lab, "A")

    def rebuilt() -> int:
        return int(owner.do("facts")["counters"].get("rebuilt", 0))

    with lab.probe() as probe:
        for count in range(1, 4):
            lab.run("A", ["nft", "flush ruleset"])
            lab.wait_for(lambda count=count: rebuilt() >= (count if words else 0), what="it is rebuilt")  # type: ignore[misc]
            assert tables(lab, "A") == before
    opened_ms = max(answered_ms(probe, VIP4), answered_ms(probe, VIP6))
    measured("answered while shut and flushed three times", f"{opened_ms} ms")
    assert opened_ms <= (3 * 100 if words else 0)
    assert asked(lab, "A") == set()
    with lab.probe(asks_directly=False) as probe:
        owner.do("open", 600)
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        lab.run("A", ["nft", "flush ruleset"])
        probe.wait_answer(by="A")
    assert max(gap_ms(one) for one in probe.outages(start_s=start_s)) < LATE_MS
    said = owner.do("facts")["notes"]
    assert len(said) == (1 if words else 0), said
    assert all("nft flush ruleset" in text for text in said)


def test_a_large_firewall_being_loaded_neither_shuts_it_nor_makes_it_outlive_the_lease(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured, tmp_path: Path
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    elements = ", ".join(f"10.{one}.{two}.{three}" for one in range(2) for two in range(100) for three in range(250))
    rules = tmp_path / "rules.nft"
    rules.write_text(f"table ip large {{\n set s {{ type ipv4_addr; elements = {{ {elements} }}\n }}\n}}\n")
    with lab.probe(asks_directly=False) as probe:
        owner.do("open", 1.0)
        owner.do("keep", 1.0)
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        for _ in range(2):
            lab.run("A", ["nft", "-f", str(rules)])
            lab.run("A", ["nft", "delete table ip large"])
        probe.wait_answer(by="A")
    worst = gap_ms(probe.outage(VIP4, start_s=start_s))
    measured("worst gap while 50,000 elements are loaded and removed, twice", f"{worst:.1f} ms")
    assert worst < 300 + LATE_MS
    assert owner.do("facts")["state"] == "open"


def test_a_node_that_forwards_to_the_holder_goes_on_doing_so(make_lab: MakeLab, make_owner: MakeOwner) -> None:
    lab = make_lab(nodes=2, command=None)
    bind(lab, "A")
    make_owner(lab, "A").do("open", 600)
    make_owner(lab, "B")  # gated there, and shut
    lab.faults.cut("A", CLIENT)  # A and the client reach each other through B alone
    plan = lab.state().plan
    lab.run("B", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"])
    ways = [
        (CLIENT, f"{VIP4}/32", plan.host("B").address),
        ("A", "10.20.1.1/32", plan.host("B").address),
        (CLIENT, f"{VIP6}/128", "fd00:20::11"),
        ("A", "fd00:20::1/128", "fd00:20::11"),
    ]
    for host, target, gateway in ways:
        lab.run(host, ["ip", "route", "replace", target, "via", gateway, "dev", "eth0"])
    assert pings(lab, CLIENT, VIP4)
    assert pings(lab, CLIENT, VIP6)
    bind(lab, "B")  # now they would be delivered there
    assert not pings(lab, CLIENT, VIP4)
    assert not pings(lab, CLIENT, VIP6)


MARKS = """
table inet t {
  chain before { type filter hook prerouting priority -400
    meta l4proto { icmp, ipv6-icmp } meta mark set VALUE
  }
  chain after { type filter hook prerouting priority -299
    meta mark VALUE ip daddr 10.20.1.10 icmp type echo-request counter comment "own"
    meta mark VALUE ip daddr 10.20.1.100 icmp type echo-request counter comment "vip"
    meta mark VALUE ip6 daddr fd00:20::100 icmpv6 type echo-request counter comment "vip6"
  }
}
"""


@pytest.mark.parametrize("value", ["0xefffffff", "0xffffffff"])
def test_marks_of_others_stay_and_open_nothing(make_lab: MakeLab, make_owner: MakeOwner, value: str) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    lab.run("A", ["nft", MARKS.replace("VALUE", value)])
    assert not pings(lab, CLIENT, VIP4)  # not even with our own bit in it
    assert not pings(lab, CLIENT, VIP6)
    owner.do("open", 600)
    own = lab.state().plan.host("A").address
    assert all(pings(lab, CLIENT, target) for target in (own, VIP4, VIP6))
    listed = json.loads(lab.run("A", ["nft", "-j", "list chain inet t after"]).stdout)["nftables"]
    rules = [one["rule"] for one in listed if "rule" in one]
    counted = {
        rule["comment"]: next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
        for rule in rules
    }
    has_our_bit = int(value, 0) & 0x10000000
    assert counted["own"] >= 1  # packets of other addresses are not touched at all
    assert (counted["vip"] >= 1, counted["vip6"] >= 1) == (not has_our_bit, not has_our_bit)


def test_leaving_in_maintenance_and_adopting_leave_no_gap(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured
) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    with lab.probe(asks_directly=False) as probe:
        owner.do("open", 600)
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        owner.do("close")
        assert tables(lab, "A") == set()
        owner.send(signal.SIGKILL)
        heir = make_owner(lab, "A", "--adopting")
        assert heir.first["state"] == "open"
        assert "adopt" in heir.first["why"] or "earlier life" in heir.first["why"]
        probe.wait_answer(by="A")
        heir.do("open", 600)
        probe.wait_answer(by="A")
        end_s = time.monotonic()
        heir.do("shut")
        silence(lab, probe)
    worst = max(gap_ms(one) for one in probe.outages(start_s=start_s, end_s=end_s))
    measured("worst gap", f"{worst:.1f} ms")
    assert worst < LATE_MS


def test_a_twin_on_the_same_host_can_serve_nothing(make_lab: MakeLab, make_owner: MakeOwner) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    owner.do("open", 600)
    twin = make_owner(lab, "A")
    assert twin.first["state"] == "unavailable"
    assert "nothing can be served" in twin.first["notes"][0]
    assert "another process owns" in twin.do("open", 600)["error"]
    assert asked(lab, "A") == ALL  # the first is not disturbed
    owner.send(signal.SIGKILL)
    assert asked(lab, "A") == set()
    assert twin.do("open", 600)["state"] == "open"
    assert asked(lab, "A") == ALL


def test_a_rehearsal_opens_nothing_and_shuts_nothing(make_lab: MakeLab, make_owner: MakeOwner) -> None:
    lab = make_lab(nodes=1, command=None)
    bind(lab, "A")
    owner = make_owner(lab, "A")
    with lab.probe() as probe:
        said = owner.do("rehearse")
        assert (said["state"], said["notes"]) == ("shut", [])
        assert asked(lab, "A") == set()
        owner.do("open", "60")
        probe.wait_answer(by="A")
        open_s = time.monotonic()
        assert owner.do("rehearse")["state"] == "open"
        probe.wait_answer(by="A", since_s=time.monotonic())
        end_s = time.monotonic()
    for vip in (VIP4, VIP6):
        assert gap_ms(probe.outage(vip, start_s=open_s, end_s=end_s)) <= LATE_MS
    assert "0.0.0.0" not in lab.run("A", ["nft", "list", "ruleset"]).stdout


def open_in_the_kernel(lab: Lab) -> int:
    found = json.loads(lab.run("A", ["nft", "-j", "list", "set", "ip", "haagent_key", "open"]).stdout)
    (listed,) = [one["set"] for one in found["nftables"] if "set" in one]
    return len(listed.get("elem", []))


def test_a_thousand_addresses_are_opened_renewed_and_shut_at_once(
    make_lab: MakeLab, make_owner: MakeOwner, measured: Measured
) -> None:
    """One batch, one acknowledgement: a thousand of them, or a thousand refusals, do not fit into a socket's queue."""
    lab = make_lab(nodes=1, command=None)
    owner = make_owner(lab, "A", "--many")
    assert owner.first["state"] == "shut", owner.first
    opened = owner.do("open", 3)
    assert opened["state"] == "open", opened
    assert open_in_the_kernel(lab) == 1001
    owner.do("keep", 3)
    lab.wait_for(lambda: time.monotonic() > opened["until_s"] + 0.2, what="the first time-out has passed")
    kept = owner.do("facts")
    assert (kept["state"], kept["notes"], kept["counters"]) == ("open", [], {})
    assert open_in_the_kernel(lab) == 1001

    owner.send(signal.SIGSTOP)  # until all have lapsed: then each of them is refused
    lab.wait_for(lambda: open_in_the_kernel(lab) == 0, what="all have lapsed")
    owner.send(signal.SIGCONT)
    lab.wait_for(lambda: open_in_the_kernel(lab) == 1001, what="all are open again, for the lease goes on")
    shut = owner.do("shut")
    assert (shut["state"], open_in_the_kernel(lab)) == ("shut", 0)
    measured(
        "1,001 addresses opened and shut at once", f"{opened['took_us'] / 1e3:.1f} and {shut['took_us'] / 1e3:.1f} ms"
    )


def test_what_is_measured(make_lab: MakeLab, make_owner: MakeOwner, measured: Measured) -> None:
    """No bounds: figures for whoever reads the run's output."""
    lab = make_lab(nodes=1, command=None)
    program = "import tests.netns.gate_cost as cost; cost.main()"
    done = subprocess.run(
        lab.command_line("A", [sys.executable, "-c", program]), capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        measured(*line.split(": ", 1))
