"""How declared options are read: one walk over the tree that knows nothing of what the options mean.

An `Option` is declared once. The same declaration says which keys exist (all others are refused, with the nearest one
named), how a value is read, what holds when the key is absent, and what the documentation's table says.

A value that is refused is reported and becomes None; reading goes on. What comes out is a tree of `Section`s, in which
every value can be traced to its place, so that contradictions found later point at a line too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import msgspec

from haagent import __version__
from haagent.config.document import Entry, Mapping, Node, Scalar, Sequence
from haagent.config.faults import Fault, nearest, quoted, suggestion

RELEASE = ".".join(__version__.split(".")[:2])


class Place:
    """A spot in the file: what stands there, its dotted path, and the line to name when it is refused."""

    def __init__(self, node: Node, *, path: str, line: int, faults: list[Fault]) -> None:
        self.node = node
        self.path = path
        self.line = line
        self._faults = faults

    def refuse(self, message: str, hint: str = "") -> None:
        self._faults.append(Fault(self.line, self.path, message, hint))

    def refuse_key(self, key: str, message: str, hint: str = "") -> None:
        """A fault of a key below this place, whether it is written there or missing."""
        below = self.below(key)
        line = below.line if below else self.line
        self._faults.append(Fault(line, f"{self.path}.{key}" if self.path else key, message, hint))

    def below(self, key: str) -> Self | None:
        entry = self.node.entries.get(key) if isinstance(self.node, Mapping) else None
        return self._at(key, entry) if entry else None

    def imagined(self, key: str, text: str | None) -> Self:
        """A value that is not written, with the line where it would be missed. Without text it is an empty mapping."""
        node = Mapping(self.line, {}) if text is None else Scalar(self.line, text, "str")
        return self._at(key, Entry(self.line, node))

    def entries(self) -> Iterator[tuple[str, Self]]:
        if isinstance(self.node, Mapping):
            for key, entry in self.node.entries.items():
                yield key, self._at(key, entry)

    def elements(self) -> Iterator[Self]:
        if isinstance(self.node, Sequence):
            for index, node in enumerate(self.node.values):
                path = f"{self.path}[{index}]"
                yield type(self)(node, path=path, line=node.line, faults=self._faults)

    @property
    def is_empty(self) -> bool:
        return isinstance(self.node, Scalar) and self.node.tag == "null"

    def scalar(self, words: str) -> Scalar | None:
        if isinstance(self.node, Scalar) and not self.is_empty:
            return self.node
        self.refuse(f"{self.shape()}, but it is {words}")
        return None

    def shape(self) -> str:
        if isinstance(self.node, Mapping):
            return "a mapping is written here"
        if isinstance(self.node, Sequence):
            return "a list is written here"
        return "nothing is written here" if self.is_empty else f"{quoted(self.node.text)} is written here"

    def _at(self, key: str, entry: Entry) -> Self:
        path = f"{self.path}.{key}" if self.path else key
        return type(self)(entry.value, path=path, line=entry.line, faults=self._faults)


class Found(msgspec.Struct, frozen=True):
    """A value of a list, with its place."""

    value: Any
    place: Place


class Kind(msgspec.Struct, frozen=True):
    """How a value is read. `words` completes "it is ..." in messages and stands in the documentation."""

    words: str
    read: Callable[[Place], Any]  # None: refused, and said so
    options: tuple[Option, ...] = ()  # of a section
    named: str = ""  # of a section that exists once for each name: what the name is of
    may_lack: bool = False  # a section that, left out, is not there at all


class Option(msgspec.Struct, frozen=True):
    key: str
    kind: Kind
    meaning: str
    default: str = ""  # as it would be written in the file
    otherwise: str = ""  # what holds when the key is absent and there is no fixed default: words for people
    example: str = ""
    required: bool = False


class Section:
    """The values of one mapping, read and with defaults filled in."""

    def __init__(self, place: Place, values: dict[str, Any]) -> None:
        self.place = place
        self._values = values

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def written(self, key: str) -> bool:
        return self.place.below(key) is not None

    def values(self, key: str) -> tuple[Any, ...]:
        """Of a list option, without the places."""
        return tuple(found.value for found in self.get(key) or ())

    def sections(self, key: str) -> dict[str, Section]:
        found = self.get(key)
        return found if isinstance(found, dict) else {}

    def refuse(self, key: str, message: str, hint: str = "") -> None:
        self.place.refuse_key(key, message, hint)


def read_section(place: Place, options: Iterable[Option], later: Iterable[str] = ()) -> Section:
    declared = {option.key: option for option in options}
    if not isinstance(place.node, Mapping) and not place.is_empty:
        place.refuse(f"{place.shape()}, but it is a mapping", "write one of: " + ", ".join(declared))
        return Section(place, {})
    meant = set()  # by a key that is unknown: not missing as well, one mistake is one fault
    for key, below in place.entries():
        if key in later:
            below.refuse(f"`{key}` is not in this release ({RELEASE})", "remove it")
        elif key == "<<":
            below.refuse("merging mappings is not supported", "write the keys out")
        elif key not in declared:
            below.refuse("unknown key", suggestion(key, declared))
            meant.add(nearest(key, declared))
    read = {key: _read_option(place, option, is_missed=key not in meant) for key, option in declared.items()}
    return Section(place, read)


def _read_option(place: Place, option: Option, *, is_missed: bool) -> Any:
    below = place.below(option.key)
    if below is None:
        if option.required and is_missed:
            place.refuse_key(option.key, "missing", f"write `{option.key}: {option.example}`")
        elif option.kind.options and not option.kind.named and not option.kind.may_lack:
            return option.kind.read(place.imagined(option.key, None))  # a section left out has its defaults
        # A default is declared as it would be written, and read the same way.
        return option.kind.read(place.imagined(option.key, option.default)) if option.default else None
    if below.is_empty and not option.kind.options:
        below.refuse("has no value", f"it is {option.kind.words}")
        return None
    return option.kind.read(below)
