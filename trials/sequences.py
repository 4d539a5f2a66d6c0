"""python -m trials.sequences --runs 20 --markdown docs/reports/sequences.md: where two might answer, run after run.

Each sequence is a test of `tests/netns`: a thing that operators, machines or stores do, after which two hosts answered
for one address in some release of some product. Real agents, and a client that asks every node each millisecond. What
is told of two at once is the client's own record, whatever the test makes of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from haagent.lab import Measurement
from haagent.lab.answers import Trace, dual_ms

SEQUENCES = {
    "1. voters are replaced in one edit, come and go": ("test_voters.py",),
    "2. an address changes its group, groups their names, while files differ": ("test_ownership.py",),
    "3. maintenance that nobody has heard of": ("test_commands.py::test_maintenance_that_nobody_heard",),
    "4. clocks are steered away from their counters": ("test_clocks.py",),
    "5. a name is used twice, a machine put back to the past": ("test_twins.py",),
    "6. a voter loses its memory while a lease is shortened": ("test_memory.py",),
    "7. etcd is restored from a backup": ("test_etcd_restored.py",),
    "8. a disk or the kernel holds up what an agent does": ("test_unblocked.py",),
}
HEAD = f"""# Sequences

Things that have made two hosts answer for one address somewhere, done again and again to real agents in network
namespaces. A client asks for the addresses every millisecond, and asks each node directly as well. *Two at once*: the
most that an old holder went on answering what was asked after the new one's first answer had come. (In the last nothing
moves: what is measured there is that heartbeats go on.) A run that failed while the machine stood still was done again,
unless two answered.

```
{{command}}
```

{os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}.

"""


class Row(msgspec.Struct):
    name: str
    runs: int = 0
    failed: int = 0
    dual_ms: float | None = None  # nobody was asked


class Watch:
    """A plugin of pytest: every test so often, and what came of it."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self.rows = {name: Row(name) for name in SEQUENCES}
        self._dual_ms: list[float] = []
        genuine = Measurement.stop

        def stop(measurement: Measurement) -> list[Trace]:
            traces = genuine(measurement)
            self._dual_ms += [dual_ms(trace) for trace in traces]
            return traces

        Measurement.stop = stop  # type: ignore[method-assign, assignment]

    @pytest.fixture
    def run(self) -> None:
        """Which one it is."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.fixturenames.append("run")
        metafunc.parametrize("run", range(self._runs))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _sequence(item.nodeid)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.rows[_sequence(report.nodeid)]
        row.runs += report.when == "call" and not report.skipped
        row.failed += report.failed
        row.dual_ms = max([*self._dual_ms, row.dual_ms or 0.0]) if self._dual_ms else row.dual_ms
        self._dual_ms.clear()


def _sequence(node_id: str) -> str:
    return next((name for name, tests in SEQUENCES.items() if any(f"netns/{test}" in node_id for test in tests)), "")


def table(rows: Sequence[Row]) -> str:
    lines = ["| sequence | runs | two at once, max ms | failures |", "|---|---:|---:|---:|"]
    for row in rows:
        dual = "-" if row.dual_ms is None else f"{row.dual_ms:g}"
        lines.append(f"| {row.name} | {row.runs} | {dual} | {row.failed} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    options = _options()
    os.environ.pop("RUNS", None)  # how often a test repeats what it does is its own affair
    names = [name for number, name in enumerate(SEQUENCES, 1) if number in (options.only or [number])]
    files = {f"tests/netns/{test.partition('::')[0]}" for name in names for test in SEQUENCES[name]}
    watch = Watch(options.runs)
    status = pytest.main(["-q", *sorted(files)], plugins=[watch])
    made = table([watch.rows[name] for name in names])
    if options.markdown:
        options.markdown.write_text(HEAD.format(command=f"make sequences RUNS={options.runs}") + made)
    print(made)
    return int(status)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.sequences", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="of each test [20]")
    parser.add_argument("--only", type=int, action="append", default=[], metavar="NUMBER", help="one of the sequences")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
