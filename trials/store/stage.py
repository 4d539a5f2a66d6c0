"""Two nodes with stores, and what is asked of them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from haagent.lab import Lab
from haagent.lab.configuration import Wishes

CLIENT_OF_STORE = [sys.executable, "-m", "trials.store.client"]
PATIENCE_S = 60.0


class Stage:
    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.directory = lab, directory

    def client(self, node: str, *words: str, within_s: float = 600.0) -> str:
        return self.lab.run(node, [*CLIENT_OF_STORE, *words], within_s=within_s).stdout

    def ask(self, node: str, *commands: str) -> list[str]:
        return self.client(node, "ask", *commands).splitlines()

    def dump(self, node: str) -> dict[str, Any]:
        return dict(json.loads(self.client(node, "dump")))

    @contextmanager
    def writing(self, node: str, connections: int) -> Iterator[Path]:
        """The file in which the answers are noted."""
        path = self.directory / f"notes-{node}-{len(list(self.directory.iterdir()))}"
        path.touch()
        process = self.lab.start_on(node, [*CLIENT_OF_STORE, "write", str(path), str(connections)])
        try:
            yield path
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE_S)

    def facts(self, node: str) -> dict[str, Any]:
        return dict(self.lab.agents.status(node)["sessions"])

    def wait_replicated(self, *nodes: str) -> None:
        self.lab.wait_for(
            lambda: all(map(self.lab.agents.replicates, nodes)),
            what=f"{', '.join(nodes)} replicate",
            within_s=PATIENCE_S,
        )


@contextmanager
def stage(name: str, *, replication: str = "sync") -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as place:
        extra = Path(place) / "sessions.yaml"
        extra.write_text(f"sessions: {{replication: {replication}}}\n")
        notes = Path(place) / "notes"
        notes.mkdir()
        with Lab.create(name=name, nodes=2, wishes=Wishes(extra=str(extra)), dies_with_us=True) as lab:
            lab.agents.wait_ready()
            made = Stage(lab, notes)
            made.wait_replicated("A", "B")
            yield made
