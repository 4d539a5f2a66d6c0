"""What tests of the gate use: a process that holds one, and a look at what a host answers and has in its kernel."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from haagent.lab import Lab
from haagent.lab.plan import CLIENT, VIP4, VIP6

_neighbours: dict[Path, subprocess.Popen[bytes]] = {}


class Owner:
    """The process that has the gate of a host."""

    def __init__(self, lab: Lab, name: str, *words: str) -> None:
        self.lab, self.name = lab, name
        self.process = lab.start_on(name, [sys.executable, "-m", "tests.netns.gate_owner", *words])
        self.first = self._heard()

    def do(self, *words: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()
        return self._heard()

    def send(self, number: signal.Signals) -> float:
        """When it was sent, and after it was."""
        self.process.send_signal(number)
        at_s = time.monotonic()
        if number == signal.SIGKILL:
            self.process.wait(timeout=10)
        return at_s

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self.process.wait(timeout=10)


def bind(lab: Lab, name: str) -> None:
    """The addresses are on the host, for ever: nothing but the gate can keep it from answering."""
    for address in (f"{VIP4}/24", f"{VIP6}/64"):
        lab.run(name, ["ip", "address", "replace", address, "dev", "eth0", "nodad"])


def asked(lab: Lab, name: str) -> set[str]:
    """Which questions of a neighbour the host answers."""
    if lab.directory not in _neighbours:
        _neighbours[lab.directory] = lab.start_on(CLIENT, [sys.executable, "-m", "tests.netns.neighbour", "eth0"])
    process = _neighbours[lab.directory]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{lab.state().plan.host(name).ports[0].mac}\n".encode())
    process.stdin.flush()
    answers = json.loads(process.stdout.readline())
    return {question for question, is_answered in answers.items() if is_answered}


def tables(lab: Lab, name: str) -> set[str]:
    return set(lab.run(name, ["nft", "list", "tables"]).stdout.split("\n")) - {""}


def end_neighbours() -> None:
    while _neighbours:
        _, process = _neighbours.popitem()
        process.kill()
        process.communicate()
