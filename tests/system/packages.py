"""The Debian packages that are installed: this tree's own, built once, and two made from it.

They are kept in the cache under the digest of everything that goes into them, so an unchanged tree builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.system import machine

PROJECT = Path(__file__).resolve().parents[2]
# What a package is made of. Tests and playbooks are not in it.
SOURCES = (
    *("haagent", "systemd", "debian", "docs", "LICENSES", "pyproject.toml", "requirements.lock"),
    *("README.md", "CHANGELOG.md", "LICENSE"),
)
NEXT, BROKEN = "9.0.1", "9.0.2"


@dataclass(frozen=True)
class Packages:
    present: Path  # of this tree
    next: Path  # the same, under a higher version
    broken: Path  # higher still, and its agent does not start

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The names of what apt will want; of alternatives the first."""
        said = subprocess.run(
            ["dpkg-deb", "-f", self.present, "Depends"], capture_output=True, text=True, check=True
        ).stdout
        return tuple(sorted({re.split(r"[ (|]", part.strip())[0] for part in said.split(",")}))


def packages(target: Path, *, cache: Path = machine.CACHE) -> Packages:
    """In `target`, which is to be made: the cache is for whoever comes next, with another tree perhaps."""
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (cache / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = cache / f"packages-{_digest()}"
        if not place.is_dir():
            for old in cache.glob("packages-*"):
                shutil.rmtree(old)
            fresh = cache / "packages-unfinished"  # of a build that was interrupted: removed as old, above
            fresh.mkdir()
            present = _build(fresh)
            _variant(present, fresh / "next.deb", version=NEXT, change=lambda _: None)
            _variant(present, fresh / "broken.deb", version=BROKEN, change=_break)
            fresh.rename(place)
        shutil.copytree(place, target)
    return Packages(next(target.glob("haagent_*.deb")), target / "next.deb", target / "broken.deb")


def _digest() -> str:
    digest = hashlib.sha256()
    for file in files(*SOURCES):
        digest.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def files(*names: str) -> Iterator[Path]:
    """Of the project's tree, in these places: what is tracked or could be, and nothing that was made there."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *names]
    if (PROJECT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        found = [PROJECT / name for name in sorted(set(listed)) if name]
    else:
        found = [path for name in names for path in (PROJECT / name, *sorted((PROJECT / name).rglob("*")))]
    yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _build(place: Path) -> Path:
    """From a copy, so that this neither disturbs nor is disturbed by what is built in the tree."""
    tree = place / "tree"
    for file in files(*SOURCES):
        copy = tree / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    done = subprocess.run(
        [str(tree / "debian/make-deb"), sys.executable],
        cwd=tree,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(place)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the package could not be built:\n{done.stderr[-3000:]}")
    built = next((tree / "dist").glob("haagent_*.deb"))
    target = place / built.name
    built.rename(target)
    shutil.rmtree(tree)
    return target


def _variant(original: Path, target: Path, *, version: str, change: Callable[[Path], None]) -> None:
    tree = target.with_suffix(".tree")
    subprocess.run(["dpkg-deb", "--raw-extract", original, tree], check=True)
    _edit(tree / "DEBIAN/control", r"(?m)^Version: .*$", f"Version: {version}")
    _edit(tree / "usr/lib/haagent/haagent/__init__.py", r"__version__ = .*", f'__version__ = "{version}"')
    change(tree)
    command = ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)


def _break(tree: Path) -> None:
    """The command line works; the agent ends as soon as it is started."""
    with (tree / "usr/lib/haagent/haagent/agent/daemon.py").open("a") as file:
        file.write('\nraise RuntimeError("this build is broken on purpose")\n')


def _edit(file: Path, pattern: str, text: str) -> None:
    before = file.read_text()
    after = re.sub(pattern, text, before)
    assert after != before, f"{file} is not as expected"
    file.write_text(after)
