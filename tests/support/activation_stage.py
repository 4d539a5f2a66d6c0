"""The whole of Activation on a fake kernel, with a clock that stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

import msgspec

from haagent.activation import Activation
from haagent.backends.arp import ArpOptions
from haagent.config import CheckConfig, Config, GroupConfig, PluginConfig, parse
from haagent.core.events import AnyEvent
from haagent.core.messages import Ballot
from tests.support.fakes import FakeHost, around
from tests.support.small_agent import FILE

ONE = Ballot(1, "A")


def web(*addresses: str, name: str = "web", checks: tuple[CheckConfig, ...] = ()) -> GroupConfig:
    return GroupConfig(
        name=name,
        addresses=tuple(ip_interface(address) for address in addresses or ("10.20.1.100/24",)),
        interface="eth0",
        backend=PluginConfig("arp", ArpOptions()),
        checks=checks,
    )


def with_groups(*groups: GroupConfig) -> Config:
    return msgspec.structs.replace(parse(FILE.encode(), "f.yaml", node="A"), groups={one.name: one for one in groups})


class Stage:
    def __init__(self, *groups: GroupConfig, adopt: bool = False) -> None:
        self.said: list[AnyEvent] = []
        self.notes: list[tuple[str, str, str]] = []
        self.host = FakeHost("eth0", "eth1")
        self.time = 5000.0
        self.activation = Activation(
            groups or (web(),),
            around(
                host=self.host,
                post=self.said.append,
                note=lambda *note: self.notes.append(note),
                now=lambda: self.time,
            ),
            adopt=adopt,
        )

    async def reload(self, *groups: GroupConfig) -> None:
        commit = await self.activation.prepare(with_groups(*groups))
        ending = commit.apply()
        if ending is not None:
            await ending

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.notes]


def run(stage: Stage, story: Callable[[], Any]) -> None:
    async def told() -> None:
        await stage.activation.open()
        try:
            await story()
        finally:
            await stage.activation.close()

    asyncio.run(told())
