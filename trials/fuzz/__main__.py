"""python -m trials.fuzz --runs 200000 --markdown docs/reports/fuzz.md: hostile input for a real store."""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
from pathlib import Path

from trials.fuzz.campaign import AT_THE_DOOR, Row, attack

HEAD = f"""# Hostile input

A store in a process of its own, with an honest peer in another, as agents start them. Three inputs of four come to its
door, from clients: commands of its own table, whole (then all that follows them has to be answered as well) or with
lengths, counts and ends that are not true, cut, bent, pipelined, in transactions, in RESP3, between channels and
scripts; some connections are left half-open, some ask for megabytes and read nothing. The others come to its link with
the peers: from a member of the cluster that has the key and says what no store says, begins frames and does not end
them, asks without end and reads nothing; from members of another cluster, from who has another key, or speaks no TLS.

After each batch: the process lives and has complained of nothing, a PING over another connection is answered within a
second, memory has an end, and of a thousand sessions that the honest peer has stored (before the inputs at the link)
twenty that are asked for are there, and one more that it stores comes over. Each answer at the door is RESP to the last
byte, and none is an internal error. What a member says within the protocol is believed: when it says that all sessions
are gone, they are. Such inputs are left out.

After a flood a PING is sent at once: 400 kB of messages of a few bytes, sent by a member in one go, are heard out if
none of them is a question. More than 16 questions at once end the link.

```
{{command}}
```

{os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}. Memory: of the process, in
MiB; the sessions of a store may take 32 of it, and what its peers do not have yet 64.

| inputs | how they ended | slowest PING | memory before | at most | at the end | not as it must be |
|---|---|---:|---:|---:|---:|---|
"""


def main() -> int:
    options = _options()
    if options.only:
        shares = {options.only: options.runs}
    else:
        at_the_door = int(options.runs * AT_THE_DOOR)
        shares = {"door": at_the_door, "link": options.runs - at_the_door}
    rows: list[Row] = []
    for where, count in shares.items():
        row = attack(where, seed=options.seed, numbers=range(options.first, options.first + count), tell=_tell)
        rows.append(row)
    command = f"make fuzz RUNS={options.runs} SEED={options.seed}"
    page = HEAD.format(command=command) + "".join(f"{row}\n" for row in rows)
    print(page)
    if options.markdown and not options.only:
        options.markdown.write_text(page)
    return 1 if any(row.complaint for row in rows) else 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200_000, help="how many inputs [200000]")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="[any]")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input [0]")
    parser.add_argument("--only", choices=["door", "link"], help="all inputs there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page to FILE as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
