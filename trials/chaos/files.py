"""Each node's configuration file: changed on one node after the other while the agents run, as operators do.

A lab writes one file for all. Here each node has a copy of its own beside it, and its agent reads that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from haagent.control.client import Client, ControlError
from haagent.lab import Lab, LabError

Tree = dict[str, Any]
Change = Callable[[Tree], None]
OWN = "{config}.{node}"  # for the agent's command
FINISHED_S = 10.0
REFUSED = 2


def path(lab: Lab, name: str) -> Path:
    own = lab.directory / f"haagent.yaml.{name}"
    return own if own.exists() else lab.directory / "haagent.yaml"


def give_each_its_own(lab: Lab) -> None:
    """All alike, as in the beginning."""
    for node in lab.state().plan.nodes:
        shutil.copy(lab.directory / "haagent.yaml", lab.directory / f"haagent.yaml.{node.name}")


def read(lab: Lab, name: str) -> Tree:
    tree: Tree = yaml.safe_load(path(lab, name).read_text())
    return tree


def change(lab: Lab, name: str, by: Change) -> None:
    """The file, and the agent where one runs. One that starts just now, or stands still, is left to `finish`."""
    tree = read(lab, name)
    by(tree)
    following = lab.directory / "following"
    following.write_text(yaml.safe_dump(tree, sort_keys=False))
    following.rename(path(lab, name))
    agent = lab.agents.tree(name).deciding
    if agent is not None and not agent.is_frozen:
        try:
            reload(lab, name)
        except ControlError as error:
            if error.status == REFUSED:
                raise LabError(f"{name} refuses its file: {error}") from None


def reload(lab: Lab, name: str) -> None:
    with Client(str(lab.run_directory(name)), answer_s=1.0) as client:
        client.ask("reload")


def finish(lab: Lab, names: Iterable[str]) -> None:
    """Whoever is there has read its file after this began."""
    for name in names:

        def is_reloaded(name: str = name) -> bool:
            if lab.agents.tree(name).deciding is None:
                return True
            try:
                reload(lab, name)
            except ControlError as error:
                raise LabError(str(error)) from None
            return True

        lab.wait_for(is_reloaded, what=f"{name} reads its file again", within_s=FINISHED_S)
