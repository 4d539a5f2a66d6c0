"""Is this node fit for a group? All checks together, told to the core when the answer changes.

A check is a plug-in: whatever it does wrong makes this node unfit for its group, says so, and does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from haagent.activation.ports import Post
from haagent.checks import Check
from haagent.contained import Broke, Contained, one_line
from haagent.core.events import HealthChanged

CLOSE_S = 1.0  # how long a check that is called off may take to end


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

    def start(self, name: str, make: Callable[[], Check], *, kind: str = "link") -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._run(name, kind, make)))

    def follow(self, earlier: Health, names: Collection[str]) -> None:
        """What the core was told last, and why, until the checks of the new configuration have said something."""
        self._said = earlier._said
        self._faults = {name: fault for name, fault in earlier._faults.items() if name in names}

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def report(self, name: str, *, is_fit: bool, why: str) -> None:
        if is_fit:
            self._faults.pop(name, None)
        else:
            self._faults[name] = one_line(why) or f"check {name} failed"
        if self._said != self.why_not:
            self._said = self.why_not
            self._post(HealthChanged(group=self._group, ok=not self._said, why=self._said))

    async def _run(self, name: str, kind: str, make: Callable[[], Check]) -> None:
        contained = Contained(f"check {name} ({kind})", patience_s=CLOSE_S)

        def report(is_fit: object, why: object) -> None:
            if not isinstance(is_fit, bool):
                raise TypeError(f"it reported a {type(is_fit).__name__}, not True or False")
            self.report(name, is_fit=is_fit, why=str(why))

        try:
            check = contained.call("its making", make)
            await contained.ask("run", check.run, report)
        except Broke as fault:
            self.report(name, is_fit=False, why=str(fault))
        else:
            self.report(name, is_fit=False, why=f"check {name} ended")
