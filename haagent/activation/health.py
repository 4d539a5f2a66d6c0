"""Is this node fit for a group, and how fit? All checks together, told to the core when the answer changes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from haagent.activation.checking import Make, Runner
from haagent.activation.surroundings import Post
from haagent.config import CheckConfig
from haagent.core.event_kinds import Kind, Note
from haagent.core.events import HealthChanged
from haagent.kernel.links import Links


class Health:
    def __init__(self, group: str, post: Post, note: Note) -> None:
        self._group, self._post, self._note = group, post, note
        self._faults: dict[str, str] = {}  # why each fails that does
        self._said = HealthChanged(group, ok=True)  # a group starts fit
        self._runners: list[Runner] = []

    @property
    def _failing(self) -> list[CheckConfig]:
        """The one that has failed longest comes first."""
        checks = {runner.spec.name: runner.spec for runner in self._runners}
        return [checks[name] for name in self._faults if name in checks]

    @property
    def why_not(self) -> str:
        return "; ".join(dict.fromkeys(self._faults[check.name] for check in self._failing if check.makes_unfit))

    @property
    def penalty(self) -> int:
        return sum(check.weight or 0 for check in self._failing)

    def facts(self) -> dict[str, Any]:
        return {runner.spec.name: runner.facts() for runner in self._runners}

    def start(self, spec: CheckConfig, links: Links, make: Make) -> None:
        self._runners.append(Runner(spec, links, make, changed=self._changed, was=self._faults.get(spec.name, "")))

    def follow(self, earlier: Health, names: Collection[str]) -> None:
        """What the core was told last, and why, until the checks of the new configuration have said something."""
        self._said = earlier._said
        self._faults = {name: fault for name, fault in earlier._faults.items() if name in names}

    def stop(self) -> None:
        for runner in self._runners:
            runner.stop()

    async def close(self) -> None:
        await asyncio.gather(*(runner.close() for runner in self._runners))
        self._runners.clear()

    def _changed(self, runner: Runner) -> None:
        check, why = runner.spec, runner.why
        if why != self._faults.get(check.name, "") and not check.makes_unfit:
            self._remark(check, why)
        if why:
            self._faults[check.name] = why
        else:
            self._faults.pop(check.name, None)
        why_not = self.why_not
        health = HealthChanged(self._group, not why_not, why_not, self.penalty)
        if self._said != health:
            self._said = health
            self._post(health)

    def _remark(self, check: CheckConfig, why: str) -> None:
        """The core says nothing of it by itself."""
        which = f"of weight {check.weight}" if check.weight else "which is not required"
        what = f"fails: {why}" if why else "passes again"
        self._note(Kind.CHECK, self._group, f"check {check.name}, {which}, {what}")
