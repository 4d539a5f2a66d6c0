"""Which process of a node is the guardian and which the agent, read from the node's own process table.

What the lab started is the root. With a guardian, the agent is its child; without one the root is the agent itself.
The table is read anew for each fault: after a restart, or when nobody answers, nothing else can be relied on.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from haagent.lab import Lab, processes
from haagent.lab.processes import Process


class Tree(msgspec.Struct, frozen=True):
    """Of one node's daemon. Nothing in it when nothing runs."""

    everybody: tuple[Process, ...] = ()
    root: Process | None = None
    deciding: Process | None = None  # the agent: a child of the guardian, or the root

    @property
    def guardian(self) -> Process | None:
        return None if self.root == self.deciding else self.root


def tree(lab: Lab, name: str) -> Tree:
    now = lab.state()
    everybody = tuple(lab.agents.processes(now, name))
    root = now.hosts[name].agent
    if root is None or not root.is_alive:
        return Tree(everybody)
    children = [process for process in everybody if parent_of(process.pid) == root.pid]
    deciding = next((child for child in children if is_same_program(child.pid, root.pid)), root)
    return Tree(everybody, root, deciding)


def parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[1])


def is_same_program(one: int, other: int) -> bool:
    """A guardian forks its agent; a hook is another program."""
    try:
        return Path(f"/proc/{one}/cmdline").read_bytes() == Path(f"/proc/{other}/cmdline").read_bytes()
    except OSError:
        return False


def gone(tree: Tree, *, within_s: float = 10.0) -> list[Process]:
    """Who is still there after that time."""
    return processes.wait_gone(tree.everybody, within_s=within_s)
