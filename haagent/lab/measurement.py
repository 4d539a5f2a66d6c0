"""A measurement under way: the prober process on the client host, seen from the lab's side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from haagent.lab.answers import Trace
from haagent.lab.errors import LabError
from haagent.lab.outage import Outage, measure
from haagent.lab.plan import Plan
from haagent.lab.probe import Last, Specification

Starter = Callable[[list[str]], "subprocess.Popen[bytes]"]


class Measurement:
    """Use as a context; instants are CLOCK_MONOTONIC (`time.monotonic()`), the same in every process."""

    def __init__(self, plan: Plan, start: Starter, *, interval_s: float = 0.001, asks_directly: bool = True) -> None:
        wanted = msgspec.json.encode(Specification(plan, interval_s, asks_directly)).decode()
        self._process = start([sys.executable, "-c", program("haagent.lab.probe"), wanted])
        self._traces: list[Trace] | None = None

    def __enter__(self) -> Measurement:
        self._heard()  # it is ready
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self._end()

    def last(self) -> dict[str, Last]:
        """Per address: who answered last, and when."""
        self._tell(b"last\n")
        return {last.address: last for last in msgspec.json.decode(self._heard(), type=list[Last])}

    def wait_answer(
        self, *, by: str = "", other_than: str = "", since_s: float | None = None, within_s: float = 10.0
    ) -> None:
        """Until every address is answered (by this node, or by another than this one), by a packet that came after
        `since_s` (default: now)."""
        since_s = time.monotonic() if since_s is None else since_s
        deadline = time.monotonic() + within_s
        while True:
            last = self.last()
            if all(one.at_s > since_s and by in ("", one.by) and one.by != other_than for one in last.values()):
                return
            if time.monotonic() > deadline:
                seen = ", ".join(f"{one.address}: {one.by if one.at_s else 'nobody'}" for one in last.values())
                raise LabError(f"no answer{f' from {by}' if by else ''} after {within_s:g} s (last: {seen})")
            time.sleep(0.01)

    def stop(self) -> list[Trace]:
        """End the probing; the whole record, by address."""
        if self._traces is None:
            self._tell(b"stop\n")
            self._traces = msgspec.json.decode(self._heard(), type=list[Trace])
            self._end()
        return self._traces

    def outage(
        self,
        address: str,
        *,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        threshold_ms: float = 3.0,
    ) -> Outage:
        """Ends the probing if it still runs."""
        for trace in self.stop():
            if trace.address == address:
                return measure(trace, start_s=start_s, end_s=end_s, threshold_ms=threshold_ms)
        raise LabError(f"{address} was not probed")

    def outages(self, *, start_s: float = 0.0, end_s: float = float("inf")) -> list[Outage]:
        return [measure(trace, start_s=start_s, end_s=end_s) for trace in self.stop()]

    def _tell(self, word: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word)
        self._process.stdin.flush()

    def _heard(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise LabError(f"the prober ended: {self._end().strip().splitlines()[-1:] or 'without a word'}")
        return line

    def _end(self) -> str:
        """Its last words."""
        self._process.kill()
        return self._process.communicate(timeout=10)[1].decode(errors="replace")


def program(module: str) -> str:
    """With this process's own search path: an installed package may lie where Python does not look by itself."""
    run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return f"import runpy, sys; sys.path[:] = {sys.path!r}; {run}"
