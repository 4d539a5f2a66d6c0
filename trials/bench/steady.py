"""What it costs when nothing happens: two nodes, four groups, nobody probing."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import msgspec

from haagent.lab import Lab
from haagent.lab.processes import Process

NODES = ("A", "B")
CALM_S = 5.0  # after the start, before counting begins


class Cost(msgspec.Struct, frozen=True):
    """Of one node, all processes of the daemon; the mean of the two nodes."""

    product: str
    cpu_percent: float  # of one core
    pss_mib: float  # proportional: what is shared counts by its share
    rss_mib: float
    processes: float


def measure(name: str, lab: Lab, *, seconds: float) -> Cost:
    time.sleep(CALM_S)
    before = {node: _running_s(lab, node) for node in NODES}
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    used = [sum(_running_s(lab, node).values()) - sum(before[node].values()) for node in NODES]
    memory = [_memory(process) for node in NODES for process in _of(lab, node)]
    return Cost(
        product=name,
        cpu_percent=round(100 * sum(used) / len(used) / took_s, 3),
        pss_mib=round(sum(pss for pss, _ in memory) / 1024 / len(NODES), 1),
        rss_mib=round(sum(rss for _, rss in memory) / 1024 / len(NODES), 1),
        processes=len(memory) / len(NODES),
    )


def _of(lab: Lab, node: str) -> list[Process]:
    return lab.agents.processes(lab.state(), node)


def _running_s(lab: Lab, node: str) -> dict[str, float]:
    """Per thread, the time it had a processor, to the nanosecond (field 1 of schedstat)."""
    found = {}
    for process in _of(lab, node):
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                found[str(thread)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return found


def _memory(process: Process) -> tuple[int, int]:
    """KiB: proportional, resident."""
    fields = dict.fromkeys(("Pss", "Rss"), 0)
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in fields:
            fields[name] = int(value.split()[0])
    return fields["Pss"], fields["Rss"]
