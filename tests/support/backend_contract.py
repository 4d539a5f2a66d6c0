"""What every backend must do, as a suite to inherit from; for ours and for anyone's.

    class TestMine(BackendContract):
        def make(self) -> Backend: return Mine(context(), Mine.Options(...))

`make` is called several times within one test and must then speak to the same (fake) cloud.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_interface

import msgspec
import pytest

from haagent.backends import Backend, Context, Immediate
from haagent.core.messages import Ballot
from tests.support.layouts import LAYOUTS

OLD, NEW = Ballot(4, "A"), Ballot(6, "A")


def context(*addresses: str) -> Context:
    return Context(
        cluster="shop",
        node="A",
        group="web",
        interface="eth0",
        addresses=tuple(ip_interface(address) for address in addresses or ("10.20.1.100/24",)),
        note=lambda kind, text: None,
        layouts=LAYOUTS,
    )


class BackendContract:
    outlives_the_agent = True  # False: what it does ends with the process, so a new instance holds nothing

    def make(self) -> Backend:
        raise NotImplementedError("return a backend; all of one test speak to the same cloud")

    def run(self, story: Callable[[Backend], Awaitable[None]]) -> None:
        async def told() -> None:
            backend = self.make()
            await backend.open()
            try:
                await story(backend)
            finally:
                await backend.close()
                await backend.close()  # idempotent too

        asyncio.run(told())

    def test_options_are_a_frozen_struct_that_refuses_what_it_does_not_know(self) -> None:
        options = type(self.make()).Options
        assert issubclass(options, msgspec.Struct)
        assert options.__struct_config__.frozen
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no such option": 1}, type=options)

    def test_has_a_time_limit(self) -> None:
        assert 0 < self.make().timeout_s < 3600

    def test_take_and_drop_can_be_repeated(self) -> None:
        async def story(backend: Backend) -> None:
            await backend.drop(OLD)
            assert not await backend.holds()
            for _ in range(2):
                await backend.take(NEW)
                assert await backend.holds()
            for _ in range(2):
                await backend.drop(NEW)
                assert not await backend.holds()
            await backend.take(NEW)
            assert await backend.holds()
            await backend.drop(NEW)

        self.run(story)

    @pytest.mark.parametrize("turns", range(8))
    def test_a_drop_after_a_cancelled_take_leaves_nothing(self, turns: int) -> None:
        async def story(backend: Backend) -> None:
            take = asyncio.create_task(_take(backend))
            for _ in range(turns):
                await asyncio.sleep(0)
            take.cancel()
            with suppress(asyncio.CancelledError):
                await take
            await backend.drop(NEW)
            assert not await backend.holds()

        self.run(story)

    def test_an_earlier_life_is_undone_by_one_that_remembers_nothing(self) -> None:
        async def story(backend: Backend) -> None:
            await backend.take(NEW)
            later_life = self.make()
            await later_life.open()
            assert await later_life.holds() == self.outlives_the_agent
            if self.outlives_the_agent:
                await later_life.drop(NEW)
                assert not await backend.holds()
            await later_life.close()

        self.run(story)

    def test_what_is_immediate_needs_no_loop_turn(self) -> None:
        async def story(backend: Backend) -> None:
            if not isinstance(backend, Immediate):
                return
            backend.announce()  # not held: says nothing, fails in nothing
            backend.take_now(NEW)
            assert await backend.holds()
            backend.announce()
            backend.drop_now(NEW)
            assert not await backend.holds()

        self.run(story)


async def _take(backend: Backend) -> None:
    await backend.take(NEW)
