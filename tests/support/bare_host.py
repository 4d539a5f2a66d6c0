"""A host made of files and facts, to be examined by the doctor, and what one of its checks finds there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from haagent import __version__
from haagent.config import parse, write_key
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding
from haagent.kernel.facts import Link, Seen

CONFIG = """
cluster: shop
key_file: {key}
nodes:
  A: {{address: 10.20.1.10}}
  B: {{address: 10.20.1.11}}
heartbeat: {{interfaces: [eth0], interval: 100ms}}
groups:
  web: {{addresses: [10.20.1.100/24, "fd00:20::100/64"], interface: eth0}}
"""
MAC = bytes.fromhex("020000000001")
Look = Callable[[Subject], Iterator[Finding] | AsyncIterator[Finding]]


def link(name: str, index: int, *, is_up: bool = True, has_carrier: bool = True, is_ethernet: bool = True) -> Link:
    return Link(index, name, MAC, is_up=is_up, has_carrier=has_carrier, is_ethernet=is_ethernet)


def seen(address: str, prefix: int, index: int) -> Seen:
    return Seen(ip_address(address).packed, prefix, index, tag=0, label="", raw=b"")


def bare_host(tmp_path: Path) -> Subject:
    """Node A, on a host that has nothing but eth0, and no agent."""
    key = tmp_path / "cluster.key"
    write_key(str(key))
    config = parse(CONFIG.format(key=key).encode(), "shop.yaml", node="A", is_member=True)
    made = Subject(config, state_dir=str(tmp_path / "state" / "of" / "agent"), root=tmp_path / "root")
    (tmp_path / "root").mkdir()
    made.links = {"eth0": link("eth0", 2)}
    made.addresses = (seen("10.20.1.10", 24, 2), seen("fd00:20::10", 64, 2))
    made.is_privileged = True
    return made


def put(subject: Subject, path: str, text: str) -> None:
    file = subject.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def sysctl(subject: Subject, name: str, value: int, *, interface: str = "eth0", family: str = "ipv4") -> None:
    put(subject, f"/proc/sys/net/{family}/conf/{interface}/{name}", f"{value}\n")


def looked(check: Look, subject: Subject) -> list[Finding]:
    async def look() -> list[Finding]:
        found = check(subject)
        return list(found) if isinstance(found, Iterator) else [finding async for finding in found]

    return asyncio.run(look())


def only(check: Look, subject: Subject) -> Finding:
    (finding,) = looked(check, subject)
    return finding


def told_by_agent(**more: Any) -> dict[str, Any]:
    facts = {
        "node": "A",
        "version": __version__,
        "pids": {"agent": None},
        "links": [{"name": "eth0", "is_up": True, "why": ""}],
        "members": [
            {"name": "A", "me": True, "state": "online", "links": [], "config_matches": True, "version": __version__},
            {
                "name": "B",
                "me": False,
                "state": "online",
                "links": ["eth0"],
                "config_matches": True,
                "version": "0.0.9",
            },
        ],
        "groups": [{"name": "web", "holder": "B", "gate": {"state": "shut", "why": ""}}],
        "counters": {},
        "jitter_ms": 1.5,
        "warnings": [],
    }
    return facts | more
