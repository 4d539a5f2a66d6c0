"""The ground that a lab stands on: a directory, hosts that are namespaces, and how a process comes to run on one.

It knows nothing of agents but where their directories are. What starts agents (`agents`) and what breaks things
(`faults`) are given the site and nothing more.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from haagent.lab import namespaces, state
from haagent.lab.errors import EarlyEnd, LabError
from haagent.lab.plan import SWITCH
from haagent.lab.processes import MARK, VISITOR
from haagent.lab.state import LabState


class Site:
    def __init__(self, directory: Path, *, dies_with_us: bool = False) -> None:
        self.directory = directory
        self.dies_with_us = dies_with_us
        self._children: list[subprocess.Popen[bytes]] = []  # ours to reap

    def state(self) -> LabState:
        return state.load(self.directory)

    def command_line(self, name: str, command: Sequence[str]) -> list[str]:
        """What to execute here so that `command` runs on that host."""
        known = self.state()
        if name != SWITCH:
            known.plan.host(name)
        return namespaces.inside(known.hosts[name].keeper, command, user=known.root, cwd=Path.cwd())

    def environment_on(self, name: str) -> dict[str, str]:
        """For visitors: `haagent status` on a node talks to the agent of that node."""
        mine = {
            "HAAGENT_RUN_DIR": str(self.run_directory(name)),
            "HAAGENT_STATE_DIR": str(self.state_directory(name)),
            "HAAGENT_CONFIG": str(self.directory / "haagent.yaml"),
            VISITOR: "1",
        }
        return self.environment() | mine

    def run(
        self, name: str, command: Sequence[str], *, checks: bool = True, within_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return its output; with `checks` a failure raises with what it said."""
        done = subprocess.run(  # noqa: S603 - running commands is what this is for
            self.command_line(name, command),
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            env=self.environment_on(name),
            stdin=subprocess.DEVNULL,
        )
        if checks and done.returncode:
            raise LabError(f"on {name}, `{' '.join(command)}`: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def start_on(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process on a host, with pipes, in a session of its own; ends with the lab at the latest."""
        child = subprocess.Popen(  # noqa: S603 - running commands is what this is for
            self.command_line(name, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment_on(name),
            start_new_session=True,
        )
        self.adopt(child)
        return child

    def serve_on(self, name: str, command: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        """A service of a host, which goes on when this process has ended; ends with the lab at the latest."""
        ending = ["setpriv", "--pdeathsig", "KILL", "--"] if self.dies_with_us else []
        with log.open("ab") as file:
            child = subprocess.Popen(  # noqa: S603 - running commands is what this is for
                self.command_line(name, [*ending, *command]),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self.environment_on(name),
                start_new_session=True,
            )
        self.adopt(child)
        return child

    def run_directory(self, name: str) -> Path:
        return self.directory / name / "run"

    def state_directory(self, name: str) -> Path:
        return self.directory / name / "state"

    def wait_for(self, condition: Callable[[], Any], *, what: str, within_s: float = 10.0) -> None:
        """Until the condition holds. A LabError inside it means: not yet."""
        deadline = time.monotonic() + within_s
        while True:
            reason = ""
            try:
                if condition():
                    return
            except EarlyEnd:
                raise
            except LabError as error:
                reason = f" ({error})"
            if time.monotonic() > deadline:
                raise LabError(f"waited {within_s:g} s in vain for this: {what}{reason}")
            time.sleep(0.01)

    def adopt(self, child: subprocess.Popen[bytes]) -> None:
        self._children.append(child)

    def reap(self) -> None:
        for child in self._children:
            child.wait(timeout=10)
        self._children.clear()

    def configure(self, name: str, script: str) -> None:
        done = self.run(name, ["sh", "-e", "-c", script], checks=False)
        if done.returncode:
            raise LabError(f"{name} could not be set up: {done.stderr.strip() or done.returncode}")

    def environment(self) -> dict[str, str]:
        """Every process of the lab carries the lab's mark: that is how `down` finds all of them."""
        return {**os.environ, MARK: str(self.directory), "PATH": namespaces.search_path()}
