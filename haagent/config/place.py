"""A spot in the file: what is written there, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import msgspec

from haagent.config.document import Entry, Mapping, Node, Scalar, Sequence
from haagent.config.faults import Fault, quoted


class Place(msgspec.Struct, frozen=True):
    """What stands there, its dotted path, and the line to name when it is refused."""

    node: Node
    path: str
    line: int
    faults: list[Fault]  # of the whole file

    def refuse(self, message: str, hint: str = "") -> None:
        self.faults.append(Fault(self.line, self.path, message, hint))

    def refuse_key(self, key: str, message: str, hint: str = "") -> None:
        """A fault of a key below this place, whether it is written there or missing."""
        (self.below(key) or self.imagined(key, None)).refuse(message, hint)

    def below(self, key: str) -> Self | None:
        entry = self.node.entries.get(key) if isinstance(self.node, Mapping) else None
        return self._at(key, entry) if entry else None

    def imagined(self, key: str, text: str | None) -> Self:
        """A value that is not written, with the line where it would be missed. Without text it is an empty mapping."""
        node = Mapping(self.line, {}) if text is None else Scalar(self.line, text, "str")
        return self._at(key, Entry(self.line, node))

    def emptied(self) -> Self:
        return type(self)(Mapping(self.line, {}), path=self.path, line=self.line, faults=self.faults)

    def entries(self) -> Iterator[tuple[str, Self]]:
        if isinstance(self.node, Mapping):
            for key, entry in self.node.entries.items():
                yield key, self._at(key, entry)

    def elements(self) -> Iterator[Self]:
        if isinstance(self.node, Sequence):
            for index, node in enumerate(self.node.values):
                path = f"{self.path}[{index}]"
                yield type(self)(node, path=path, line=node.line, faults=self.faults)

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
        return type(self)(entry.value, path=path, line=entry.line, faults=self.faults)
