"""Many inputs for one store, in batches, and what must hold after each of these."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from trials.fuzz.door import Door
from trials.fuzz.link import Link
from trials.fuzz.sayings import HONEST
from trials.fuzz.stage import Client, Failed, Stage, until

AT_THE_DOOR = 0.75  # of all inputs
BATCH = 200
STORED, LOOKED_AT = 1_000, 20  # sessions of the honest peer
MEBIBYTE = 1024 * 1024
MOST_GROWN = 256 * MEBIBYTE
SELDOM = 50  # batches between two words about how far it is


class Row(NamedTuple):
    where: str
    inputs: int
    counts: Counter[str]
    slowest_s: float
    before: int
    most: int
    after: int
    causes: Counter[str]  # of the ends of links, as the store counts them
    complaint: str

    def __str__(self) -> str:
        ends = "; ".join(f"{count:,} {what}" for what, count in self.counts.most_common())
        memory = " | ".join(f"{size / MEBIBYTE:.0f}" for size in (self.before, self.most, self.after))
        ping = f"{self.slowest_s * 1000:.1f} ms"
        if self.causes:
            ends += "; links by cause: " + ", ".join(f"{what} {count:,}" for what, count in self.causes.most_common())
        return f"| {self.inputs:,} at the {self.where} | {ends} | {ping} | {memory} | {self.complaint or '-'} |"


class Honest:
    """Clients of the peer, and what they have stored there."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._client = stage, Client(stage.honest.port)
        self._stored: dict[bytes, bytes] = {}

    def store(self) -> None:
        key, value = HONEST + b"%d" % len(self._stored), b"of an honest client: %d" % len(self._stored)
        if (answer := self._client.ask("SET", key, value)) not in ("OK", b"OK"):
            raise Failed(f"the honest peer answers SET with {answer!r}")
        self._stored[key] = value

    def check(self, chance: random.Random, *, how_many: int = LOOKED_AT) -> None:
        """That the store that is attacked has what it got; the latest one it may be getting just now."""
        client = Client(self._stage.attacked.port)
        *_, latest = self._stored
        until("the latest session has come over", lambda: client.ask("GET", latest) == self._stored[latest])
        for key in chance.sample(sorted(self._stored), min(how_many, len(self._stored))):
            if (answer := client.ask("GET", key)) != self._stored[key]:
                raise Failed(f"{key!r} of the honest peer is {answer!r}, and not {self._stored[key]!r}")
        client.close()

    def close(self) -> None:
        self._client.close()


def attack(where: str, *, seed: int, numbers: range, tell: Callable[[str], None]) -> Row:
    """Up to the first thing that is not as it must be. How to see it again is told."""
    number = numbers.start
    slowest_s, complaint = 0.0, ""
    with Stage() as stage:
        attacker, honest = Door(stage) if where == "door" else Link(stage), Honest(stage)
        try:
            for _ in range(STORED if where == "link" else 0):
                honest.store()
            before, _ = stage.attacked.memory()
            for number in numbers:
                attacker.attack(random.Random(f"{seed}:{where}:{number}"))
                if (number + 1 - numbers.start) % BATCH == 0 or number == numbers[-1]:
                    slowest_s = max(slowest_s, attacker.slowest_s, stage.attacked.check_answers())
                    _check(stage, honest, before, where, random.Random(number))
                    if (number + 1) % (SELDOM * BATCH) == 0:
                        tell(f"{number + 1} at the {where}: slowest PING {slowest_s * 1000:.0f} ms")
            if where == "link":
                honest.check(random.Random(seed), how_many=STORED)
        except Failed as failed:
            complaint = f"input {number}, seed {seed}: {failed}"
            first = max(numbers.start, number - number % BATCH)
            tell(
                f"{complaint}\nagain: make fuzz ONLY={where} SEED={seed} FIRST={number} RUNS=1; with what came before:"
            )
            tell(f"make fuzz ONLY={where} SEED={seed} FIRST={first} RUNS={number + 1 - first}")
        finally:
            attacker.close()
            honest.close()
        causes = _causes(stage) if where == "link" and not complaint else Counter()
        after, most = stage.attacked.memory() if not complaint else (before, before)
    inputs = number + 1 - numbers.start
    return Row(where, inputs, attacker.counts, slowest_s, before, most, after, causes, complaint)


def _causes(stage: Stage) -> Counter[str]:
    """With what it has not told yet."""
    store = stage.attacked
    told = store.hear()
    until("it tells of itself", lambda: store.hear() is not told)
    return Counter({name[5:]: count for name, count in store.facts.counts.items() if name.startswith("link_")})


def _check(stage: Stage, honest: Honest, before: int, where: str, chance: random.Random) -> None:
    for store in stage.stores:
        store.check_alive()
        if faults := store.hear().counts.get("faults"):
            raise Failed(f"store {store.name} counts {faults} internal errors")
    now, most = stage.attacked.memory()
    if most - before > MOST_GROWN:
        raise Failed(f"it takes {now // MEBIBYTE} MiB, and took {most // MEBIBYTE}")
    if where == "link":  # clients may delete what there is
        honest.store()
        honest.check(chance)
