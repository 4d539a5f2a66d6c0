"""What is wrong with a configuration file, said so that it can be put right: where, what, and what to write instead.

A run reports every fault it can find, not the first one, because an operator who is told one fault a run makes one
deployment a fault. Only `ConfigError` leaves this package on account of a file's content.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

MAX_QUOTED = 60  # of a value in a message: the rest of a pasted key or certificate helps nobody


class Fault(msgspec.Struct, frozen=True):
    line: int  # 1 is the first; 0: the fault belongs to no line (the file is missing, the node is unknown)
    path: str  # dotted: `groups.web.addresses[1]`; empty: the file as a whole
    message: str
    hint: str = ""  # what to write or do instead

    def text(self, file: str) -> str:
        place = f"{file}:{self.line}" if self.line else file
        path = self.path if self.path.isprintable() else ascii(self.path)[1:-1]
        sentence = ": ".join(part for part in (place, path, self.message) if part)
        return f"{sentence}; {self.hint}" if self.hint else sentence


class ConfigError(Exception):
    """The file cannot be used. `str()` has one line for each fault, ready to print."""

    def __init__(self, file: str, faults: Iterable[Fault]) -> None:
        self.file = file
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__(file, self.faults)

    def __str__(self) -> str:
        return "\n".join(fault.text(self.file) for fault in self.faults)


def quoted(text: str) -> str:
    """A value as it may appear on a terminal: short, and without control characters."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return f"`{shown}`" if len(shown) <= MAX_QUOTED else f"`{shown[:MAX_QUOTED]}...`"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or the empty string."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:MAX_QUOTED], by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """The hint for an unknown word: the nearest known one, else all of them."""
    names = list(known)
    near = nearest(word, names)
    if near:
        return f"did you mean `{near}`?"
    return "write one of: " + ", ".join(names) if names else "remove it"
