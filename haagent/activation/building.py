"""A group, made from its configuration: the order of its steps is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from haagent import backends
from haagent.activation.group import Group
from haagent.activation.health import Health
from haagent.activation.hooks import Hooks
from haagent.activation.pipeline import GroupPipeline
from haagent.activation.ports import Clock, FencePort, GatePort, HostPort, Post
from haagent.activation.reconciler import Keeper
from haagent.activation.steer import SteerStep
from haagent.activation.step import Step
from haagent.activation.steps import AddressStep, FenceStep, GateStep
from haagent.config import GroupConfig
from haagent.core.event_kinds import Kind, Note, Remark, declared
from haagent.core.settings import LEADER
from haagent.kernel.facts import Vip
from haagent.kernel.layouts import Layouts
from haagent.plugins.contained import one_line


class Builder:
    def __init__(
        self,
        *,
        post: Post,
        note: Note,
        now: Clock,
        node: str,
        cluster: str,
        layouts: Layouts,
        host: HostPort,
        gate: GatePort,
        fences: FencePort | None,
        has_lease: Callable[[str], bool],
        touched: Callable[[], None],
    ) -> None:
        self._post, self._note, self._now = post, note, now
        self._node, self._cluster, self._layouts = node, cluster, layouts
        self._host, self._gate, self._fences = host, gate, fences
        self._has_lease, self._touched = has_lease, touched

    def group(self, spec: GroupConfig) -> Group:
        def note(kind: Kind, text: str) -> None:
            self._note(declared(kind), spec.name, one_line(text))

        steer = SteerStep(
            spec.backend.kind, lambda: self._backend(spec, note), tell=lambda text: note(Kind.FAILED, text)
        )
        vips = [Vip(address=address, interface=spec.interface) for address in spec.addresses]
        steps: tuple[Step, ...] = (
            *([FenceStep(self._fences)] if self._fences is not None else []),
            AddressStep(vips, self._host, self._now),
            GateStep(vips, self._gate),
            steer,
        )
        hooks = Hooks(
            spec.hooks,
            group=spec.name,
            node=self._node,
            addresses=[str(address) for address in spec.addresses],
            note=note,
        )
        return self._group(spec, vips=vips, steps=steps, hooks=hooks, steer=steer)

    def leader(self) -> Group:
        """The built-in group has no addresses: taken and dropped at once."""
        return self._group(None, vips=(), steps=(), hooks=None, steer=None)

    def _backend(self, spec: GroupConfig, note: Remark) -> backends.Backend:
        plugin = backends.find(spec.backend.kind)
        context = backends.Context(
            cluster=self._cluster,
            node=self._node,
            group=spec.name,
            interface=spec.interface,
            addresses=tuple(spec.addresses),
            note=note,
            may_announce=lambda: self._has_lease(spec.name),
            layouts=self._layouts,
        )
        return plugin(context, spec.backend.options)

    def _group(
        self,
        spec: GroupConfig | None,
        *,
        vips: Sequence[Vip],
        steps: Sequence[Step],
        hooks: Hooks | None,
        steer: SteerStep | None,
    ) -> Group:
        name = spec.name if spec is not None else LEADER
        pipeline = GroupPipeline(name, steps=steps, hooks=hooks, post=self._post, note=self._note, now=self._now)
        keeper = Keeper(name, vips=vips, host=self._host, note=self._note, now=self._now)
        return Group(
            spec,
            pipeline,
            keeper,
            steer=steer,
            health=Health(name, self._post, self._note),
            host=self._host,
            note=self._note,
            touched=self._touched,
        )
