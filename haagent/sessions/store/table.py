"""The one table of commands: dispatch, arity errors, COMMAND, the page in docs/reference are made from it.

A module of `commands` makes its `command = family("string", tier=1)` and writes it above each function. `client|id` is
a row of its own below `client`. Tiers: 1 is what session libraries send, 2 what hashes and their friends need, 3 what
came along because test suites and people use it.
"""

from __future__ import annotations

from collections.abc import Callable

from haagent.sessions.store.replies import Reply
from haagent.sessions.store.state import Client

Run = Callable[[Client, list[bytes]], Reply]

CATEGORIES = {"generic": "keyspace", "transactions": "transaction", "server": ""}  # where ACL has its own word


class Command:
    def __init__(
        self, run: Run, name: str, arity: int, flags: str, *, keys: tuple[int, int, int], family: str, tier: int
    ) -> None:
        self.run, self.name, self.arity, self.flags = run, name, arity, frozenset(flags.split())
        self.keys, self.family, self.tier = keys, family, tier
        self.least, self.most = abs(arity), arity if arity > 0 else 2**31
        self.about = " ".join((run.__doc__ or "").split())
        self.is_denied_full = "denyoom" in self.flags
        self.below: dict[bytes, Command] = {}
        self.calls = self.refused = 0

    @property
    def categories(self) -> list[str]:
        if self.below and self.arity == -2:  # it does nothing itself
            return ["@slow"]
        kind = [word for flag, word in (("write", "write"), ("readonly", "read")) if flag in self.flags]
        kind += [word for word in ("admin", "dangerous") if word in self.flags]
        speed = "fast" if "fast" in self.flags else "slow"
        return [f"@{word}" for word in (CATEGORIES.get(self.family, self.family), *kind, speed) if word]

    @property
    def shown_flags(self) -> list[str]:
        """Without what only the categories say."""
        return sorted(self.flags - {"dangerous"})


COMMANDS: dict[bytes, Command] = {}
spelt: dict[bytes, Command] = {}  # GET and get, without those that have commands below them


def family(name: str, *, tier: int) -> Callable[..., Callable[[Run], Run]]:
    default = tier

    def command(
        names: str, arity: int, flags: str = "", *, keys: tuple[int, int, int] = (0, 0, 0), tier: int = default
    ) -> Callable[[Run], Run]:
        def enter(run: Run) -> Run:
            for each in names.split():
                _enter(Command(run, each, arity, flags, keys=keys, family=name, tier=tier))
            return run

        return enter

    return command


def _enter(command: Command) -> None:
    above, _, below = command.name.encode().partition(b"|")
    if below:
        COMMANDS[above].below[below] = command
        spelt.pop(above, None)
        spelt.pop(above.upper(), None)
    else:
        COMMANDS[above] = spelt[above] = spelt[above.upper()] = command


def find(args: list[bytes]) -> Command | None:
    command = COMMANDS.get(args[0].lower())
    if command is not None and command.below and len(args) > 1:
        return command.below.get(args[1].lower())
    return command
