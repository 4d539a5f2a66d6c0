"""Where the leases come from: the arbiter that the configuration names, or nobody outside.

`NoArbiter` stands in where there is none, so that whoever holds an arbiter need not ask. What an arbiter needs is
imported only where one is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from haagent.config import Config
from haagent.core.events import AnyEvent, Claim, Relinquish
from haagent.core.settings import LEADER

if TYPE_CHECKING:
    from haagent.coordination.arbiter import Arbiter

Facts = dict[str, Any]
Work = Coroutine[Any, Any, None]


class NoArbiter:
    def work(self) -> Sequence[Work]:
        return ()

    def claim(self, claim: Claim) -> None:
        raise AssertionError(f"{claim} without an arbiter")

    def relinquish(self, freed: Relinquish) -> None:
        raise AssertionError(f"{freed} without an arbiter")

    async def prepare(self, config: Config) -> Callable[[], Work]:
        return self.close

    async def close(self) -> None:
        return

    def status(self) -> Facts | None:
        return None


class EtcdArbiter:
    def __init__(
        self, config: Config, *, boot: int, post: Callable[[AnyEvent], None], now: Callable[[], float]
    ) -> None:
        from haagent.coordination.arbiter import Arbiter
        from haagent.coordination.gateway import open_gateway

        assert config.coordination is not None
        self._arbiter: Arbiter = Arbiter(
            open_gateway(config),
            prefix=f"{config.coordination.prefix}{config.cluster}/",
            groups=_groups(config),
            node=config.me,
            boot=boot,
            lease_s=config.heartbeat.lease_s,
            post=post,
            now=now,
        )
        self.claim, self.relinquish = self._arbiter.claim, self._arbiter.relinquish
        self.close, self.status = self._arbiter.close, self._arbiter.status

    def work(self) -> Sequence[Work]:
        return (self._arbiter.keep_asking(), self._arbiter.keep_watching())

    async def prepare(self, config: Config) -> Callable[[], Work]:
        """A reload: what can fail is done here, and what is returned brings it into force."""
        from haagent.coordination.gateway import open_gateway

        gateway = await asyncio.to_thread(open_gateway, config)
        return lambda: self._arbiter.reconfigure(gateway, _groups(config))


def arbiter_of(
    config: Config, *, boot: int, post: Callable[[AnyEvent], None], now: Callable[[], float]
) -> EtcdArbiter | NoArbiter:
    """Raises `ConfigError` when what the configuration names cannot be used."""
    return NoArbiter() if config.coordination is None else EtcdArbiter(config, boot=boot, post=post, now=now)


def _groups(config: Config) -> tuple[str, ...]:
    return (*config.groups, LEADER)  # what clients wait for comes first
