"""The alarm on the real kernel: which instants fire, which do not. How late they are is for the benchmarks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from haagent.agent.clock import TOGETHER_S, WINDOW_S, Alarm, HardwareCounter, Steering, now
from haagent.core.settings import SLEW


class Bench:
    """An alarm in a loop of its own that counts how often it fired, and notes when."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.fired: list[float] = []
        self.steering = Steering()
        self.alarm = Alarm(self.loop, lambda: self.fired.append(now()), self.steering)

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


class Hardware:
    """Clocks that a test moves, in place of the host's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counter, self.slew, self.slept_s, self.steered_s = 50.0, 0.0, 0.0, 7.0
        self.reading_s = 0.0  # what it takes
        monkeypatch.setattr(time, "clock_gettime", self.read)

    def read(self, clock: int) -> float:
        self.run(self.reading_s)
        sums = {time.CLOCK_MONOTONIC: self.steered_s, time.CLOCK_BOOTTIME: self.steered_s + self.slept_s}
        return self.counter + sums.get(clock, 0.0)

    def run(self, for_s: float) -> None:
        self.counter += for_s
        self.steered_s += self.slew * for_s


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Hardware:
    return Hardware(monkeypatch)


class TestCounter:
    def test_it_counts_what_no_time_service_steers_and_what_the_host_has_slept(self, hardware: Hardware) -> None:
        counter = HardwareCounter()
        began = counter.now()
        hardware.slew = -0.1
        hardware.run(10.0)
        assert counter.now() == pytest.approx(began + 10.0)
        hardware.slept_s += 3600.0
        assert counter.now() == pytest.approx(began + 3610.0)

    def test_it_never_goes_back_whatever_comes_between_two_readings(self, hardware: Hardware) -> None:
        counter, last = HardwareCounter(), 0.0
        for reading_s in (0.0, 0.005, 0.0, 1.0, 1e-7, 0.0):
            hardware.reading_s = reading_s
            instant = counter.now()
            assert last <= instant <= hardware.counter
            last = instant

    def test_it_counts_with_the_hosts_own(self) -> None:
        at_least = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        at_most = -time.clock_gettime(time.CLOCK_MONOTONIC) + time.clock_gettime(time.CLOCK_BOOTTIME)
        before, shown = time.clock_gettime(time.CLOCK_MONOTONIC_RAW), now()
        after = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        assert before + at_least - 1e-6 <= shown <= after + at_most + 1e-6


class TestSteering:
    @pytest.mark.parametrize("slew", [0.1, -0.0833, 0.0])
    def test_what_is_allowed_is_no_news(self, hardware: Hardware, slew: float) -> None:
        steering = Steering()
        hardware.slew = 0.999 * slew
        for _ in range(5):
            assert not steering.look()
            hardware.run(WINDOW_S)
        assert steering.slew == pytest.approx(0.999 * slew)
        assert (steering.is_beyond, steering.counters["clock_beyond"]) == (False, 0)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_what_is_not_is_told_and_counted_once_and_that_it_is_over(self, hardware: Hardware, sign: int) -> None:
        steering = Steering()
        news = []
        for slew in (0.0, 0.12, 0.13, 0.12, 0.05, 0.0):
            steering.look()
            hardware.slew = sign * slew
            hardware.run(1.5 * WINDOW_S)
            news.append(steering.look())
        assert news == [False, True, False, False, True, False]
        assert (steering.is_beyond, steering.counters["clock_beyond"]) == (False, 1)

    def test_readings_that_are_not_of_one_moment_count_for_nothing(self, hardware: Hardware) -> None:
        steering = Steering()
        steering.look()
        hardware.run(WINDOW_S)
        hardware.reading_s, hardware.slew = TOGETHER_S, 50.0
        assert not steering.look()
        hardware.reading_s, hardware.slew, hardware.steered_s = 0.0, 0.0, 7.0
        hardware.run(WINDOW_S)
        assert not steering.look()
        assert abs(steering.slew) < 0.01

    def test_it_does_not_look_more_often_than_the_window(self, hardware: Hardware) -> None:
        steering = Steering()
        steering.look()
        hardware.slew = 5.0
        hardware.run(0.9 * WINDOW_S)
        assert not steering.look()
        assert steering.slew == 0.0

    def test_this_hosts_clock_is_within_the_bound(self) -> None:
        steering = Steering()
        end = now() + 10
        while steering.slew == 0.0 and now() < end:
            steering.look()
        assert 0.0 < abs(steering.slew) < SLEW or now() >= end


@pytest.mark.parametrize("slew", [0.5, -0.5])
def test_it_is_set_by_how_fast_the_kernels_clock_runs_and_never_fires_early(bench: Bench, slew: float) -> None:
    """It was measured wrong, or that clock has been steered anew since."""
    bench.steering.slew = slew
    deadline = now() + 0.02
    bench.alarm.set(deadline)
    bench.run_until(deadline + 0.02)
    assert len(bench.fired) == 1
    assert bench.fired[0] >= deadline


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

    alarm = Alarm(bench.loop, fire, bench.steering)
    alarm.set(deadline)
    bench.run_until(now() + 0.005)
    alarm.close()
    assert len(bench.fired) == 4


def test_close_frees_the_descriptor_and_is_repeatable(bench: Bench) -> None:
    before = set(os.listdir("/proc/self/fd"))
    alarm = Alarm(bench.loop, lambda: None, bench.steering)
    alarm.set(now() + 1)
    alarm.close()
    alarm.close()
    assert set(os.listdir("/proc/self/fd")) == before
