"""All that belongs to one group on this node: its pipeline, its addresses' keeper, its backend and its health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from haagent import checks
from haagent.activation.health import Health
from haagent.activation.pipeline import GroupPipeline
from haagent.activation.ports import HostPort
from haagent.activation.reconciler import Keeper
from haagent.activation.steer import SteerStep
from haagent.activation.steps import Leftover
from haagent.backends import BackendError
from haagent.checks.link import Link as LinkCheck
from haagent.checks.link import LinkOptions
from haagent.config import CheckConfig, GroupConfig
from haagent.core.event_kinds import Kind, Note
from haagent.core.messages import Ballot
from haagent.kernel.facts import AddressError, Link, Seen
from haagent.plugins.contained import Broke

OWN_INTERFACE = "its own interface"  # the check that every group has


class Group:
    def __init__(
        self,
        spec: GroupConfig | None,
        pipeline: GroupPipeline,
        keeper: Keeper,
        *,
        steer: SteerStep | None,
        health: Health,
        host: HostPort,
        note: Note,
        touched: Callable[[], None],
    ) -> None:
        self.spec, self.pipeline, self.keeper = spec, pipeline, keeper
        self._steer, self._health, self._host = steer, health, host
        self._note, self._touched = note, touched
        self._unsubscribe: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return self.pipeline.name

    async def open(self) -> None:
        """Raises `Broke`."""
        if self.spec is None or self._steer is None:
            return
        try:
            await self._steer.open()
        except (BackendError, Broke) as fault:
            raise Broke(f"{self._steer.name}: not ready: {fault}") from fault
        finally:
            self._unsubscribe = self._host.links.subscribe(self.spec.interface, self._link_changed)
            self._prepare_link(self._host.links.get(self.spec.interface))

    # a reload: the pipeline stays, everything else is another

    def succeed(self, earlier: Group, leftover: Leftover | None) -> None:
        """This is the group from now on. Its pipeline is the one that there was, and goes on with `go_on`."""
        assert self.spec is not None
        earlier.pipeline.refit(self.pipeline, leftover)
        self.pipeline = earlier.pipeline
        self._health.follow(earlier._health, [OWN_INTERFACE, *(check.name for check in self.spec.checks)])

    def go_on(self) -> None:
        self.pipeline.go_on()
        self.keeper.taken()

    def retire(self) -> Coroutine[Any, Any, None]:
        """It is not the group any more: it hears and says nothing from now on. Returns what is slow about its end."""
        self._unsubscribe()
        self._health.stop()
        return self._ended(self.pipeline.finished())

    async def _ended(self, finished: Coroutine[Any, Any, None]) -> None:
        await finished
        await self._health.close()
        if self._steer is not None:
            await self._steer.close()

    def start_checks(self, node: str) -> None:
        if self.spec is None:
            return
        group, interface = self.spec.name, self.spec.interface
        own = CheckConfig(kind="link", name=OWN_INTERFACE, options=LinkOptions(interface=interface))

        def make(check: CheckConfig, links: checks.LinksPort) -> checks.Check:
            context = checks.Context(node=node, group=group, interface=interface, links=links)
            plugin = LinkCheck if check is own else checks.find(check.kind)
            return plugin(context, check.options)

        for check in (own, *self.spec.checks):
            self._health.start(check, self._host.links, partial(make, check))

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
            "checks": self._health.facts(),
            "gate": {"state": "", "why": ""},
            **self.pipeline.facts(),
        }

    @property
    def counters(self) -> Counter[str]:
        return self.pipeline.counters + self.keeper.counters

    def leave(self) -> None:
        self.keeper.leave()
        self.pipeline.is_adopting = True  # no comparison may take them for somebody else's
        self.pipeline.retire()

    async def close(self) -> None:
        self._unsubscribe()
        await self._health.close()
        await self.pipeline.close()
        if self._steer is not None:
            await self._steer.close()

    def _link_changed(self, link: Link | None) -> None:
        self._prepare_link(link)
        if self.pipeline.tenure is not None:
            self._touched()  # an interface that was made anew has none of our addresses

    def _prepare_link(self, link: Link | None) -> None:
        if self._steer is not None:
            self._steer.link_changed(link)
        if link is None or not any(vip.address.version == 4 for vip in self.keeper.vips):
            return
        try:
            self._host.promote_secondaries(link)
        except AddressError as error:
            self._note(Kind.FAILED, self.name, f"{error}; removing an address may remove others of its subnet")
