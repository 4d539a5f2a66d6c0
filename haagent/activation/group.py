"""All that belongs to one group on this node: its pipeline, its addresses' keeper, its backend and its health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from haagent import backends, checks
from haagent.activation.health import Health
from haagent.activation.keeper import Keeper
from haagent.activation.pipeline import GroupPipeline
from haagent.activation.ports import HostPort
from haagent.address.facts import AddressError, Link, Seen
from haagent.checks.link import Link as LinkCheck
from haagent.checks.link import LinkOptions
from haagent.config import GroupConfig
from haagent.core.kinds import Note
from haagent.core.messages import Ballot


class Group:
    def __init__(
        self,
        spec: GroupConfig | None,
        pipeline: GroupPipeline,
        keeper: Keeper,
        *,
        backend: backends.Backend | None,
        health: Health,
        host: HostPort,
        note: Note,
        touched: Callable[[], None],
    ) -> None:
        self.spec, self.pipeline, self.keeper = spec, pipeline, keeper
        self._backend, self._health, self._host = backend, health, host
        self._note, self._touched = note, touched
        self._unsubscribe: Callable[[], None] = lambda: None

    async def open(self) -> None:
        if self.spec is None or self._backend is None:
            return
        await self._backend.open()
        self._unsubscribe = self._host.links.subscribe(self.spec.interface, self._link_changed)
        self._prepare_link(self._host.links.get(self.spec.interface))

    def start_checks(self, node: str) -> None:
        if self.spec is None:
            return
        context = checks.Context(node=node, group=self.spec.name, interface=self.spec.interface, links=self._host.links)
        running: dict[str, checks.Check] = {
            "its own interface": LinkCheck(context, LinkOptions(interface=self.spec.interface))
        }
        for check in self.spec.checks:
            plugin = checks.find(check.kind)
            running[check.name] = plugin(context, check.options)
        self._health.start(running)

    def take(self, ballot: Ballot, until: float, vanished: tuple[str, ...] = ()) -> None:
        self.pipeline.take(ballot, until, vanished)
        self.keeper.taken()

    def renew(self, until: float) -> None:
        self.pipeline.renew(until)
        if self.pipeline.tenure is not None and self.pipeline.is_open:
            self.keeper.renew(self.pipeline.tenure)

    def compare(self, seen: Sequence[Seen]) -> float:
        """How soon to look again; 0: at the usual time."""
        tenure = self.pipeline.tenure
        if tenure is not None and self.pipeline.is_open:
            if self.keeper.restore(seen, tenure):
                self.pipeline.reassert()
            return self.keeper.wait_s() if self.keeper.missing(seen) else 0.0
        if not self.pipeline.is_adopting and not self.pipeline.is_hidden:
            self.keeper.clear(seen, "is not held by this node")
        return 0.0

    def status(self, seen: Sequence[Seen]) -> dict[str, Any]:
        tenure = self.pipeline.tenure
        return {
            "held": self.pipeline.is_complete,
            "ballot": str(tenure.ballot) if tenure else "",
            "addresses": [str(one) for one in self.keeper.mine(seen)],
            "steps": self.pipeline.timings,
            "counters": dict(self.counters),
            "unfit": self._health.why_not,
            "gate": self._gate(),
        }

    @property
    def counters(self) -> Counter[str]:
        return self.pipeline.counters + self.keeper.counters

    def _gate(self) -> dict[str, str]:
        step = self.pipeline.gate
        state, why = step.state if step is not None else ("", "")
        return {"state": str(state), "why": why}

    def leave(self) -> None:
        self.keeper.leave()
        self.pipeline.is_adopting = True  # no comparison may take them for somebody else's
        self.pipeline.retire()

    async def close(self) -> None:
        self._unsubscribe()
        await self._health.close()
        await self.pipeline.close()
        if self._backend is not None:
            await self._backend.close()

    def _link_changed(self, link: Link | None) -> None:
        self._prepare_link(link)
        if self.pipeline.tenure is not None:
            self._touched()  # an interface that was made anew has none of our addresses

    def _prepare_link(self, link: Link | None) -> None:
        backend = self._backend
        if backend is not None and isinstance(backend, backends.Immediate):
            backend.link_changed(link)
        if link is None or not any(vip.address.version == 4 for vip in self.keeper.vips):
            return
        try:
            self._host.promote_secondaries(link)
        except AddressError as error:
            self._note("failed", self.pipeline.name, f"{error}; removing an address may remove others of its subnet")
