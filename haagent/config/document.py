"""YAML text to a tree in which every key and every value knows its line.

Nothing is constructed from tags: a scalar stays the text that was written, with the type YAML gives it as a remark,
so that a node may be called `no` or `1` and `010` never becomes eight. The text is bounded in size, depth and number
of values, aliases expanded, before anything looks at its meaning; so a hostile or broken file costs little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import yaml

from haagent.config.faults import ConfigError, Fault, quoted

MAX_BYTES = 512 * 1024  # the largest cluster (32 nodes, 128 groups) needs about 100 KiB
MAX_DEPTH = 32  # the deepest legal key is six levels down; the rest is for options of plug-ins
MAX_VALUES = 20_000  # aliases expanded: an alias of an alias of an alias multiplies

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PREFIX = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset({"str", "int", "float", "bool", "null"})


class Scalar(msgspec.Struct, frozen=True):
    line: int
    text: str
    tag: str  # one of PLAIN_TAGS


class Sequence(msgspec.Struct, frozen=True):
    line: int
    values: tuple[Node, ...]


class Entry(msgspec.Struct, frozen=True):
    line: int  # of the key
    value: Node


class Mapping(msgspec.Struct, frozen=True):
    line: int
    entries: dict[str, Entry]


Node = Scalar | Sequence | Mapping


class Unusable(Exception):
    """Nothing can be made of the text. Its argument is the fault."""


def read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        hint = "name a file that can be read, or write one with `haagent init`"
        raise ConfigError(path, [Fault(0, "", f"cannot be read: {cause}", hint)]) from error
    return data


def read_document(data: bytes, file: str, faults: list[Fault]) -> Mapping:
    """The file's mapping. Duplicate keys and tags are added to `faults`; without a mapping, all of them are raised."""
    try:
        root = _compose(_decode(data))
        if root is None:
            raise Unusable(Fault(1, "", "the file is empty", "write one with `haagent init`"))
        document = Conversion(faults).convert(root, "", 0)
    except Unusable as error:
        raise ConfigError(file, [*faults, *error.args]) from error
    if not isinstance(document, Mapping):
        fault = Fault(document.line, "", "the file is not a mapping", "start with `cluster: NAME`")
        raise ConfigError(file, [*faults, fault])
    return document


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Unusable(Fault(1, "", "the file is larger than 512 KiB", "is this the right file?"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unusable(Fault(line, "", "the text is not UTF-8", "save the file as UTF-8")) from error


def _compose(text: str) -> Any:
    try:
        _check_extent(text)
        root = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "cannot be read"
        hint = "indent with spaces, not with tabs" if "\\t" in message or "tab" in message else ""
        raise Unusable(Fault(mark.line + 1 if mark else 1, "", f"not valid YAML: {message}", hint)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A reader's error has no mark, but its position; only control characters get here.
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position if isinstance(position, int) else 0) + 1
        cause = getattr(error, "reason", None) or str(error)
        hint = "remove the control character" if "control" in cause or "special" in cause else ""
        raise Unusable(Fault(line, "", f"not valid YAML: {cause}", hint)) from error
    return root


def _check_extent(text: str) -> None:
    """Before composing, which recurses: a deep text would exhaust the C stack."""
    try:
        _count_events(text)
    except yaml.MarkedYAMLError as error:
        # The parser reads a line ahead, for what may be a key, and may refuse a deep one before we saw any event of
        # it. What it read until then is looked at by itself, so that our bound speaks first with any parser.
        if error.problem_mark:
            with suppress(yaml.MarkedYAMLError):
                _count_events(text[: error.problem_mark.index])
        raise


def _count_events(text: str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = event.start_mark.line + 1 if event.start_mark else 1
        if depth > MAX_DEPTH:
            raise Unusable(Fault(line, "", f"nested deeper than {MAX_DEPTH} levels", "is this the right file?"))
        if count > 3 * MAX_VALUES:  # a key is an event too, and so is the end of a list
            raise Unusable(Fault(line, "", "too many values", "is this the right file?"))


class Conversion:
    """One walk over PyYAML's nodes. An alias is the same node met twice; it is expanded, and counted each time."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        self.left = MAX_VALUES

    def convert(self, node: Any, path: str, depth: int) -> Node:
        line = node.start_mark.line + 1
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            message = "too many values, or an alias that contains itself"
            raise Unusable(Fault(line, path, message, "write the values out instead of using aliases"))
        if isinstance(node, yaml.MappingNode):
            return Mapping(line, dict(self._entries(node, path, depth)))
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            values = (self.convert(value, f"{path}[{n}]", depth + 1) for n, value in enumerate(node.value))
            return Sequence(line, tuple(values))
        return self._scalar(node, path, line)

    def _entries(self, node: Any, path: str, depth: int) -> Iterator[tuple[str, Entry]]:
        self._check_tag(node, path, "map")
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(line, path, "a key is a list or a mapping", "write a word before the colon")
                continue
            name = str(key.value)
            below = f"{path}.{name}" if path else name
            converted = self.convert(value, below, depth + 1)
            if name in seen:
                self._refuse(line, below, f"written twice, first on line {seen[name]}", "remove one of them")
                continue
            seen[name] = line
            yield name, Entry(line, converted)

    def _scalar(self, node: Any, path: str, line: int) -> Scalar:
        tag = str(node.tag).removeprefix(PREFIX)
        # YAML 1.1 reads 2024-01-01 as a date, `=` as a value and `<<` as a merge. Here they are text.
        if node.style is None and tag in {"timestamp", "value", "merge"}:
            tag = "str"
        if tag not in PLAIN_TAGS:
            self._refuse(line, path, f"the tag {quoted(str(node.tag))} is not used here", "remove the tag")
            tag = "str"
        return Scalar(line, str(node.value), tag)

    def _check_tag(self, node: Any, path: str, expected: str) -> None:
        if node.tag != PREFIX + expected:
            line = node.start_mark.line + 1
            self._refuse(line, path, f"the tag {quoted(str(node.tag))} is not used here", "remove the tag")

    def _refuse(self, line: int, path: str, message: str, hint: str) -> None:
        self.faults.append(Fault(line, path, message, hint))


BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def plain(node: Node) -> Any:
    """As dicts, lists, strings, numbers and booleans: for options of plug-ins, and for the digest."""
    if isinstance(node, Mapping):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(value) for value in node.values]
    if node.tag == "bool":
        return BOOLEANS.get(node.text.lower(), node.text)
    if node.tag == "null":
        return None
    return _number(node.text) if node.tag in {"int", "float"} else node.text


def _number(text: str) -> int | float | str:
    """Decimal forms only. YAML 1.1's octal 010, base-60 1:30 and 1_000 stay text: nobody who writes them means that."""
    body = text.lstrip("+-")
    if len(body) > 30 or "_" in body or (len(body) > 1 and body[0] == "0" and body[1] != "."):
        return text
    try:
        return int(text) if body.isdecimal() else float(text)
    except ValueError:
        return text
