"""`coordination: {etcd: ...}`: what it changes elsewhere in the file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from haagent.agent.reload import refuse_what_needs_a_restart
from haagent.cli.layout import status_text
from haagent.cli.style import Style
from haagent.config import Config, ConfigError, parse
from haagent.config.coordination import CoordinationConfig
from haagent.coordination.gateway import open_gateway
from haagent.coordination.source import NoArbiter, arbiter_of
from tests.support.small_agent import SINCE, SmallAgent
from tests.unit.config.test_config_faults import faults_of, the_fault

FILE = """\
cluster: shop
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}
heartbeat: {interfaces: [eth0]%s}
groups: {web: {addresses: [10.20.1.100/24]}}
coordination: {etcd: {%s}}
"""
ENDPOINT = 'endpoints: ["http://10.20.1.20:2379"]'


def file(etcd: str = ENDPOINT, heartbeat: str = "") -> str:
    return FILE % (heartbeat, etcd)


def config(etcd: str = ENDPOINT, heartbeat: str = "") -> Config:
    return parse(file(etcd, heartbeat).encode(), "/etc/haagent/haagent.yaml", node="A")


def test_two_nodes_are_enough_for_consistent_and_the_lease_survives_a_change_of_leader() -> None:
    found = config()
    assert (found.on_partition, found.heartbeat.lease_s, found.heartbeat.interval_s) == ("consistent", 3.0, 0.1)
    assert (found.settings().arbiter, found.settings().consistent) == ("etcd", True)
    etcd = found.coordination.etcd
    assert etcd is not None
    assert (etcd.prefix, etcd.timeout_s) == ("/haagent/", 0.5)
    assert not etcd.uses_tls


def test_a_lease_may_be_written_and_a_long_interval_has_its_own() -> None:
    assert config(heartbeat=", lease: 350ms").heartbeat.lease_s == 0.35
    assert config(heartbeat=", interval: 2s").heartbeat.lease_s == 7.0


def test_without_it_nothing_is_different() -> None:
    text = file().replace("coordination:", "#")
    found = parse(text.encode(), "haagent.yaml", node="A")
    assert (found.coordination.etcd, found.on_partition, found.heartbeat.lease_s) == (None, "available", 0.35)
    assert parse(text.replace("#", "coordination: {}\n#").encode(), "haagent.yaml", node="A").coordination.etcd is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://10.20.1.20", "http://10.20.1.20:2379"),
        ("https://etcd1.example:4001/", "https://etcd1.example:4001"),
        ("http://[fd00:20::20]:2379", "http://[fd00:20::20]:2379"),
    ],
)
def test_endpoints(written: str, read: str) -> None:
    found = config(f'endpoints: "{written}"').coordination.etcd
    assert found is not None
    assert found.endpoints == (read,)


@pytest.mark.parametrize(
    ("etcd", "path", "words"),
    [
        ("prefix: /x/", "coordination.etcd.endpoints", "missing"),
        ("endpoints: 10.20.1.20:2379", "coordination.etcd.endpoints", "does not say whether it is TLS"),
        ('endpoints: ["ftp://10.20.1.20"]', "coordination.etcd.endpoints[0]", "is not the URL of an etcd"),
        ('endpoints: ["http://10.20.1.20/v3"]', "coordination.etcd.endpoints[0]", "is not the URL of an etcd"),
        ('endpoints: ["http://10.20.1.20:99999"]', "coordination.etcd.endpoints[0]", "is not a URL"),
        ('endpoints: ["http://u:p@10.20.1.20"]', "coordination.etcd.endpoints[0]", "is not the URL of an etcd"),
        (f"{ENDPOINT}, prefix: haagent", "coordination.etcd.prefix", "cannot be a prefix"),
        (f"{ENDPOINT}, user: ha", "coordination.etcd.password_file", "missing, and there is `user`"),
        (f"{ENDPOINT}, password_file: /x", "coordination.etcd.user", "missing, and there is `password_file`"),
        (f"{ENDPOINT}, tls: {{ca: /x}}", "coordination.etcd.tls", "no endpoint has TLS"),
        ('endpoints: "https://e", tls: {cert: /x}', "coordination.etcd.tls.key", "missing, and there is `cert`"),
        (f"{ENDPOINT}, timeout: 1100ms", "coordination.etcd.timeout", "too long for a lease of 3s"),
        (f"{ENDPOINT}, endpoint: x", "coordination.etcd.endpoint", "unknown key"),
    ],
)
def test_faults(etcd: str, path: str, words: str) -> None:
    fault = the_fault(file(etcd))
    assert (fault.path, words in fault.message) == (path, True), fault


def test_another_arbiter_is_not_known() -> None:
    assert the_fault(file().replace("etcd:", "consul:")).path == "coordination.consul"


def test_faults_of_the_file_are_told_together() -> None:
    assert len(faults_of(file("endpoints: nowhere, prefix: x, user: u"))) == 3


def test_files_that_cannot_be_used_are_told_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no certificate")
    secret = tmp_path / "password"
    secret.write_text("pass\n")
    secret.chmod(0o644)
    etcd = f'endpoints: "https://e", user: u, password_file: {secret}, tls: {{ca: {tmp_path}/ca, cert: /no, key: /no}}'
    with pytest.raises(ConfigError) as caught:
        open_gateway(config(etcd))
    paths = [fault.path for fault in caught.value.faults]
    assert paths == [
        "coordination.etcd.password_file",
        "coordination.etcd.tls.ca",
        "coordination.etcd.tls.cert",
    ]
    assert "pass" not in str(caught.value).replace("password", "")


def test_where_nothing_is_configured_nothing_is_asked() -> None:
    found = parse(file().replace("coordination:", "#").encode(), "haagent.yaml", node="A")
    arbiter = arbiter_of(found, boot=1, post=lambda _: None, now=lambda: 0.0, background=lambda _: None)
    assert isinstance(arbiter, NoArbiter)
    assert arbiter.status() == {"coordination": None}


def test_a_reload_may_name_other_endpoints_but_no_other_keys() -> None:
    refuse_what_needs_a_restart(config(), config('endpoints: "http://10.20.1.21"'), config().nodes)
    for before, after in ((config(), config(f"{ENDPOINT}, prefix: /x/")), (config(), _without())):
        with pytest.raises(ConfigError, match="stop all agents") as caught:
            refuse_what_needs_a_restart(before, after, before.nodes)
        assert [fault.path for fault in caught.value.faults] == ["coordination"]


def _without() -> Config:
    return msgspec.structs.replace(config(), coordination=CoordinationConfig())


REACHED = {"kind": "etcd", "reachable": True, "fault": "", "round_trip_ms": 1.234, "worst_round_trip_ms": 3.0}
LOST = REACHED | {"reachable": False, "fault": "10.20.1.20:2379: connection refused"}
WHY = "etcd cannot be reached (10.20.1.20:2379: connection refused)"


def told(facts: dict[str, object], **view: object) -> tuple[str, str]:
    """The first line of `status`, and the warnings."""
    agent = SmallAgent()
    agent.config, agent.arbiter = config(), facts
    agent.now = msgspec.structs.replace(agent.now, arbiter="etcd", **view)
    found = agent.status()
    text = status_text(found, style=Style(), now=SINCE, width=200)
    return text.splitlines()[0], " ".join(found["warnings"])


def test_status_tells_where_leases_come_from_and_how_long_that_takes() -> None:
    head, warnings = told(REACHED)
    assert head.endswith("on_partition consistent, leases from etcd (1.2 ms).")
    assert "etcd" not in warnings


def test_status_warns_of_an_etcd_that_is_too_slow_for_the_lease() -> None:
    _, warnings = told(REACHED | {"worst_round_trip_ms": 900.0})
    assert "etcd took 900 ms to answer at worst" in warnings
    assert "a lease of 3000 ms needs it within 750 ms" in warnings


def test_status_tells_what_it_means_that_etcd_is_lost() -> None:
    head, warnings = told(LOST, arbiter_fault=WHY, quorate=False)
    assert "no leases from etcd" in head
    assert f"No leases: {WHY}. Until it answers, A releases each group when its lease ends" in warnings
    assert "No quorum" not in warnings
    _, warnings = told(LOST, arbiter_fault=WHY, consistent=False)
    assert "The nodes' own votes decide until it answers" in warnings
