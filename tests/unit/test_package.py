"""The Debian package against pyproject.toml: nothing that the program needs is forgotten."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CONTROL = (PROJECT / "debian" / "control").read_text()
BUNDLED = re.findall(r"^([A-Za-z0-9_.-]+)==", (PROJECT / "debian" / "bundled.txt").read_text(), re.MULTILINE)
# Where Debian's name is not `python3-` and the name in lower case.
NAMES = {"PyYAML": "python3-yaml", "systemd-python": "python3-systemd"}


def field(name: str) -> str:
    found = re.search(rf"^{name}:(.*(?:\n[ #].*)*)", CONTROL, re.MULTILINE)
    assert found is not None
    return found[1]


def packages(requirements: list[str]) -> set[str]:
    names = [re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0] for requirement in requirements]
    return {NAMES.get(name, f"python3-{name.lower()}") for name in names if name not in (*BUNDLED, "haagent")}


def test_every_dependency_is_declared_or_bundled() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = set(re.findall(r"python3-[a-z0-9.+-]+", field("Depends")))
    extras = project["optional-dependencies"]
    assert packages(project["dependencies"] + extras["systemd"]) == declared
    others = [one for name, those in extras.items() if name not in ("dev", "systemd") for one in those]
    assert packages(others) <= set(re.findall(r"python3-[a-z0-9.+-]+", field("Suggests")))


def test_the_pythons_are_those_of_the_bundle() -> None:
    rules = (PROJECT / "debian" / "rules").read_text()
    found = re.search(r"^PYTHONS := (.*)$", rules, re.MULTILINE)
    assert found is not None
    minors = [int(version.split(".")[1]) for version in found[1].split()]
    assert f"python3 (>= 3.{min(minors)}~), python3 (<< 3.{max(minors) + 1}~)" in field("Depends")
    assert minors == list(range(min(minors), max(minors) + 1))


def test_the_source_package_has_every_directory() -> None:
    """What is not named there is missing for whoever builds or tests from it, and nothing else would notice."""
    named = set(re.findall(r"^graft (\S+)$", (PROJECT / "MANIFEST.in").read_text(), re.MULTILINE))
    made = {"haagent", "build", "dist"}  # the library comes by itself; the others are products
    there = {path.name for path in PROJECT.iterdir() if path.is_dir() and not re.match(r"[._]", path.name)}
    assert {name for name in there - made if not name.endswith(".egg-info")} == named
