"""Who may import whom: the core is pure, and every arrow between the rooms points one way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "haagent" / "core"

PURE = {
    *("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "itertools"),
    *("math", "msgspec", "operator", "random", "re", "struct", "typing", "zlib"),
}
CIPHERS = {"wire.py"}  # the only file of the core that may see `cryptography`

# What each room may import of the package, besides itself and `core`. From the bottom up: a room names only rooms that
# are above it in this list, so no two can depend on each other.
ARROWS: dict[str, set[str]] = {
    **{room: set() for room in ("core", "kernel", "peerlink", "plugins")},
    "config": {"plugins"},
    "parts": {"config"},
    "guardian": {"kernel", "parts"},
    "status": {"config", "guardian", "parts"},
    "gate": {"kernel"},
    "backends": {"config", "kernel", "plugins"},
    "checks": {"config", "kernel", "plugins"},
    "processes": {"guardian", "kernel"},
    "fencing": {"config", "kernel", "parts", "processes"},
    "guards": {"config", "kernel", "parts"},
    "activation": {
        *("backends", "checks", "config", "fencing", "gate", "kernel", "parts", "plugins", "processes"),
    },
    "trace": set(),
    "coordination": {"config", "kernel", "parts", "status"},
    "simulate": {"config", "coordination"},
    "control": {"config", "fencing", "parts", "status", "trace"},
    "heartbeats": {"config", "guardian", "kernel", "parts"},
    "web": {"config", "parts"},
    "sessions": {"config", "guardian", "kernel", "parts", "peerlink"},
    "agent": {
        *("activation", "config", "control", "coordination", "fencing", "gate", "guardian", "guards", "heartbeats"),
        *("kernel", "parts", "sessions", "status", "trace", "web"),
    },
    "lab": {"control", "kernel"},
    "doctor": {"config", "control", "gate", "guards", "heartbeats", "kernel", "status"},
    "cli": {
        *("agent", "config", "control", "doctor", "fencing", "gate", "guardian", "kernel", "lab", "parts", "simulate"),
        *("status", "trace", "web"),
    },
}


def imports(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((name.name, node) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield str(node.module), node
            if node.module == "haagent":  # `from haagent import config` is an arrow to that room
                yield from ((f"haagent.{name.name}", node) for name in node.names)


def rooms(path: Path) -> set[str]:
    """The rooms of the package that a file imports from."""
    names = [name.split(".") for name, _ in imports(path)]
    return {parts[1] for parts in names if parts[0] == "haagent" and len(parts) > 1}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_is_pure(path: Path) -> None:
    outside = {name.split(".")[0] for name, _ in imports(path)} - {"haagent"}
    allowed = PURE | ({"cryptography"} if path.name in CIPHERS else set())
    assert outside <= allowed, f"{path.name} imports {outside - allowed}"
    assert rooms(path) <= {"core"}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_draws_no_chance_of_its_own(path: Path) -> None:
    """`random` is there for the type of the generator that is passed in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            assert node.attr == "Random", f"{path.name}:{node.lineno}: random.{node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("random.Random", "open", "print", "input"):
            raise AssertionError(f"{path.name}:{node.lineno}: {ast.unparse(node)}")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "haagent").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted((ROOT / "haagent").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in ARROWS, f"a new room, {room}: say in ARROWS what it may import"
    strange = rooms(path) - ARROWS[room] - {room, "core", "__version__"}
    assert not strange, f"{path.relative_to(ROOT)} imports {strange}"


def test_no_arrow_points_back() -> None:
    known: set[str] = set()
    for room, targets in ARROWS.items():
        assert targets <= known, f"{room} imports {targets - known}, which come later in the list"
        known.add(room)


def imported_files() -> dict[str, set[str]]:
    """Each file's imports within the package, wherever they stand: at its top, inside functions, for types alone."""
    modules = {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
        for path in (ROOT / "haagent").rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets: set[str] = set()
        for module, node in imports(path):
            if isinstance(node, ast.ImportFrom):
                parts = {f"{module}.{alias.name}" for alias in node.names} & set(modules)
                targets |= parts  # `from haagent.lab import state` means that file, and not the room's face
                targets |= {module} if len(parts) < len(node.names) else set()
            else:
                targets.add(module)
        found[name] = targets & set(modules) - {name}
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    left = imported_files()
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:  # it imports nothing that is left, so it is part of no circle
            del left[name]
    assert not left, f"in circles, or above one: {sorted(left)}"


def test_the_process_of_the_store_loads_no_room_of_the_agent() -> None:
    """It starts fast, and whoever breaks into it finds little."""
    program = "import sys, haagent.sessions.child, haagent.sessions.store.server; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = run.stdout.split()
    assert {name.split(".")[1] for name in names if name.startswith("haagent.")} == {"core", "peerlink", "sessions"}
    assert not {name.split(".")[0] for name in names} & {"cryptography", "pyroute2", "scapy", "yaml"}


def test_an_agent_without_sessions_loads_nothing_of_the_store() -> None:
    """But what checks that the names of nodes give different numbers."""
    program = "import sys, haagent.agent.assembly; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = run.stdout.split()
    assert {name for name in names if name.startswith("haagent.core.store.")} == {"haagent.core.store.stamps"}
    assert not {name for name in names if name.startswith(("haagent.peerlink", "haagent.sessions.relay"))}


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["status", "--run-dir", "/nonexistent"]])
def test_a_command_starts_without_what_only_the_daemon_needs(arguments: list[str]) -> None:
    program = (
        "import sys, json, contextlib, io\n"
        "from haagent.cli import main\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):\n"
        f"    sys.argv = ['haagent', *{arguments!r}]\n"
        "    main()\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {"scapy", "pyroute2", "cryptography", "rich", "asyncio", "systemd", "yaml"}
