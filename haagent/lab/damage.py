"""What is broken in the network of a lab, as a value, and the nftables rules of the switch that make it real.

Level, not edge: what is broken is a value; after every change the whole rule set is made again from it and
replaces the former one in one transaction. No frame passes between two rule sets, and nothing can be left over.

The rules sit in the bridge's `forward` hook of the switch, where frames have a cable they came from and a cable they
go to. So a cut is silent: both ends keep their carrier, as with a switch or an intermediate line that died. Loss of
carrier is another fault (`link down`) and made by taking the switch's end of the cable down.
"""

from __future__ import annotations

import msgspec

from haagent.lab.errors import LabError
from haagent.lab.plan import Plan

EVERYBODY = "*"
TABLE = "bridge haagent_lab"


class Cut(msgspec.Struct, frozen=True, order=True):
    """Frames from `source` no longer reach `target`; either may be everybody."""

    source: str
    target: str

    def __str__(self) -> str:
        source = "everybody" if self.source == EVERYBODY else self.source
        target = "everybody" if self.target == EVERYBODY else self.target
        return f"nothing from {source} reaches {target}"


class Damage(msgspec.Struct):
    cuts: list[Cut] = []
    losses: dict[str, float] = {}  # host: percent of its frames, each way
    unplugged: list[str] = []  # cables

    def cut(self, source: str, target: str, *, one_way: bool) -> None:
        if source == target:
            raise LabError(f"{source} cannot be cut from itself")
        self.cuts = sorted({*self.cuts, *_ways(source, target, one_way=one_way)})

    def heal(self, source: str, target: str) -> None:
        """With everybody as target: every cut and loss that `source` has part in."""
        if target == EVERYBODY:
            self.cuts = [cut for cut in self.cuts if source not in (cut.source, cut.target)]
            self.losses.pop(source, None)
            return
        for host in (source, target):
            if {Cut(host, EVERYBODY), Cut(EVERYBODY, host)} & set(self.cuts):
                raise LabError(f"{host} is cut from everybody; heal {host} as a whole first")
        ended = _ways(source, target, one_way=False)
        self.cuts = [cut for cut in self.cuts if cut not in ended]

    def sentences(self) -> list[str]:
        return [
            *(str(cut) for cut in self.cuts),
            *(f"{host} loses {percent:g} % of its frames each way" for host, percent in self.losses.items()),
            *(f"cable {cable} is unplugged" for cable in self.unplugged),
        ]


def _ways(source: str, target: str, *, one_way: bool) -> list[Cut]:
    return [Cut(source, target)] if one_way else [Cut(source, target), Cut(target, source)]


def rules(plan: Plan, damage: Damage) -> str:
    """An nftables script that replaces whatever rules the lab had."""
    lines = [_cut_rule(plan, cut) for cut in damage.cuts]
    for host, percent in sorted(damage.losses.items()):
        cables = _cables(plan, host)
        chance = f"numgen random mod 10000 < {round(percent * 100)} counter drop"
        lines += [f"iifname {cables} {chance}", f"oifname {cables} {chance}"]
    body = "\n    ".join(lines)
    # `table` before `delete table` so that the deletion cannot fail for want of one
    return (
        f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n"
        f"  chain forward {{\n    type filter hook forward priority 0; policy accept;\n    {body}\n  }}\n}}\n"
    )


def _cut_rule(plan: Plan, cut: Cut) -> str:
    source = "" if cut.source == EVERYBODY else f"iifname {_cables(plan, cut.source)} "
    target = "" if cut.target == EVERYBODY else f"oifname {_cables(plan, cut.target)} "
    return f"{source}{target}counter drop"


def _cables(plan: Plan, host: str) -> str:
    return "{ " + ", ".join(f'"{port.cable}"' for port in plan.host(host).ports) + " }"
