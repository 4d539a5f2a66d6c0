"""Where the leases come from: the arbiter that the configuration names, or nobody outside.

`NoArbiter` stands in where there is none, so that whoever holds an arbiter need not ask. What an arbiter needs is
imported only where one is configured. Both are parts of the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from haagent.config import Config
from haagent.core.events import AnyEvent, Claim, Relinquish
from haagent.core.settings import LEADER
from haagent.parts import Commit, Facts, Still

if TYPE_CHECKING:
    from haagent.coordination.arbiter import Arbiter

SLOW = 0.25  # leases that an arbiter may take to answer: a renewal that fails can then be tried twice more

Background = Callable[[Coroutine[Any, Any, None]], None]


class NoArbiter(Still):
    name = "coordination"

    def claim(self, claim: Claim) -> None:
        raise AssertionError(f"{claim} without an arbiter")

    def relinquish(self, freed: Relinquish) -> None:
        raise AssertionError(f"{freed} without an arbiter")

    def status(self) -> Facts:
        return {"coordination": None}


class EtcdArbiter(Still):
    name = "coordination"

    def __init__(
        self,
        config: Config,
        *,
        boot: int,
        post: Callable[[AnyEvent], None],
        now: Callable[[], float],
        background: Background,
    ) -> None:
        from haagent.coordination.arbiter import Arbiter
        from haagent.coordination.gateway import open_gateway

        etcd = config.coordination.etcd
        assert etcd is not None
        self._arbiter: Arbiter = Arbiter(
            open_gateway(config),
            prefix=f"{etcd.prefix}{config.cluster}/",
            groups=_groups(config),
            node=config.me,
            boot=boot,
            lease_s=config.heartbeat.lease_s,
            post=post,
            now=now,
        )
        self._lease_s, self._background = config.heartbeat.lease_s, background
        self.claim, self.relinquish = self._arbiter.claim, self._arbiter.relinquish

    async def open(self) -> None:
        self._background(self._arbiter.keep_asking())
        self._background(self._arbiter.keep_watching())

    async def prepare(self, config: Config) -> Commit:
        from haagent.coordination.gateway import open_gateway

        gateway = await asyncio.to_thread(open_gateway, config)
        return Commit(lambda: self._arbiter.reconfigure(gateway, _groups(config)), gateway.close)

    def status(self) -> Facts:
        facts = self._arbiter.status()
        return {"coordination": facts, "warnings": slowness(facts, self._lease_s)}

    def counters(self) -> Mapping[str, int]:
        return self._arbiter.gateway.counters

    async def close(self) -> None:
        await self._arbiter.close()


def slowness(facts: Facts, lease_s: float) -> list[str]:
    worst_ms, lease_ms = facts["worst_round_trip_ms"] or 0.0, 1000 * lease_s
    if facts["fault"] or worst_ms <= SLOW * lease_ms:
        return []
    return [
        f"{facts['kind']} took {worst_ms:.0f} ms to answer at worst in the last minute: a lease of {lease_ms:.0f} ms "
        f"needs it within {SLOW * lease_ms:.0f} ms. Make it faster, or the lease longer."
    ]


def arbiter_of(
    config: Config,
    *,
    boot: int,
    post: Callable[[AnyEvent], None],
    now: Callable[[], float],
    background: Background,
) -> EtcdArbiter | NoArbiter:
    """Raises `ConfigError` when what the configuration names cannot be used."""
    if config.coordination.etcd is None:
        return NoArbiter()
    return EtcdArbiter(config, boot=boot, post=post, now=now, background=background)


def _groups(config: Config) -> tuple[str, ...]:
    return (*config.groups, LEADER)  # what clients wait for comes first
