"""Where the leases come from: the arbiter that the configuration names, or nobody outside.

`NoArbiter` stands in where there is none, so that whoever holds an arbiter need not ask. What an arbiter needs is
imported only where one is configured. Both are parts of the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from haagent.config import Config
from haagent.core.events import AnyEvent, Claim, Relinquish
from haagent.parts import Facts, Still

if TYPE_CHECKING:
    from haagent.coordination.arbiter import Arbiter


class NoArbiter(Still):
    name = "coordination"

    def claim(self, claim: Claim) -> None:
        raise AssertionError(f"{claim} without an arbiter")

    def relinquish(self, freed: Relinquish) -> None:
        raise AssertionError(f"{freed} without an arbiter")

    def status(self) -> Facts:
        return {"coordination": None}


def arbiter_of(
    config: Config,
    *,
    boot: int,
    post: Callable[[AnyEvent], None],
    now: Callable[[], float],
    background: Callable[[Coroutine[Any, Any, None]], None],
) -> Arbiter | NoArbiter:
    """Raises `ConfigError` when what the configuration names cannot be used."""
    if config.coordination.etcd is None:
        return NoArbiter()
    from haagent.coordination.arbiter import Arbiter
    from haagent.coordination.gateway import open_gateway

    return Arbiter(config, open_gateway(config), boot=boot, post=post, now=now, background=background)
