"""Is this node fit for a group? All checks together, told to the core when the answer changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from haagent.activation.ports import Post
from haagent.checks import Check
from haagent.core.events import HealthChanged


class Health:
    def __init__(self, group: str, post: Post) -> None:
        self._group = group
        self._post = post
        self._faults: dict[str, str] = {}
        self._said = ""  # a group starts fit
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def why_not(self) -> str:
        return "; ".join(dict.fromkeys(self._faults.values()))

    def start(self, checks: Mapping[str, Check]) -> None:
        for name, check in checks.items():
            task = asyncio.get_running_loop().create_task(self._run(name, check))
            self._tasks.append(task)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def report(self, name: str, *, is_fit: bool, why: str) -> None:
        if is_fit:
            self._faults.pop(name, None)
        else:
            self._faults[name] = why or f"check {name} failed"
        if self._said != self.why_not:
            self._said = self.why_not
            self._post(HealthChanged(group=self._group, ok=not self._said, why=self._said))

    async def _run(self, name: str, check: Check) -> None:
        try:
            await check.run(lambda is_fit, why: self.report(name, is_fit=is_fit, why=why))
        except Exception as bug:
            # A plug-in is foreign code: its bug makes this node unfit for the group, and is shown. That is all.
            self.report(name, is_fit=False, why=f"check {name} broke: {bug}")
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"check {name} of group {self._group} broke", "exception": bug}
            )
        else:
            self.report(name, is_fit=False, why=f"check {name} ended")
