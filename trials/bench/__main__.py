"""python -m trials.bench --runs 20 --markdown docs/reports/benchmarks.md: haagent beside keepalived, one table.

Needs root (keepalived does) and Debian's keepalived. Leaves nothing behind, also when it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from haagent.lab import LabError
from trials.bench import machine, report
from trials.bench.faults import FAULTS
from trials.bench.report import Report
from trials.bench.run import Bench

STEADY = "steady"
STEADY_S = 30.0


def main() -> int:
    options = _options()
    if os.geteuid() != 0 or shutil.which("keepalived") is None:
        print(
            "keepalived is needed, and root to run it: sudo apt install keepalived, then run this as root",
            file=sys.stderr,
        )
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    began_load = os.getloadavg()[0]
    keys = _keys(options.only)
    try:
        with tempfile.TemporaryDirectory(prefix="haagent-bench-") as place:
            bench = Bench(Path(place), _tell)
            rows = bench.rows([FAULTS[key] for key in keys if key in FAULTS], runs=options.runs)
            costs = bench.costs(seconds=STEADY_S) if STEADY in keys else []
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left behind", file=sys.stderr)
        return 130
    command = " ".join(["make bench", *([f"RUNS={options.runs}"] if options.runs != 20 else [])])
    made = Report(machine.facts(began_load=began_load), "100ms", command, rows, costs)
    if options.markdown:
        options.markdown.write_text(report.markdown(made))
    print(json.dumps(msgspec.to_builtins(made), indent=1) if options.json else report.text(made))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="per fault and daemon [20]")
    parser.add_argument("--only", default="", metavar="FAULT,...", help=f"of {', '.join([*FAULTS, STEADY])}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report to FILE as well")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if unknown := [key for key in _keys(options.only) if key not in FAULTS and key != STEADY]:
        parser.error(f"there is no fault `{unknown[0]}`; there are: {', '.join([*FAULTS, STEADY])}")
    return options


def _keys(only: str) -> list[str]:
    return [key.strip() for key in only.split(",") if key.strip()] or [*FAULTS, STEADY]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
