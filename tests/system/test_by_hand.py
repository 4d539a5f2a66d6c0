"""What the README says of two hosts, word for word, on two hosts that have nothing but Debian: no playbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haagent.lab.plan import CLIENT
from tests.system.cluster import Cluster
from tests.system.hosts import Theatre
from tests.system.packages import NEXT, PROJECT

VIP = "10.20.1.100"


def blocks() -> list[str]:
    """The commands of the README's section."""
    section = (PROJECT / "README.md").read_text().partition("\n## On two hosts\n")[2].partition("\n## ")[0]
    return [text.strip() for text in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def bare(theatre: Theatre) -> Iterator[Cluster]:
    """A Debian 12 and a Debian 13."""
    with theatre.bare(("A", "B"), suites={"B": "trixie"}) as cluster:
        yield cluster


def test_two_commands_of_the_readme_make_a_cluster(theatre: Theatre, bare: Cluster, tmp_path: Path) -> None:
    cluster = bare
    install, make, start = blocks()
    init, copy = make.splitlines()
    assert "haagent init " in init
    assert copy.startswith("scp ")
    init = re.sub(r"(--interface) \S+", r"\1 host0", init)  # "your interface"
    for name in cluster.hosts:
        scp(cluster, theatre.packages.present, f"{cluster.hosts[name].address}:/root/haagent_0_all.deb")
        run(cluster, name, f"cd /root && {install.replace('install', 'install -y', 1)}")
        assert not is_active(cluster, name)  # there is no configuration
    run(cluster, "A", init)
    carry(cluster, copy, work=tmp_path)
    enable, status = start.splitlines()
    for name in cluster.hosts:
        run(cluster, name, enable)
        assert is_active(cluster, name)  # the command is back when the agent has said that it works
    wait_served(theatre, cluster, by="A")
    assert "A" in run(cluster, "B", status)
    run(cluster, "B", "haagent failover --to B")
    wait_served(theatre, cluster, by="B")


def test_an_upgrade_by_apt_keeps_what_was_configured(theatre: Theatre, bare: Cluster) -> None:
    bare.wait_whole()
    host = bare.host("A")
    before = host.file("/etc/haagent/haagent.yaml").sha256sum
    scp(bare, theatre.packages.next, f"{bare.hosts['A'].address}:/root/next.deb")
    run(bare, "A", "cd /root && apt-get install -y ./next.deb")
    assert host.file("/etc/haagent/haagent.yaml").sha256sum == before
    assert is_active(bare, "A")
    assert NEXT in run(bare, "A", "haagent --version")
    bare.wait_whole()


def test_a_purge_leaves_nothing(bare: Cluster) -> None:
    for name in bare.hosts:
        run(bare, name, "apt-get purge -y haagent")
        assert run(bare, name, "find /etc /run /usr /var/lib /var/cache -path '*haagent*'") == ""
        host = bare.host(name)
        assert not host.user("haagent").exists
        assert not host.group("haagent").exists
        assert VIP not in host.interface("host0").addresses
        assert "haagent" not in run(bare, name, "nft list ruleset")


def wait_served(theatre: Theatre, cluster: Cluster, *, by: str) -> None:
    host = cluster.hosts[by]
    host.wait_for(lambda: serving(cluster) == dict.fromkeys(cluster.hosts, by), what=f"all say that {by} serves")
    for name in cluster.hosts:
        assert (VIP in cluster.host(name).interface("host0").addresses) == (name == by)
    theatre.stage.run(CLIENT, ["ping", "-n", "-c", "1", "-W", "5", VIP])


def run(cluster: Cluster, name: str, command: str) -> str:
    done = cluster.host(name).run(command)
    assert done.rc == 0, f"on {name}, `{command}`: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return str(done.stdout)


def is_active(cluster: Cluster, name: str) -> bool:
    return bool(cluster.host(name).run("systemctl is-active --quiet haagent").rc == 0)


def serving(cluster: Cluster) -> dict[str, str]:
    return {name: holder_seen_by(cluster.host(name)) for name in cluster.hosts}


def holder_seen_by(host: Any) -> str:
    done = host.run("haagent status --json")
    groups = json.loads(done.stdout)["groups"] if done.rc == 0 else []
    return "".join(str(group["holder"]) for group in groups if group["active"])


def carry(cluster: Cluster, command: str, *, work: Path) -> None:
    """The README's `scp`, by way of the operator: the hosts have no keys for each other."""
    *files, target = command.split()[1:]
    address, _, directory = target.rpartition("@")[2].partition(":")
    for file in files:
        scp(cluster, f"{cluster.hosts['A'].address}:{file}", f"{work}/")
        scp(cluster, work / Path(file).name, f"{address}:{directory}")


def scp(cluster: Cluster, source: str | Path, target: str) -> None:
    words = ["scp", "-q", "-F", str(cluster.ssh.config), str(source), target]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
