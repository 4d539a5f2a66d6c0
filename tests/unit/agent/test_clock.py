"""The alarm on the real kernel: which instants fire, which do not. How late they are is for the benchmarks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from haagent.agent.clock import Alarm, now


class Bench:
    """An alarm in a loop of its own that counts how often it fired, and notes when."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.fired: list[float] = []
        self.alarm = Alarm(self.loop, lambda: self.fired.append(now()))

    def run_until(self, instant: float) -> None:
        """Turn the loop until `instant` has passed, and once more."""

        async def turn() -> None:
            while now() < instant:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)

        self.loop.run_until_complete(turn())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.alarm.close()
    bench.loop.close()


def test_the_clock_is_boottime() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_it_fires_once_and_never_early(bench: Bench) -> None:
    deadline = now() + 0.01
    bench.alarm.set(deadline)
    bench.run_until(deadline + 0.02)
    assert len(bench.fired) == 1
    assert bench.fired[0] >= deadline


@pytest.mark.parametrize("deadline", [0.0, -5.0, 1.0, None])
def test_a_past_instant_fires_in_the_next_round(bench: Bench, deadline: float | None) -> None:
    bench.alarm.set(now() - 0.001 if deadline is None else deadline)
    assert bench.fired == []
    bench.run_until(now())
    assert len(bench.fired) == 1


def test_a_later_instant_replaces_an_earlier_one(bench: Bench) -> None:
    start = now()
    bench.alarm.set(start + 0.005)
    bench.alarm.set(start + 0.02)
    bench.run_until(start + 0.03)
    assert len(bench.fired) == 1
    assert bench.fired[0] >= start + 0.02


def test_an_expired_alarm_that_was_set_anew_before_the_loop_saw_it_waits(bench: Bench) -> None:
    start = now()
    bench.alarm.set(start + 0.001)
    while now() < start + 0.003:
        pass
    bench.alarm.set(start + 3600)
    bench.run_until(now() + 0.005)
    assert bench.fired == []


def test_none_switches_it_off_and_it_can_be_set_again(bench: Bench) -> None:
    start = now()
    bench.alarm.set(start + 0.005)
    bench.alarm.set(None)
    bench.run_until(start + 0.01)
    assert bench.fired == []
    bench.alarm.set(now())
    bench.run_until(now())
    assert len(bench.fired) == 1


def test_the_same_instant_may_be_set_from_inside_fire(bench: Bench) -> None:
    deadline = now()
    again = [deadline] * 3

    def fire() -> None:
        bench.fired.append(now())
        if again:
            alarm.set(again.pop())

    alarm = Alarm(bench.loop, fire)
    alarm.set(deadline)
    bench.run_until(now() + 0.005)
    alarm.close()
    assert len(bench.fired) == 4


def test_close_frees_the_descriptor_and_is_repeatable(bench: Bench) -> None:
    before = set(os.listdir("/proc/self/fd"))
    alarm = Alarm(bench.loop, lambda: None)
    alarm.set(now() + 1)
    alarm.close()
    alarm.close()
    assert set(os.listdir("/proc/self/fd")) == before
