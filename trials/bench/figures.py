"""From samples to the figures of the table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

import msgspec

from trials.bench.trial import Sample


class Spread(msgspec.Struct, frozen=True):
    min: float
    median: float
    p99: float
    max: float

    def __str__(self) -> str:
        return " / ".join(f"{figure:.1f}" for figure in (self.min, self.median, self.p99, self.max))


class Cell(msgspec.Struct, frozen=True):
    """One product under one fault."""

    product: str
    runs: int
    outage: Spread
    after: Spread
    taken: Spread | None  # None: in no run did another node answer
    dual: Spread
    dual_to_end: int  # in so many runs two nodes still answered when the fault was mended
    still_answers: int
    still_has_it: int
    noise: Spread
    failed: int = 0  # trials that did not come to an end


def spread(figures: Iterable[float]) -> Spread:
    """p99 by nearest rank, so it is one of the figures: with few runs it is the maximum."""
    ordered = sorted(figures)
    rank = max(0, -(-len(ordered) * 99 // 100) - 1)
    return Spread(ordered[0], median(ordered), ordered[rank], ordered[-1])


def cell(product: str, samples: Sequence[Sample], *, failed: int = 0) -> Cell:
    def of(figure: Callable[[Sample], float]) -> Spread:
        return spread(figure(sample) for sample in samples)

    taken = [sample.taken for sample in samples if sample.taken is not None]
    return Cell(
        product=product,
        runs=len(samples),
        outage=of(lambda sample: sample.outage),
        after=of(lambda sample: sample.after),
        taken=spread(taken) if taken else None,
        dual=of(lambda sample: sample.dual),
        dual_to_end=sum(sample.is_dual_at_end for sample in samples),
        still_answers=sum(sample.still_answers for sample in samples),
        still_has_it=sum(sample.still_has_it for sample in samples),
        noise=of(lambda sample: sample.noise),
        failed=failed,
    )


class Row(msgspec.Struct, frozen=True):
    key: str
    title: str
    what: str
    cells: list[Cell]
    is_quiet: bool = False  # nothing was done: the noise itself

    def cell(self, product: str) -> Cell | None:
        return next((cell for cell in self.cells if cell.product == product), None)


def faster(rows: Sequence[Row], ours: str, theirs: str) -> list[str]:
    """A sentence for each fault in which a client went without the address for a shorter time with them.

    Also where the difference is smaller than what the machine does by itself, but then that is said."""
    found = []
    for row in rows:
        mine, other = row.cell(ours), row.cell(theirs)
        if row.is_quiet or mine is None or other is None or other.outage.median >= mine.outage.median:
            continue
        text = f"{row.title}: {other.outage.median:.1f} ms beside {mine.outage.median:.1f} ms (medians)"
        if other.dual.median > mine.outage.median - other.outage.median:
            text += f", because two nodes answer at once ({other.dual.median:.0f} ms of it in the median run)"
        elif mine.outage.median - other.outage.median <= max(mine.noise.p99, other.noise.p99):
            text += ", a difference within the noise"
        found.append(text)
    return found
