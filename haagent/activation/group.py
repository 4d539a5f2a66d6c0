"""All that belongs to one group on this node: its pipeline, with the order of its steps, its addresses, its health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any

from haagent import backends, checks
from haagent.activation.health import Health
from haagent.activation.hooks import Hooks
from haagent.activation.pipeline import GroupPipeline
from haagent.activation.reconciler import Reconciler
from haagent.activation.share import Share
from haagent.activation.steer import SteerStep
from haagent.activation.step import Step
from haagent.activation.steps import AddressStep, FenceStep, GateStep, Leftover
from haagent.activation.surroundings import Surroundings
from haagent.checks.link import LinkOptions
from haagent.config import CheckConfig, GroupConfig, HooksConfig
from haagent.core.event_kinds import Kind, declared
from haagent.core.messages import Ballot
from haagent.core.settings import LEADER
from haagent.kernel.facts import AddressError, Link, Seen, Vip
from haagent.plugins.contained import Broke, one_line

OWN_INTERFACE = "its own interface"  # the check that every group has


class Group:
    def __init__(self, spec: GroupConfig | None, around: Surroundings, *, touched: Callable[[], None]) -> None:
        """None: the built-in group `leader`, which has no steps, so it is taken and dropped at once.

        `touched`: what is in the kernel may not be what should be there.
        """
        self.spec, self.name = spec, spec.name if spec is not None else LEADER
        self._around, self._touched = around, touched
        self._steer: SteerStep | None = None
        self._health = Health(self.name, around.post, around.note)
        self._unsubscribe: Callable[[], None] = lambda: None
        vips: dict[int, Vip] = {}
        if spec is not None:
            vips = {number: Vip(address, spec.interface) for number, address in spec.numbered().items()}
        self.share = Share(vips)
        steps: list[Step] = []
        if spec is not None:
            self._steer = SteerStep(spec.backend.kind, partial(self._backend, spec), partial(self._note, Kind.FAILED))
            steps = [
                FenceStep(around.fences),
                AddressStep(self.share, around.host, around.now),
                GateStep(self.share, around.gate),
                self._steer,
            ]
        hooks = Hooks(
            spec.hooks if spec is not None else HooksConfig(),
            group=self.name,
            node=around.node,
            addresses=[str(vip.address) for vip in self.share.every],
            note=self._note,
        )
        self.pipeline = GroupPipeline(
            self.name, steps=steps, hooks=hooks, post=around.post, note=self._note, now=around.now
        )
        self.reconciler = Reconciler(self.share, around, self._note)

    def _backend(self, spec: GroupConfig) -> backends.Backend:
        context = backends.Context(
            cluster=self._around.cluster,
            node=self._around.node,
            group=spec.name,
            interface=spec.interface,
            addresses=spec.addresses,
            note=self._note,
            may_announce=lambda: self.pipeline.has_lease,
            serves=lambda address: address.packed not in self.share.withheld_packed,
            layouts=self._around.layouts,
        )
        return backends.find(spec.backend.kind)(context, spec.backend.options)

    def _note(self, kind: Kind, text: str) -> None:
        self._around.note(declared(kind), self.name, one_line(text))

    async def open(self) -> None:
        """Raises `Broke`."""
        if self.spec is None or self._steer is None:
            return
        try:
            await self._steer.open()
        except (backends.BackendError, Broke) as fault:
            raise Broke(f"{self._steer.name}: not ready: {fault}") from fault
        finally:
            self._unsubscribe = self._around.host.links.subscribe(self.spec.interface, self._link_changed)
            self._prepare_link(self._around.host.links.get(self.spec.interface))

    def succeed(self, earlier: Group, leftover: Leftover | None) -> None:
        """This is the group from now on. Its pipeline is the one that there was, and goes on with `go_on`."""
        assert self.spec is not None
        if earlier.pipeline.tenure is not None:
            self.share.follow(earlier.share)
        earlier.pipeline.refit(self.pipeline, leftover)
        self.pipeline = earlier.pipeline
        self._health.follow(earlier._health, [OWN_INTERFACE, *(check.name for check in self.spec.checks)])

    def yield_up(self, packed: Collection[bytes]) -> None:
        """Another group of this node serves these now. What is still to be let go of here is without them."""
        kept = (leftover.without(packed) for leftover in self.pipeline.leftovers)
        self.pipeline.leftovers = tuple(leftover for leftover in kept if leftover.vips)

    def go_on(self) -> None:
        self.pipeline.go_on()
        self.reconciler.taken()

    def retire(self) -> Coroutine[Any, Any, None]:
        """It is not the group any more: it hears and says nothing from now on. Returns what is slow about its end."""
        return self._end(self.pipeline.finished())

    def _end(self, pipeline: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        self._unsubscribe()
        self._health.stop()
        return self._ended(pipeline)

    async def _ended(self, pipeline: Coroutine[Any, Any, None]) -> None:
        await pipeline
        await self._health.close()
        if self._steer is not None:
            await self._steer.close()

    def start_checks(self) -> None:
        if self.spec is None:
            return
        group, interface = self.spec.name, self.spec.interface
        own = CheckConfig(kind="link", name=OWN_INTERFACE, options=LinkOptions(interface=interface))

        def make(check: CheckConfig, links: checks.LinksPort) -> checks.Check:
            context = checks.Context(node=self._around.node, group=group, interface=interface, links=links)
            return checks.find(check.kind)(context, check.options)

        for check in (own, *self.spec.checks):
            self._health.start(check, self._around.host.links, partial(make, check))

    def take(
        self, ballot: Ballot, until: float, vanished: tuple[str, ...] = (), withheld: tuple[int, ...] = ()
    ) -> None:
        self.share.withhold(withheld)
        self.pipeline.take(ballot, until, vanished)
        self.reconciler.taken()

    def withhold(self, numbers: tuple[int, ...]) -> None:
        if self.share.withhold(numbers):
            self.pipeline.take_again()

    def renew(self, until: float) -> None:
        self.pipeline.renew(until)
        if self.pipeline.tenure is not None and self.pipeline.is_open:
            self.reconciler.renew(self.pipeline.tenure)

    def compare(self, seen: Sequence[Seen]) -> float:
        """How soon to look again; 0: at the usual time."""
        tenure = self.pipeline.tenure
        if tenure is not None and self.pipeline.is_open:
            self.reconciler.clear_withheld(seen)
            if self.reconciler.restore(seen, tenure):
                self.pipeline.reassert()
            return self.reconciler.wait_s() if self.reconciler.missing(seen) else 0.0
        if not self.pipeline.is_adopting and not self.pipeline.is_hidden:
            self.reconciler.clear(seen, "is not held by this node")
        return 0.0

    def status(self, seen: Sequence[Seen]) -> dict[str, Any]:
        tenure = self.pipeline.tenure
        return {
            "held": self.pipeline.is_complete,
            "ballot": str(tenure.ballot) if tenure else "",
            "addresses": [str(one) for one in self.reconciler.mine(seen)],
            "steps": self.pipeline.timings,
            "counters": dict(self.counters),
            "unfit": self._health.why_not,
            "penalty": self._health.penalty,
            "checks": self._health.facts(),
            **self.pipeline.facts(),
        }

    @property
    def counters(self) -> Counter[str]:
        return self.pipeline.counters + self.reconciler.counters

    def leave(self) -> None:
        self.reconciler.leave()
        self.pipeline.is_adopting = True  # no comparison may take them for somebody else's
        self.pipeline.retire()

    async def close(self) -> None:
        await self._end(self.pipeline.close())

    def _link_changed(self, link: Link | None) -> None:
        self._prepare_link(link)
        if self.pipeline.tenure is not None:
            self._touched()  # an interface that was made anew has none of our addresses

    def _prepare_link(self, link: Link | None) -> None:
        if self._steer is not None:
            self._steer.link_changed(link)
        if link is None or not any(vip.address.version == 4 for vip in self.reconciler.vips):
            return
        try:
            self._around.host.promote_secondaries(link)
        except AddressError as error:
            self._note(Kind.FAILED, f"{error}; removing an address may remove others of its subnet")
