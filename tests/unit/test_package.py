"""The Debian package and the lock files against pyproject.toml: nothing that the program needs is forgotten."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
CONTROL = (PROJECT / "debian" / "control").read_text()
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
DEPENDENCIES, EXTRAS = PYPROJECT["project"]["dependencies"], PYPROJECT["project"]["optional-dependencies"]
RULES = (PROJECT / "debian" / "rules").read_text()
BUNDLED = re.findall(r"^BUNDLED := (.*)$", RULES, re.MULTILINE)[0].split()
# Where Debian's name is not `python3-` and the name in lower case.
NAMES = {"PyYAML": "python3-yaml"}


def field(name: str) -> str:
    found = re.search(rf"^{name}:(.*(?:\n[ #].*)*)", CONTROL, re.MULTILINE)
    assert found is not None
    return found[1]


def packages(requirements: list[str]) -> set[str]:
    names = [re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0] for requirement in requirements]
    return {NAMES.get(name, f"python3-{name.lower()}") for name in names if name not in (*BUNDLED, "haagent")}


def test_every_dependency_is_declared_or_bundled() -> None:
    declared = set(re.findall(r"python3-[a-z0-9.+-]+", field("Depends")))
    assert packages(DEPENDENCIES) == declared
    others = [one for name, those in EXTRAS.items() if name not in {"dev", "test"} for one in those]
    assert packages(others) <= set(re.findall(r"python3-[a-z0-9.+-]+", field("Suggests")))


def test_the_pythons_are_those_of_the_bundle() -> None:
    found = re.search(r"^PYTHONS := (.*)$", RULES, re.MULTILINE)
    assert found is not None
    minors = [int(version.split(".")[1]) for version in found[1].split()]
    assert f"python3 (>= 3.{min(minors)}~), python3 (<< 3.{max(minors) + 1}~)" in field("Depends")
    assert minors == list(range(min(minors), max(minors) + 1))


def pins(lock: str) -> dict[str, Version]:
    found = re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", (PROJECT / lock).read_text(), re.MULTILINE)
    return {name: Version(version) for name, version in found}


def asked(*groups: list[str]) -> list[Requirement]:
    requirements = [Requirement(one) for group in (PYPROJECT["build-system"]["requires"], *groups) for one in group]
    return [requirement for requirement in requirements if requirement.name != "haagent"]


def test_the_lock_has_all_that_is_asked_for() -> None:
    locked = pins("requirements.lock")
    for requirement in asked(DEPENDENCIES, *EXTRAS.values()):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), f"{requirement}: make lock"
    assert set(BUNDLED) <= set(locked)


def test_the_floors_are_those_of_pyproject() -> None:
    floors = pins("requirements.floors.lock")
    for requirement in asked(DEPENDENCIES, *(those for name, those in EXTRAS.items() if name != "dev")):
        (floor,) = (Version(each.version).release for each in requirement.specifier if each.operator == ">=")
        assert floors[canonicalize_name(requirement.name)].release[: len(floor)] == floor, f"{requirement}: make lock"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements.floors.lock"])
def test_every_locked_version_has_its_hashes_and_no_index_is_named(lock: str) -> None:
    content = (PROJECT / lock).read_text()
    packages = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", content, flags=re.MULTILINE).strip())
    for package in packages:
        assert re.fullmatch(r"\S+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", package), package


def test_the_source_package_has_every_directory() -> None:
    """What is not named there is missing for whoever builds or tests from it, and nothing else would notice."""
    named = set(re.findall(r"^graft (\S+)$", (PROJECT / "MANIFEST.in").read_text(), re.MULTILINE))
    made = {"haagent", "build", "dist"}  # the library comes by itself; the others are products
    there = {path.name for path in PROJECT.iterdir() if path.is_dir() and not re.match(r"[._]", path.name)}
    assert {name for name in there - made if not name.endswith(".egg-info")} == named
