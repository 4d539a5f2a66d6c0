"""A file becomes a `Config`, and nothing in it was adjusted on the way."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest
import yaml

from haagent.backends.arp import ArpOptions
from haagent.checks.link import LinkOptions
from haagent.config import Config, ConfigError, HooksConfig, check, load, parse
from haagent.config.whoami import named_like, owns
from haagent.core.settings import LEADER, GroupSettings

SMALL = """
cluster: shop
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}
heartbeat: {interfaces: [eth0]}
groups:
  web:
    addresses: [10.20.1.100/24, "fd00:20::100/64"]
"""

FULL = """
cluster: shop
key_file: [/etc/haagent/new.key, /etc/haagent/old.key]
nodes:
  A: {addresses: [10.20.1.10, 10.30.1.10]}
  B: {addresses: [10.20.1.11, 10.30.1.11]}
  W: {addresses: [10.20.1.12, 10.30.1.12], witness: true}
heartbeat:
  transport: unicast
  port: 7000
  interfaces: [eth0, eth1]
  interval: 50ms
  lease: 200ms
on_partition: consistent
alone_after: 1s
failure_expiry: 2m
groups:
  web:
    addresses: [10.20.1.100]
    interface: eth0
    backend: {kind: arp}
    prefer: [B, A]
    failback: {after: 30s}
    checks:
      nic: {kind: link, interface: eth0}
    hooks: {taken: /etc/haagent/hooks/taken, timeout: 3s}
  db:
    addresses: fd00:20::5
    interface: eth1
