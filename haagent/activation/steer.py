"""The step that steers clients here, by whatever backend the group has.

A backend is a plug-in: what it does wrong fails this step, and so the group on this node, and nothing else. One that
could not be opened is opened again with each take, within the take's time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from haagent.activation.step import Later, Step, Tenure
from haagent.backends import Backend, BackendError, Immediate
from haagent.core.messages import Ballot
from haagent.kernel.facts import Link
from haagent.plugins.contained import Broke, Contained

OPEN_S = CLOSE_S = 5.0
LONGEST_S = 3600.0  # that a backend may give itself for one call


class SteerStep(Step):
    faults = (BackendError, Broke)

    timeout_s: float = OPEN_S

    def __init__(self, kind: str, make: Callable[[], Backend], tell: Callable[[str], None] = lambda text: None) -> None:
        """`tell`: for the history, what went wrong where no take or drop can fail of it."""
        self.name = kind
        self._tell, self._told = tell, ""
        self._contained = Contained("the backend", expected=(BackendError,))
        self._backend: Backend | None = None
        self._immediate: Immediate | None = None  # the same one; asking for the protocol takes 10 us: once
        self._fault = ""  # why it is not ready to be used
        try:
            self._backend = self._contained.call("its making", self._made, make)
        except (BackendError, Broke) as fault:
            self._fault = str(fault)

    def _made(self, make: Callable[[], Backend]) -> Backend:
        backend = make()
        self.timeout_s = self._contained.patience_s = _time_limit(backend.timeout_s)
        if isinstance(backend, Immediate):
            self._immediate = backend
        return backend

    @property
    def is_asked(self) -> bool:
        """A backend that is immediate knows nobody to ask."""
        return self._immediate is None

    async def open(self) -> None:
        """Raises `BackendError` or `Broke`; what failed is tried again by `take`."""
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open()
        except TimeoutError:
            raise BackendError(self._fault) from None

    async def _open(self) -> Backend:
        if self._backend is None:
            raise Broke(self._fault)
        self._fault = f"the backend was not open within {OPEN_S:g} s"
        try:
            await self._contained.ask("open", self._backend.open)
        except (BackendError, Broke) as fault:
            self._fault = str(fault)
            raise
        self._fault = ""
        return self._backend

    def take(self, tenure: Tenure) -> Later | None:
        if self._fault or self._backend is None:
            return partial(self._open_and_take, tenure.ballot)
        if self._immediate is not None:
            self._contained.call("take_now", self._immediate.take_now, tenure.ballot)
            return None
        return partial(self._take, self._backend, tenure.ballot)

    def drop(self, ballot: Ballot) -> Later | None:
        if self._backend is None:
            return None
        if self._immediate is not None:
            self._contained.call("drop_now", self._immediate.drop_now, ballot)
            return None
        return partial(self._contained.ask, "drop", self._backend.drop, ballot)

    def retire(self, ballot: Ballot) -> None:
        if self._immediate is not None:
            self._quietly("drop_now", self._immediate.drop_now, ballot)

    def announce(self) -> bool:
        return self._immediate is not None and self._quietly("announce", self._immediate.announce)

    def link_changed(self, link: Link | None) -> None:
        if self._immediate is not None:
            self._quietly("link_changed", self._immediate.link_changed, link)

    async def verify(self, ballot: Ballot) -> bool:
        backend = self._backend
        assert backend is not None  # it has taken
        answer: object = await self._contained.ask("holds", backend.holds)
        if not isinstance(answer, bool):
            raise self._contained.broke("holds", f"it answered with a {type(answer).__name__}, not True or False")
        if not answer:
            await self._take(backend, ballot)
        return answer

    async def close(self) -> None:
        if self._backend is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._contained.ask("close", self._backend.close)
        except TimeoutError:
            self._complain(f"the backend was not closed within {CLOSE_S:g} s")
        except (BackendError, Broke) as fault:
            self._complain(str(fault))

    async def _open_and_take(self, ballot: Ballot) -> None:
        await self._take(await self._open(), ballot)

    async def _take(self, backend: Backend, ballot: Ballot) -> None:
        await self._contained.ask("take", backend.take, ballot)

    def _quietly(self, step: str, work: Callable[..., None], *args: object) -> bool:
        try:
            self._contained.call(step, work, *args)
        except (BackendError, Broke) as fault:
            self._complain(str(fault))
        return True

    def _complain(self, text: str) -> None:
        """Once per cause: it may be repeated with every message of the kernel."""
        if text != self._told:
            self._told = text
            self._tell(f"{self.name}: {text}")


def _time_limit(limit: object) -> float:
    if not isinstance(limit, int | float) or not 0 < limit <= LONGEST_S:
        raise ValueError(f"`timeout_s` is not a number of seconds, at most {LONGEST_S:g}")
    return float(limit)
