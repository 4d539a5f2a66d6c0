"""Episode after episode until the time is over; what was seen of each is kept, the full record only of violations."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trials.chaos import history
from trials.chaos.cluster import cluster
from trials.chaos.episode import Told, make_whole, play
from trials.chaos.history import History, Seen, Violation
from trials.chaos.schedule import Mode, Strike, episodes

Tell = Callable[[str], None]
UNITS = {
    "frames lost": " %",
    "clock steered": " %",
    "clock steered too far": " %",
    "clock stepped": " s",
    "RTNL held": " s at a time",
}


class Outcome(msgspec.Struct, frozen=True):
    number: int
    strikes: tuple[Strike, ...]
    seen: Seen
    violations: tuple[Violation, ...]
    saved: str = ""  # the file with the full record


class Candidacy(msgspec.Struct, frozen=True):
    """What came of one mode."""

    mode: Mode
    seed: int
    interval: str
    lease_s: float
    took_s: float
    has_guardian: bool
    has_clock: bool
    outcomes: list[Outcome]
    has_rtnl: bool = True

    @property
    def violations(self) -> list[tuple[Outcome, Violation]]:
        return [(outcome, violation) for outcome in self.outcomes for violation in outcome.violations]


class Orders(msgspec.Struct, frozen=True):
    seed: int
    minutes: float
    interval: str
    only: tuple[str, ...]
    directory: Path  # where records of violations go
    episodes: int = 0  # at most so many; 0: as many as the time allows


def run(mode: Mode, orders: Orders, tell: Tell) -> Candidacy:
    name = f"chaos{os.getpid()}-{mode.value[0]}"
    began_s = time.monotonic()
    outcomes: list[Outcome] = []
    noise_ms = 0.0
    with cluster(name, mode, interval=orders.interval, only=orders.only) as made:
        deck = episodes(random.Random(f"{orders.seed} {mode.value}"), made.chances)
        while not _is_over(orders, began_s, len(outcomes)):
            told = Told(orders.seed, len(outcomes) + 1, noise_ms)
            played = play(made, next(deck), told)
            noise_ms = played.noise_ms
            outcomes.append(_judge(played, orders.directory))
            tell(sentence(played, outcomes[-1]))
            if played.unsettled:
                make_whole(made)
        chances = made.chances
    return Candidacy(
        mode=mode,
        seed=orders.seed,
        interval=orders.interval,
        lease_s=chances.lease_s,
        took_s=time.monotonic() - began_s,
        has_guardian=chances.has_guardian,
        has_clock=chances.has_clock,
        outcomes=outcomes,
        has_rtnl=chances.has_rtnl,
    )


def _is_over(orders: Orders, began_s: float, played: int) -> bool:
    if orders.episodes and played >= orders.episodes:
        return True
    return time.monotonic() - began_s > orders.minutes * 60


def _judge(played: History, directory: Path) -> Outcome:
    violations = tuple(history.check(played))
    saved = str(history.save(played, directory)) if violations else ""
    return Outcome(played.number, played.strikes, history.see(played), violations, saved)


def sentence(played: History, outcome: Outcome) -> str:
    """One line an episode."""
    blows = " + ".join(f"{blow.strike.fault} ({blow.node}{_amount(blow.strike)})" for blow in played.blows)
    seen = outcome.seen
    line = f"{played.mode.value} {played.number}: {blows}, {played.holder} held: outage {seen.outage_ms:.1f} ms"
    line += f", after {seen.after_ms:.1f}, two at once {seen.dual_ms:g}"
    return "\n".join([line, *(f"  VIOLATION {one.law}: {one.text}" for one in outcome.violations)])


def _amount(strike: Strike) -> str:
    if strike.fault not in UNITS:
        return ""
    return f", {strike.amount:g}{UNITS[strike.fault]}"
