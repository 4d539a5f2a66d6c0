"""Every fault, so many times, product after product in turns; labs are up only while their fault is tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from haagent.lab import LabError, Wishes
from trials.bench import figures, products, steady, trial
from trials.bench.faults import Fault
from trials.bench.figures import Row
from trials.bench.products import Haagent, Keepalived, Product
from trials.bench.report import OURS, OURS_SLOW, OURS_TWO, THEIRS, THEIRS_TUNED
from trials.bench.steady import Cost
from trials.bench.trial import Sample

Tell = Callable[[str], None]
INTERVAL_S = 0.1
TUNED = "vrrp_higher_prio_send_advert true"


class Bench:
    """`place` is a directory for the configurations of keepalived."""

    def __init__(self, place: Path, tell: Tell) -> None:
        self._place, self._tell = place, tell
        self._made = 0  # labs and directories never share a name

    def rows(self, faults: Sequence[Fault], *, runs: int) -> list[Row]:
        return [self._row(fault, runs) for fault in faults]

    def _row(self, fault: Fault, runs: int) -> Row:
        samples: dict[str, list[Sample]] = {name: [] for name in contenders(fault)}
        failed = dict.fromkeys(samples, 0)
        with ExitStack() as stack:
            up = {name: self._make(name, stack) for name in samples}
            for number, (name, found) in product(range(1, runs + 1), samples.items()):
                try:
                    found.append(trial.run(up[name], fault))
                except LabError as error:
                    failed[name] += 1
                    said = f"failed: {error}"
                    up[name].lab.down()
                    up[name] = self._make(name, stack)
                else:
                    said = _sentence(found[-1])
                self._tell(f"{fault.key} {number}/{runs} {name}: {said}")
        cells = [figures.cell(name, found, failed=failed[name]) for name, found in samples.items() if found]
        return Row(fault.key, fault.title, fault.what, cells, is_quiet=fault.key == "none")

    def costs(self, *, seconds: float) -> list[Cost]:
        """One after the other: nothing else of ours runs meanwhile."""
        found = []
        groups = str(products.HERE / "haagent-groups.yaml")
        for name in (OURS, THEIRS):
            with ExitStack() as stack:
                if name == OURS:
                    lab = self._haagent(name, stack, Wishes(extra=groups)).lab
                else:
                    lab = self._keepalived(name, stack, file="keepalived-groups.conf").lab
                found.append(steady.measure(name, lab, seconds=seconds))
                self._tell(f"steady {name}: {found[-1].cpu_percent:.2f} % of a core, {found[-1].pss_mib:.1f} MiB")
        return found

    def _make(self, name: str, stack: ExitStack) -> Product:
        match name:
            case "haagent":
                return self._haagent(name, stack, Wishes(on_partition="consistent"))
            case "haagent, 1 s":
                return self._haagent(name, stack, Wishes(on_partition="consistent", interval="1s"))
            case "haagent, two nodes":
                return self._haagent(name, stack, Wishes(on_partition="available"))
            case "keepalived":
                return self._keepalived(name, stack)
        return self._keepalived(name, stack, extra=TUNED)

    def _haagent(self, name: str, stack: ExitStack, wishes: Wishes) -> Haagent:
        made = products.haagent(name, self._prefix(), wishes)
        stack.callback(made.lab.down)
        return made

    def _keepalived(self, name: str, stack: ExitStack, *, file: str = "keepalived.conf", extra: str = "") -> Keepalived:
        prefix = self._prefix()
        made = products.keepalived(
            name, prefix, place=self._place / prefix, interval_s=INTERVAL_S, file=file, extra=extra
        )
        stack.callback(made.lab.down)
        return made

    def _prefix(self) -> str:
        self._made += 1
        return f"bench{os.getpid()}-{self._made}"


def contenders(fault: Fault) -> list[str]:
    found = [OURS]
    if fault.slow_too:
        found.append(OURS_SLOW)
    if fault.splits:
        found.append(OURS_TWO)
    found.append(THEIRS)
    if fault.splits:
        found.append(THEIRS_TUNED)
    return found


def _sentence(sample: Sample) -> str:
    return f"outage {sample.outage:.1f} ms, after {sample.after:.1f}, two at once {sample.dual:.0f}"