"""


def read(text: str, *, node: str | None = None) -> Config:
    return parse(text.encode(), "test.yaml", node=node)


def test_a_small_file_is_completed_by_documented_defaults() -> None:
    config = read(SMALL)
    assert config.on_partition == "available"
    assert config.key_files == ("/etc/haagent/cluster.key",)
    assert (config.heartbeat.transport, config.heartbeat.group) == ("multicast", "239.192.72.65")
    assert (config.heartbeat.port, config.heartbeat.interfaces) == (7265, ("eth0",))
    assert (config.heartbeat.interval_s, config.heartbeat.lease_s) == (0.1, 0.35)
    assert (config.alone_after_s, config.failure_expiry_s) == (5.0, 600.0)
    web = config.groups["web"]
    assert web.interface == "eth0"
    assert web.addresses == (
        ipaddress.ip_interface("10.20.1.100/24"),
        ipaddress.ip_interface("fd00:20::100/64"),
    )
    assert (web.backend.kind, web.backend.options) == ("arp", ArpOptions())
    assert (web.prefer, web.failback_after_s, web.checks, web.hooks) == ((), None, (), HooksConfig())


def test_everything_that_is_written_arrives() -> None:
    config = read(FULL)
    assert config.key_files == ("/etc/haagent/new.key", "/etc/haagent/old.key")
    assert config.nodes["A"].addresses == ("10.20.1.10", "10.30.1.10")
    assert [node.witness for node in config.nodes.values()] == [False, False, True]
    assert config.heartbeat.group == ""
    assert config.heartbeat.interfaces == ("eth0", "eth1")
    web, db = config.groups["web"], config.groups["db"]
    assert str(web.addresses[0]) == "10.20.1.100/32"
    assert str(db.addresses[0]) == "fd00:20::5/128"
    assert web.prefer == ("B", "A")
    assert web.failback_after_s == 30.0
    assert [(each.name, each.kind, each.options) for each in web.checks] == [("nic", "link", LinkOptions("eth0"))]
    assert web.hooks == HooksConfig(taken="/etc/haagent/hooks/taken", timeout_s=3.0)


def test_settings_of_the_core_have_the_leader_last() -> None:
    settings = read(FULL, node="B").settings()
    assert settings.me == "B"
    assert settings.groups[-1] == GroupSettings(LEADER)
    numbered = {0x0A140164: "10.20.1.100"}
    assert settings.groups[0] == GroupSettings("web", ("B", "A"), failback_after_s=30.0, addresses=numbered)
    assert (settings.interval_s, settings.lease_s, settings.consistent) == (0.05, 0.2, True)
    assert settings.witnesses == ("W",)
    assert settings.config_hash == read(FULL).digest


@pytest.mark.parametrize(
    ("voters", "expected"), [(1, "available"), (2, "available"), (3, "consistent"), (4, "consistent")]
)
def test_on_partition_is_consistent_from_three_voters(voters: int, expected: str) -> None:
    content = yaml.safe_load(SMALL)
    content["nodes"] = {f"n{number}": {"address": f"10.20.1.{number}"} for number in range(1, voters + 1)}
    assert read(yaml.safe_dump(content)).on_partition == expected


def test_alone_after_grows_with_a_long_lease() -> None:
    config = read(SMALL.replace("[eth0]", "[eth0], interval: 2s"))
    assert (config.heartbeat.lease_s, config.alone_after_s) == (7.0, 14.0)


def test_the_digest_ignores_comments_and_order_and_nothing_else() -> None:
    digest = read(SMALL).digest
    content = yaml.safe_load(SMALL)
    assert read("# a comment\n" + yaml.safe_dump(content, sort_keys=True)).digest == digest
    assert read(SMALL, node="A").digest == read(SMALL, node="B").digest == digest
    assert read(SMALL.replace("10.20.1.100", "10.20.1.101")).digest != digest
    assert len(digest) == 16


def test_names_are_the_text_that_is_written() -> None:
    text = SMALL.replace("  A:", "  no:").replace("  B:", "  010:").replace("cluster: shop", "cluster: 1")
    config = read(text)
    assert (config.cluster, list(config.nodes)) == ("1", ["no", "010"])


def test_an_alias_is_expanded() -> None:
    text = SMALL.replace("[eth0]", "&nics [eth0]") + "    prefer: &order [A, B]\n"
    text += "  db: {addresses: 10.20.1.101/24, prefer: *order}\n"
    assert read(text).groups["db"].prefer == ("A", "B")


def test_insecure_has_no_keys() -> None:
    assert read(SMALL.replace("[eth0]", "[eth0], insecure: true")).key_files == ()


def test_load_and_check_read_files(tmp_path: Path) -> None:
    file = tmp_path / "haagent.yaml"
    file.write_text(SMALL)
    assert check(str(file)).me == ""
    assert load(str(file), node="B").me == "B"
    assert load(str(file), node="B").path == str(file)
    assert [peer.name for peer in load(str(file), node="B").peers] == ["A"]


class TestWhoAmI:
    def test_an_unknown_node_is_answered_with_the_nearest(self, tmp_path: Path) -> None:
        file = tmp_path / "haagent.yaml"
        file.write_text(SMALL.replace("  A:", "  alpha:").replace("  B:", "  beta:"))
        with pytest.raises(ConfigError) as caught:
            load(str(file), node="alpa")
        assert str(caught.value) == (f"{file}:3: nodes: `alpa`, said with --node, is not a node; did you mean `alpha`?")

    def test_by_host_name(self, tmp_path: Path) -> None:
        host = socket.gethostname().split(".")[0]
        file = tmp_path / "haagent.yaml"
        file.write_text(SMALL.replace("  A:", f"  {host.upper()}:"))
        assert load(str(file)).me == host.upper()

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("db1", ["db1.example.com", "db1.example.org"]),
            ("db1.example.com", ["db1.example.com"]),
            ("WEB", ["web"]),
            ("web.example.com", ["web"]),
            ("other", []),
            ("", []),
        ],
    )
    def test_full_name_before_short_name(self, host: str, expected: list[str]) -> None:
        assert named_like(host, ["db1.example.com", "db1.example.org", "web"]) == expected

    def test_by_address(self, tmp_path: Path) -> None:
        text = SMALL.replace("10.20.1.10}", "127.0.0.1}").replace("{address: 10.20.1.11}", "{}")
        file = tmp_path / "haagent.yaml"
        file.write_text(text.replace("  A:", "  here-by-address:"))
        assert load(str(file)).me == "here-by-address"

    def test_addresses_of_others_are_not_ours(self) -> None:
        assert owns("127.0.0.1")
        assert not owns("192.0.2.1")
        assert not owns("2001:db8::1")
        assert not owns("fe80::1%nowhere")

    def test_not_found_lists_the_nodes(self, tmp_path: Path) -> None:
        file = tmp_path / "haagent.yaml"
        file.write_text(SMALL.replace("10.20.1.1", "192.0.2.").replace("192.0.2.00", "192.0.2.100"))
        with pytest.raises(ConfigError) as caught:
            load(str(file))
        assert "is none of the nodes A, B" in str(caught.value)
        assert "--node NAME" in str(caught.value)
