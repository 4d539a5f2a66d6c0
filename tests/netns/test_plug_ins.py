"""Real agents with plug-ins that raise, hang and talk nonsense: they live, they serve, and their history names them.

The plug-ins are an installed package like any third party's: a module, and the entry points of its metadata.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from haagent.lab import Lab, Wishes
from tests.support.observe import MakeLab, events, holder, other, told

pytestmark = pytest.mark.netns
LASTS_S = float(os.environ.get("PLUG_INS_S", "10"))  # 60 for the record

MODULE = """
import asyncio, sys, threading
from typing import ClassVar
import msgspec

class None_(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass

class Backend:
    Options = None_
    timeout_s = 1.0
    def __init__(self, context, options):
        self.context = context
    async def open(self): pass
    async def take(self, ballot): pass
    async def drop(self, ballot): pass
    async def holds(self): return True
    async def close(self): pass

class Raises(Backend):
    async def take(self, ballot): raise KeyError("RouteTables")

class Unmakeable(Backend):
    def __init__(self, context, options): raise OSError("no such library")

class Hangs(Backend):
    async def take(self, ballot):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
    async def close(self): await asyncio.sleep(3600)

class Unopened(Backend):
    async def open(self): await asyncio.sleep(3600)

class Exits(Backend):
    async def take(self, ballot): sys.exit("wrong usage")

class Nonsense(Backend):
    async def holds(self): return "perhaps"

class Untidy(Backend):
    async def take(self, ballot):
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, sys.exit, 3)
        loop.call_later(0.6, int, "x")
        async def forgotten(): raise RuntimeError("nobody waits")
        loop.create_task(forgotten())
        self.context.note("a kind that is no word " * 20, "half a letter: \\ud800")

class CheckRaises:
    Options = None_
    def __init__(self, context, options): pass
    async def probe(self): raise LookupError("no such column")

class CheckHangs(CheckRaises):
    async def probe(self):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

class CheckNonsense(CheckRaises):
    async def probe(self): return "well"

class CheckExits:
    Options = None_
    def __init__(self, context, options): pass
    async def watch(self, report): sys.exit()
"""
BACKENDS = ("Raises", "Unmakeable", "Hangs", "Unopened", "Exits", "Nonsense", "Untidy")
CHECKS = ("CheckRaises", "CheckHangs", "CheckNonsense", "CheckExits")

TOLD = {  # by group, what its history says
    "raises": "raises: the backend broke in take: KeyError: 'RouteTables'",
    "unmakeable": "unmakeable: the backend broke in its making: OSError: no such library",
    "hangs": "hangs: no answer within 1 s",
    "unopened": "the backend was not open within 5 s",
    "exits": "exits: the backend broke in take: SystemExit: wrong usage",
    "nonsense": "the backend broke in holds: it answered with a str, not True or False",
    "untidy": "half a letter: ?",
    "checkraises": "check app (checkraises) broke in probe: LookupError: no such column",
    "checkhangs": "check app (checkhangs): no answer to probe within 1 s",
    "checknonsense": "check app (checknonsense) broke in its verdict: a str is no Verdict",
    "checkexits": "check app (checkexits) broke in watch: SystemExit",
    "hooked": "hook taken killed after 0.5 s: ?[2J",
}


def install(directory: Path) -> None:
    (directory / "hostile.py").write_text(MODULE)
    metadata = directory / "hostile-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1\n")
    lines = ["[haagent.backends]", *(f"{name.lower()} = hostile:{name}" for name in BACKENDS)]
    lines += ["[haagent.checks]", *(f"{name.lower()} = hostile:{name}" for name in CHECKS)]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def configuration(directory: Path) -> Path:
    hook = directory / "hook"
    hook.write_text("#!/bin/sh\nprintf '\\033[2J\\377'\nexec sleep 600\n")
    hook.chmod(0o755)
    groups = {name.lower(): {"backend": name.lower()} for name in BACKENDS}
    groups |= {name.lower(): {"checks": {"app": {"kind": name.lower()}}} for name in CHECKS}
    groups["hooked"] = {"hooks": {"taken": str(hook), "timeout": "500ms"}}
    for number, group in enumerate(groups.values(), 120):
        group |= {"addresses": [f"10.20.1.{number}/24"], "interface": "eth0"}
    path = directory / "extra.yaml"
    path.write_text(yaml.safe_dump({"groups": groups}))
    return path


def pids(lab: Lab) -> dict[str, int]:
    return {name: lab.agents.status(name)["pids"]["agent"] for name in ("A", "B")}


def untold(lab: Lab, missing: dict[str, str]) -> dict[str, str]:
    """The history is short, and theirs is long: what was seen once counts."""
    for one in events(lab, "A"):
        if missing.get(one["group"], "nothing") in one["text"]:
            del missing[one["group"]]
    return missing


def test_agents_outlive_their_plug_ins_and_say_whose_fault_it_was(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(configuration(tmp_path))))
    lab.wait_for(lambda: lab.agents.holder("web"), what="web is held", within_s=60)
    before = pids(lab)
    missing = dict(TOLD)
    deadline = time.monotonic() + 60
    while untold(lab, missing):
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)
    with lab.probe() as probe:
        probe.wait_answer()
        for _ in range(2):
            origin = holder(lab)
            told(lab, origin, "failover", "web", "--to", other(lab, origin))
            time.sleep(LASTS_S / 2)
    assert pids(lab) == before
    counters = [lab.agents.status(name)["counters"].get("stray_exceptions", 0) for name in before]
    assert max(counters) >= 3, "a timer that exits, one that raises, a task that nobody waits for"
