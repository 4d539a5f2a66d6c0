"""The whole state of a node as bytes, and a node made of them again.

Values (structs, numbers, texts) are encoded as they are; of the core's own objects, every attribute is taken by its
name, whatever it is, so an attribute that the core gains tomorrow is in the snapshot tomorrow. Where an object is
reached twice it is one object again afterwards. Nothing but classes of the core is ever made from the bytes, and no
code of theirs is run for it: a trace may come from anybody.

The history is left out. It is large, and it decides nothing: it is told to people, and rides in heartbeats, which are
compared without it.
"""

from __future__ import annotations

import enum
import functools
import importlib
import pkgutil
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

import haagent.core
from haagent.core.limits import MAX_RECORDS
from haagent.core.node import Node
from haagent.trace.errors import TraceError

ELSEWHERE = ("haagent.core.wire", "haagent.core.fragments")  # the seal and the sealed: not part of a node
# Attributes that are left out, and what they are afterwards.
LEFT_OUT: dict[tuple[str, str], Callable[[], object]] = {
    ("History", "_own"): lambda: deque(maxlen=MAX_RECORDS),
    ("History", "_theirs"): dict,
    ("History", "_merged"): lambda: None,
    ("Membership", "_alive"): lambda: None,  # remembered within one step
    ("Peer", "groups"): dict,  # those of `beat`
    ("Scene", "actions"): list,  # of one step
    ("Scene", "groups"): dict,  # those of the elections
    ("Scene", "plans"): dict,
    ("Node", "heeded"): list,
}
PLAIN = (type(None), bool, int, float, str)
_encode = msgspec.msgpack.Encoder().encode

State = list[Any]  # ["o", 3]: what kind of value, and what it is made of


def capture(node: Node) -> bytes:
    return _encode(_Capture().of(node))


def restore(data: bytes) -> Node:
    try:
        node = _Restoration(msgspec.msgpack.decode(data)).node()
    except (msgspec.MsgspecError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise TraceError(f"the state at its beginning makes no sense to this release ({error})") from error
    return node


class _Capture:
    """Objects are numbered as they are met; each becomes its class and its attributes."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._objects: list[list[Any]] = []

    def of(self, node: Node) -> list[list[Any]]:
        self._object(node)
        return self._objects

    def _object(self, value: object) -> State:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            name = _core_name(type(value))
            entry: list[Any] = [name, {}]
            self._objects.append(entry)
            entry[1] = {key: self._value(below) for key, below in vars(value).items() if (name, key) not in LEFT_OUT}
        return ["o", number]

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, msgspec.Struct):
            return ["s", kind.__name__, value]
        if isinstance(value, (dict, list, tuple, set, frozenset, deque)):
            return self._container(value)
        if isinstance(value, enum.Enum):
            return ["e", kind.__name__, value.value]
        if isinstance(value, random.Random):
            version, numbers, gauss = value.getstate()
            return ["r", version, numbers, gauss]
        return self._object(value)

    def _container(self, value: Any) -> State:
        if isinstance(value, dict):
            items = [[self._value(key), self._value(below)] for key, below in value.items()]
            return [type(value).__name__, items]
        # A set's own order differs from run to run, and means nothing.
        items = [
            self._value(below) for below in (sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)
        ]
        return (
            [type(value).__name__, items, value.maxlen] if isinstance(value, deque) else [type(value).__name__, items]
        )


class _Restoration:
    def __init__(self, entries: list[list[Any]]) -> None:
        self._entries = entries
        self._objects = [_new(name) for name, _ in entries]

    def node(self) -> Node:
        for made, (name, attributes) in zip(self._objects, self._entries, strict=True):
            for key, value in attributes.items():
                setattr(made, key, self._value(value))
            for (owner, key), default in LEFT_OUT.items():
                if owner == name:
                    setattr(made, key, default())
        for made, (name, _) in zip(self._objects, self._entries, strict=True):
            if name == "Peer" and made.beat is not None:
                made.groups = {group.name: group for group in made.beat.groups}
        node = self._objects[0]
        if not isinstance(node, Node):
            raise TypeError("it is not a node's")
        return node

    def _value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        kind, *parts = value
        if kind == "o":
            return self._objects[parts[0]]
        if kind == "s":
            return msgspec.convert(parts[1], type=_named(parts[0], msgspec.Struct))
        if kind == "e":
            return _named(parts[0], enum.Enum)(parts[1])
        if kind == "r":
            generator = random.Random()  # noqa: S311 - it continues where the agent's was
            generator.setstate((parts[0], tuple(parts[1]), parts[2]))
            return generator
        return self._container(kind, *parts)

    def _container(self, kind: str, items: list[Any], maxlen: int | None = None) -> Any:
        if kind in PAIRS:
            return PAIRS[kind]((self._value(key), self._value(below)) for key, below in items)
        values = (self._value(below) for below in items)
        return deque(values, maxlen) if kind == "deque" else SEQUENCES[kind](values)


def _counter(pairs: Any) -> Counter[Any]:
    return Counter(dict(pairs))


PAIRS: dict[str, Callable[[Any], Any]] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": _counter}
SEQUENCES: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


@functools.cache
def _core_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(haagent.core.__path__, "haagent.core."):
        if module.name in ELSEWHERE:
            continue
        inside = importlib.import_module(module.name)
        found |= {
            name: value
            for name, value in vars(inside).items()
            if isinstance(value, type) and value.__module__ == inside.__name__
        }
    return found


def _core_name(kind: type) -> str:
    if _core_classes().get(kind.__name__) is not kind:
        raise TypeError(f"{kind.__name__} cannot be part of a snapshot: it is no class of the core")
    return kind.__name__


def _named(name: str, base: type) -> Any:
    kind = _core_classes()[name]
    if not issubclass(kind, base):
        raise TypeError(f"{name} is not what is expected there")
    return kind


def _new(name: str) -> Any:
    kind = _core_classes()[name]
    if issubclass(kind, (msgspec.Struct, enum.Enum, BaseException)):
        raise TypeError(f"{name} is a value, not a part of a node")
    return kind.__new__(kind)
