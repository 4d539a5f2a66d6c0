"""Is this node fit for a group? All checks together, told to the core when the answer changes."""

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
        self._faults: dict[str, str] = {}  # of those that are required
        self._remarks: dict[str, str] = {}  # of those that are not
        self._said = ""  # a group starts fit
        self._runners: list[Runner] = []

    @property
    def why_not(self) -> str:
        return "; ".join(dict.fromkeys(self._faults.values()))

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
        name, why = runner.spec.name, runner.why
        if not runner.spec.required:
            self._remark(name, why)
            return
        if why:
            self._faults[name] = why
        else:
            self._faults.pop(name, None)
        if self._said != self.why_not:
            self._said = self.why_not
            self._post(HealthChanged(group=self._group, ok=not self._said, why=self._said))

    def _remark(self, name: str, why: str) -> None:
        """Nothing moves for it."""
        if self._remarks.get(name, "") != why:
            self._remarks[name] = why
            what = f"fails: {why}" if why else "passes again"
            self._note(Kind.CHECK, self._group, f"check {name}, which is not required, {what}")
