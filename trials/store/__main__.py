"""python -m trials.store --runs 50 --markdown docs/reports/sessions.md: stores of real agents under real faults."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trials.store import trials
from trials.store.trials import Row

HEAD = f"""# Sessions under faults

Two nodes with real agents and their stores, in network namespaces. Applications write through the store of their own
host, ten connections at a time; a host that is lost takes its applications with it, and what they had been answered is
in a file.

```
{{command}}
```

{os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}.

| what befalls it | what was seen | not as it must be |
|---|---|---|
"""


def main() -> int:
    options = _options()
    few = max(1, options.runs // 10)
    every: dict[str, Callable[[trials.Tell], Row]] = {
        "sync": partial(trials.host_lost, "sync", options.runs),
        "async": partial(trials.host_lost, "async", options.runs),
        "cut": partial(trials.partition, few),
        "join": partial(trials.rejoin, few),
        "million": trials.million,
    }
    rows = [run(_tell) for name, run in every.items() if not options.only or name in options.only]
    lines = [f"| {row.what} | {row.figures} | {row.complaint or '-'} |" for row in rows]
    command = f"make sessions RUNS={options.runs}"
    page = HEAD.format(command=command) + "\n".join(lines) + "\n"
    print(page)
    if options.markdown:
        options.markdown.write_text(page)
    return 1 if any(row.complaint for row in rows) else 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.store", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50, help="of a lost host; a tenth of it of the others [50]")
    parser.add_argument("--only", action="append", default=[], choices=["sync", "async", "cut", "join", "million"])
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
