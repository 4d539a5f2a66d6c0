"""The runner of one check: asks it, or lets it watch, bounds it, and says when its word counts (`damping`).

A check is a plug-in. What it raises, that it does not answer, and that it answers with nonsense are bad verdicts that
say so, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from haagent.activation.damping import Damping
from haagent.checks import Check, Verdict
from haagent.config import CheckConfig
from haagent.kernel.facts import Link
from haagent.kernel.links import Heard, Links
from haagent.kernel.timer import Timer
from haagent.plugins.contained import Broke, Contained, one_line

CLOSE_S = 1.0  # how long a check that is called off may take to end
AGAIN_S = 10.0  # until a check that broke, or stopped watching, is made anew

Make = Callable[["WatchedLinks"], Check]


class Runner:
    def __init__(
        self, spec: CheckConfig, links: Links, make: Make, *, changed: Callable[[Runner], None], was: str = ""
    ) -> None:
        """`was`: why it had failed under the configuration before."""
        self.spec = spec
        self._links, self._make, self._changed = links, make, changed
        self._who = f"check {spec.name} ({spec.kind})"
        self._contained = Contained(self._who, patience_s=CLOSE_S)
        self._loop = asyncio.get_running_loop()
        self._damping = Damping(hold_s=spec.hold_s, why=was)
        self._timer = Timer(self._woke)
        self._is_over = False
        self._task = self._loop.create_task(self._run())

    @property
    def why(self) -> str:
        """It counts as failed; empty: as passed."""
        return self._damping.why

    def facts(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "kind": spec.kind,
            "required": spec.makes_unfit,
            "weight": spec.weight,
            "passes": not self.why,
            "why": self.why,
        }

    def stop(self) -> None:
        """Nothing is heard of it from now on."""
        self._is_over = True
        self._task.cancel()
        self._timer.cancel()

    async def close(self) -> None:
        self.stop()
        await asyncio.wait({self._task})

    def heard(self, verdict: object) -> None:
        """Called by the plug-in too, from inside a message of the kernel: raises nothing."""
        if self._is_over:
            return
        if not isinstance(verdict, Verdict) or not isinstance(verdict.is_fit, bool):
            why = str(self._contained.broke("its verdict", f"a {type(verdict).__name__} is no Verdict"))
        else:
            why = "" if verdict.is_fit else one_line(verdict.why) or f"{self._who} fails"
        self._damping.heard(self._loop.time(), why)
        self._settle()

    # in its task

    async def _run(self) -> None:
        while True:
            try:
                check = self._contained.call("its making", self._make, WatchedLinks(self._links, self._contained, self))
                await self._work(check)
                fault = f"{self._who} stopped watching"
            except Broke as broke:
                fault = str(broke)
            self.heard(Verdict(is_fit=False, why=fault))
            await asyncio.sleep(AGAIN_S)

    async def _work(self, check: Any) -> None:
        if not hasattr(check, "probe"):
            await self._contained.ask("watch", check.watch, self.heard)
            return
        spec = self.spec
        self._damping = Damping(hold_s=spec.hold_s, rise=spec.rise, fall=spec.fall, why=self.why)
        while True:
            began = self._loop.time()
            self.heard(await self._probed(check))
            spread = random.uniform(0, spec.jitter_s)  # noqa: S311 - spreads probes, keeps no secret
            await asyncio.sleep(max(0.0, began + spec.interval_s + spread - self._loop.time()))

    async def _probed(self, check: Any) -> object:
        if self._contained.is_stuck:
            return Verdict(is_fit=False, why=f"{self._who}: an earlier probe does not end")
        try:
            async with asyncio.timeout(self.spec.timeout_s):
                return await self._contained.ask("probe", check.probe)
        except TimeoutError:
            return Verdict(is_fit=False, why=f"{self._who}: no answer to probe within {self.spec.timeout_s:g} s")
        except Broke as fault:
            return Verdict(is_fit=False, why=str(fault))

    # when its word counts

    def _settle(self) -> None:
        self._timer.cancel()
        if self._damping.deadline is not None:
            self._timer.set(max(0.0, self._damping.deadline - self._loop.time()))
        self._changed(self)

    def _woke(self) -> None:
        # The loop fires a timer up to its clock's resolution early.
        self._damping.woke(max(self._loop.time(), self._damping.deadline or 0.0))
        self._settle()


class WatchedLinks:
    """The host's interfaces, for a check: what it does with their news cannot break who brings them."""

    def __init__(self, links: Links, contained: Contained, runner: Runner) -> None:
        self.get = links.get
        self._links, self._contained, self._runner = links, contained, runner

    def subscribe(self, name: str, heard: Heard) -> Callable[[], None]:
        def safely(link: Link | None) -> None:
            try:
                self._contained.call("what it heard of a link", heard, link)
            except Broke as fault:
                self._runner.heard(Verdict(is_fit=False, why=str(fault)))

        return self._links.subscribe(name, safely)
