"""What the checks look at: the configuration, the running agent's own words, and files and interfaces of this host.

`root` is where /proc, /sys, /run and /etc are found; tests put another one there.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from haagent.config import Config, GroupConfig, NodeConfig
from haagent.control.client import NOT_RUNNING, Client, ControlError
from haagent.doctor.listener import Hearing, listen
from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import AddressError, IpInterface, Link, Seen

NET_ADMIN, NET_RAW = 12, 13  # numbers of capabilities
ANSWER_S = 0.5  # an agent that is alive answers in milliseconds, and the doctor has three seconds


@dataclass
class Subject:
    config: Config | None  # None: there is no configuration yet
    agent: dict[str, Any] | None = None  # what `haagent status` says; None: no agent runs here
    agent_fault: str = ""  # it runs, and does not tell
    run_dir: str = "/run/haagent"
    state_dir: str = "/var/lib/haagent"
    is_usual_place: bool = True  # the agent that the service manager starts
    root: Path = Path("/")
    _hearing: asyncio.Task[Hearing] | None = field(default=None, init=False)

    # files

    def read(self, path: str) -> str | None:
        """None: it is not there, or not for us to read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return None

    def read_all(self, pattern: str) -> list[str]:
        """Of all files with such a name, in order, what is in those that are for us to read."""
        files = sorted(self.root.glob(pattern.lstrip("/")))
        return [text for file in files if (text := self.read(f"/{file.relative_to(self.root)}")) is not None]

    def sysctl(self, family: int, interface: str, name: str) -> int | None:
        """`interface`: or `all`. The dots of a VLAN's name stay dots, since this is a path."""
        text = self.read(f"/proc/sys/net/ipv{family}/conf/{interface}/{name}")
        return int(text) if text is not None and text.lstrip("-").isdigit() else None

    def capabilities(self, pid: int | str = "self") -> int:
        """The effective ones, as a set of bits; 0 as well when they are not told."""
        for line in (self.read(f"/proc/{pid}/status") or "").splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return int(value, 16)
        return 0

    @cached_property
    def is_privileged(self) -> bool:
        return all(self.capabilities() >> number & 1 for number in (NET_ADMIN, NET_RAW))

    # interfaces

    @cached_property
    def links(self) -> dict[str, Link]:
        return {link.name: link for link in self._kernel_facts[0]}

    @cached_property
    def addresses(self) -> tuple[Seen, ...]:
        """All of this host."""
        return self._kernel_facts[1]

    @cached_property
    def _kernel_facts(self) -> tuple[tuple[Link, ...], tuple[Seen, ...]]:
        try:
            with closing(Kernel()) as kernel:
                kernel.open()
                kernel.load_links()
                found = (kernel.links.get(name) for _, name in socket.if_nameindex())
                return tuple(link for link in found if link is not None), tuple(kernel.seen())
        except AddressError:
            return (), ()

    def own_networks(self, interface: str) -> list[IpInterface]:
        """The host's own addresses there, without floating ones."""
        link = self.links.get(interface)
        floating = {address.ip.packed for group in self.groups for address in group.addresses}
        return [
            ip_interface((seen.packed, seen.prefix))
            for seen in self.addresses
            if link is not None and seen.index == link.index and seen.packed not in floating and not seen.is_ours
        ]

    def floating(self, version: int) -> dict[str, list[IpInterface]]:
        """By interface, of all groups."""
        found: dict[str, list[IpInterface]] = defaultdict(list)
        for group in self.groups:
            for address in group.addresses:
                if address.version == version:
                    found[group.interface].append(address)
        return found

    def served(self) -> list[Link]:
        """The interfaces of the groups, as far as this host has them."""
        names = dict.fromkeys(group.interface for group in self.groups)
        return [self.links[name] for name in names if name in self.links]

    @property
    def groups(self) -> tuple[GroupConfig, ...]:
        return tuple(self.config.groups.values()) if self.config else ()

    @property
    def others(self) -> list[dict[str, Any]]:
        """The other members, as the running agent sees them."""
        return [member for member in (self.agent or {}).get("members", ()) if not member["me"]]

    @property
    def peers(self) -> tuple[NodeConfig, ...]:
        return self.config.peers if self.config else ()

    def interfaces(self) -> Iterator[str]:
        """Those of the configuration: for heartbeats, then for groups."""
        if self.config is None:
            return
        names = [*self.config.heartbeat.interfaces]
        if not self.config.nodes[self.config.me].witness:
            names += [group.interface for group in self.groups]
        yield from dict.fromkeys(name for name in names if name)

    # heartbeats

    async def hearing(self) -> Hearing:
        """What is heard of the peers while nobody else listens here. Several checks share it."""
        assert self.config is not None
        if self._hearing is None:
            self._hearing = asyncio.get_running_loop().create_task(listen(self.config))
        return await asyncio.shield(self._hearing)


def subject_of(config: Config | None, *, run_dir: str, state_dir: str) -> Subject:
    """This host."""
    subject = Subject(config, run_dir=run_dir, state_dir=state_dir)
    subject.is_usual_place = os.path.realpath(run_dir) in ("/run/haagent", "/var/run/haagent")
    try:
        with Client(run_dir, answer_s=ANSWER_S) as agent:
            subject.agent = agent.ask("status")
    except ControlError as error:
        if error.status != NOT_RUNNING:
            subject.agent_fault = error.message
    return subject
