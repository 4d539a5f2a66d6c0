"""Build what the hosts boot from while other tests run: `python -m tests.system.prepare`.

Nothing depends on it. Who needs a root or a package takes the cache's lock, and waits or finds it done; what cannot be
built is said there.
"""

from __future__ import annotations

import contextlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.system import machine
from tests.system.hosts import SUITES
from tests.system.packages import packages
from tests.system.roots import Recipe, root


def main() -> None:
    with contextlib.suppress(machine.CannotRun), tempfile.TemporaryDirectory() as directory:
        machine.check()
        wanted = packages(Path(directory) / "packages").dependencies
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda suite: _build(Recipe(suite, downloaded=wanted)), sorted(set(SUITES.values()))))


def _build(recipe: Recipe) -> None:
    with root(recipe):
        pass


if __name__ == "__main__":
    main()
