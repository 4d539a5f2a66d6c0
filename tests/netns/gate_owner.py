"""Holds the gate of a host as an agent would, for tests of the gate alone. Does what it is told, a line at a time.

    python -m tests.netns.gate_owner [--shared] [--adopting] [--many]

It answers each line with one of JSON. `open S` and `renew S` are for S seconds from now; `keep S` renews every S/7
seconds from then on. `--shared`: as on a kernel before 6.9. `--many`: of a thousand addresses more.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from haagent.gate import Gate, GateError
from haagent.lab.plan import VIP4, VIP6

VIPS = [ip_address(VIP4).packed, ip_address(VIP6).packed]
MANY = [bytes((10, 30, number // 200, number % 200 + 1)) for number in range(1000)]


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Owner:
    def __init__(self, words: list[str]) -> None:
        self.notes: list[str] = []
        self.gate = Gate(note=lambda _kind, text: self.notes.append(text), now=now, may_persist="--shared" not in words)
        self.vips = VIPS + MANY if "--many" in words else VIPS
        self.gate.start(self.vips, adopting=VIPS if "--adopting" in words else ())
        self._keeping: asyncio.Task[None] | None = None

    def facts(self) -> dict[str, Any]:
        state, why = self.gate.state(self.vips)
        is_shared = self.gate._monitor is not None
        return {"state": state, "why": why, "notes": self.notes, "counters": +self.gate.counters, "shared": is_shared}

    def do(self, verb: str, seconds: str = "0") -> dict[str, Any]:
        until = now() + float(seconds)
        actions: dict[str, Callable[[], object]] = {
            "open": lambda: self.gate.open(self.vips, until),
            "renew": lambda: self.gate.renew(self.vips, until),
            "keep": lambda: self._keep(float(seconds)),
            "rehearse": lambda: [self.gate.rehearse() for _ in range(100)],
            "shut": lambda: self.gate.shut(self.vips),
            "close": self.gate.close,
            "facts": lambda: None,
        }
        began = time.perf_counter()
        try:
            actions[verb]()
        except GateError as error:
            return {"error": str(error)}
        took_us = 1e6 * (time.perf_counter() - began)
        ahead_s = now() - time.monotonic()  # the measurements' clock
        return {**self.facts(), "until_s": until - ahead_s, "took_us": took_us}

    def _keep(self, lease_s: float) -> None:
        async def keep() -> None:
            while True:
                self.gate.renew(self.vips, now() + lease_s)
                await asyncio.sleep(lease_s / 7)

        self._keeping = asyncio.get_running_loop().create_task(keep())


async def main() -> None:
    owner = Owner(sys.argv[1:])
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(json.dumps(owner.facts()), flush=True)
    while line := await lines.readline():
        print(json.dumps(owner.do(*line.decode().split())), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
