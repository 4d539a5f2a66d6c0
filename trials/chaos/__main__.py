"""python -m trials.chaos --minutes 30 --seed 7: random faults on real agents, and a table of what a client missed.

Exit status 1 when anything was seen that must not be: two nodes answered at once, an outage longer than the bound of
its fault, a cluster that did not settle. The seed and the file with the full record are named; `--check FILE` judges
such a record again.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
from pathlib import Path

from haagent.lab import LabError
from trials.chaos import campaign, history, report
from trials.chaos.campaign import Candidacy, Orders
from trials.chaos.schedule import FAULTS, Mode

RECORDS = Path(__file__).resolve().parents[2] / ".make" / "chaos"
# The guarantee that holds whatever happens gets more of the time than the one that holds while nothing is cut.
SHARES = {Mode.CONSISTENT: 0.7, Mode.AVAILABLE: 0.3}


def main() -> int:
    options = _options()
    if options.check:
        return _check(options.check)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    modes = [Mode(options.mode)] if options.mode else list(Mode)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    try:
        done = [campaign.run(mode, _orders(options, seed, mode, alone=len(modes) == 1), _tell) for mode in modes]
    except LabError as error:
        print(f"{error}\nThe campaign could not go on (seed {seed}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted (seed {seed}); nothing is left behind", file=sys.stderr)
        return 130
    _show(done, options)
    return 1 if any(one.violations for one in done) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of all modes together [30]")
    parser.add_argument("--seed", type=int, help="of the schedule [drawn]")
    parser.add_argument("--interval", default="100ms", help="between heartbeats [100ms]")
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], help="only this one [both]")
    parser.add_argument("--only", default="", metavar="FAULT,...", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--episodes", type=int, default=0, help="at most so many per mode")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to FILE as well")
    parser.add_argument("--records", type=Path, default=RECORDS, help="directory for the records of violations")
    parser.add_argument("--check", type=Path, metavar="FILE", help="judge a record again")
    options = parser.parse_args()
    if unknown := [name for name in _names(options.only) if name not in FAULTS]:
        parser.error(f"there is no fault `{unknown[0]}`; there are: {', '.join(FAULTS)}")
    return options


def _orders(options: argparse.Namespace, seed: int, mode: Mode, *, alone: bool) -> Orders:
    return Orders(
        seed=seed,
        minutes=options.minutes * (1.0 if alone else SHARES[mode]),
        interval=options.interval,
        only=_names(options.only),
        directory=options.records,
        episodes=options.episodes,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _show(done: list[Candidacy], options: argparse.Namespace) -> None:
    if options.markdown:
        options.markdown.write_text(report.page(done))
    if options.json:
        print(json.dumps([report.plain(one) for one in done], indent=1))
    else:
        print("\n\n".join(report.text(one) for one in done))


def _check(path: Path) -> int:
    record = history.load(path)
    found = history.check(record)
    print(report.text_of(record, found))
    return 1 if found else 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
