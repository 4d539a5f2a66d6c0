"""How a section of the file is declared, and how it is read: ours and a plug-in's alike.

A section is one frozen struct, and each of its fields is one option, declared once:

    class HooksConfig(Section, frozen=True):
        taken: Annotated[str, PATH, Option("run after the group became active here")] = ""
        timeout_s: Annotated[float, duration("100ms", "1h"), Option("a hook that runs longer is killed")] = 10.0

The key is the field's name, without `_s` of seconds. The kind says how a value is read and what is said when it cannot
be; without one it follows from the type (`kind_of`). The field's default is the default. `Option` has the words of the
documentation's table. A field that the file does not say is `Given`.

A value that is refused is reported and becomes None; reading goes on. What comes out is a tree of drafts, in which
every value can be traced to its place, so that contradictions found later point at a line too. `Draft.build` makes the
struct that its user takes.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Collection
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from haagent import __version__
from haagent.config.document import Mapping, plain
from haagent.config.durations import Duration, parse_duration
from haagent.config.faults import nearest, quoted, suggestion
from haagent.config.kinds import DURATION, FLAG, NAME_HINT, Found, Kind, choice, is_name, several
from haagent.config.place import Place

RELEASE = ".".join(__version__.split(".")[:2])


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.removesuffix("_s")):
    """A class attribute `LATER` names keys that will be known one day, so that they can be refused as such."""


class Option(msgspec.Struct, frozen=True):
    """What people are told of an option."""

    meaning: str
    otherwise: str = ""  # what holds when the key is absent and the field has no default, or has one that says little
    example: str = ""
    written: str = ""  # the default as it would be written, where only reading it makes a value
    formerly: str = ""  # the key's name in older releases, which goes on being read


class Given:
    """A field that is not read from the file: who builds the struct knows it."""


class Key(msgspec.Struct, frozen=True):
    """One key of a section, from its struct's field."""

    key: str
    field: str
    kind: Kind
    option: Option
    default: Any = msgspec.NODEFAULT
    is_tuple: bool = False

    @property
    def is_required(self) -> bool:
        return self.default is msgspec.NODEFAULT and not self.option.otherwise and not self.option.written

    @property
    def shown(self) -> str:
        """The default, as it would be written; empty: there is none, or it means that there is nothing."""
        if self.option.written or self.default in (msgspec.NODEFAULT, None, "", ()):
            return self.option.written
        return self.kind.show(self.default)


class Draft(msgspec.Struct):
    """The values of one mapping, read and with defaults filled in."""

    place: Place
    _struct: type[msgspec.Struct]
    _values: dict[str, Any]
    _given: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def written(self, key: str) -> bool:
        return self.place.below(key) is not None

    def values(self, key: str) -> tuple[Any, ...]:
        """Of a list option, without the places."""
        return tuple(each.value if isinstance(each, Found) else each for each in self.get(key) or ())

    def section(self, key: str) -> Draft | None:
        found = self.get(key)
        return found if isinstance(found, Draft) else None

    def sections(self, key: str) -> dict[str, Draft]:
        found = self.get(key)
        return found if isinstance(found, dict) else {}

    def refuse(self, key: str, message: str, hint: str = "") -> None:
        self.place.refuse_key(key, message, hint)

    def fill(self, key: str, value: Any) -> None:
        """What follows from other options, where the file does not say it."""
        if value is not None and not self.written(key):
            self._values[key] = value

    def give(self, **fields: Any) -> None:
        self._given |= fields

    def build(self) -> Any:
        """The struct; only where nothing was refused."""
        fields = dict(self._given)
        for key in keys_of(self._struct).values():
            value = self._values[key.key]
            if value is not None and value is not key.default:
                fields[key.field] = _built(value, is_tuple=key.is_tuple)
        return self._struct(**fields)


def _built(value: Any, *, is_tuple: bool = False) -> Any:
    if isinstance(value, Draft):
        return value.build()
    if isinstance(value, dict):
        built = {name: _built(each) for name, each in value.items()}
        return tuple(built.values()) if is_tuple else built
    if isinstance(value, tuple):
        return tuple(_built(each.value) if isinstance(each, Found) else each for each in value)
    return value


# ---------------------------------------------------------------------- reading


def read_section(
    place: Place, struct: type[msgspec.Struct], *, word: str = "key", beside: Collection[str] = ()
) -> Draft:
    """`beside`: keys in the same mapping that are someone else's."""
    keys = keys_of(struct)
    if not isinstance(place.node, Mapping) and not place.is_empty:
        place.refuse(f"{place.shape()}, but it is a mapping", "write one of: " + ", ".join(keys))
        return Draft(place, struct, dict.fromkeys(keys))
    known = [*keys, *beside]
    former = {key.option.formerly: name for name, key in keys.items() if key.option.formerly}
    meant = set()  # by a key that is unknown: not missing as well, one mistake is one fault
    for key in place.node.entries if isinstance(place.node, Mapping) else ():
        if key in keys or key in beside:
            continue
        if key in former:
            if place.below(former[key]) is not None:
                place.refuse_key(key, f"it is the former name of `{former[key]}`, which is there too", "remove it")
        elif key in getattr(struct, "LATER", ()):
            place.refuse_key(key, f"`{key}` is not in this release ({RELEASE})", "remove it")
        elif key == "<<":
            place.refuse_key(key, "merging mappings is not supported", "write the keys out")
        else:
            place.refuse_key(key, f"unknown {word}", suggestion(key, known))
            meant.add(nearest(key, known))
    return Draft(place, struct, {name: read_key(place, key, is_missed=name not in meant) for name, key in keys.items()})


def read_key(place: Place, key: Key, *, is_missed: bool = True) -> Any:
    former = key.option.formerly
    below = place.below(key.key) or (place.below(former) if former else None)
    if below is not None:
        if below.is_empty and not key.kind.reads_nothing:
            below.refuse("has no value", f"it is {key.kind.words}")
            return None
        return key.kind.read(below)
    if key.default is not msgspec.NODEFAULT:
        return key.default
    if key.option.written:
        return key.kind.read(place.imagined(key.key, key.option.written))
    if key.is_required:
        if is_missed:
            place.refuse_key(key.key, "missing", f"write `{key.key}: {key.option.example or '...'}`")
    elif key.kind.struct is not None:
        return key.kind.read(place.imagined(key.key, None))  # a section left out has its defaults
    return None


@functools.cache
def keys_of(struct: type[msgspec.Struct]) -> dict[str, Key]:
    found = {}
    for field in msgspec.structs.fields(struct):
        metadata = getattr(field.type, "__metadata__", ())
        if Given in metadata:
            continue
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        option = next((each for each in metadata if isinstance(each, Option)), Option(""))
        found[field.encode_name] = Key(
            field.encode_name,
            field.name,
            kind_of(field.type),
            option,
            default,
            is_tuple=get_origin(get_args(field.type)[0] if metadata else field.type) is tuple,
        )
    return found


def kind_of(wanted: Any) -> Kind:
    """Of a field's type: what is said with `Annotated`, else what the type itself makes plain."""
    metadata = getattr(wanted, "__metadata__", ())
    for each in metadata:
        if isinstance(each, Kind):
            return each
    bare = get_args(wanted)[0] if metadata else wanted
    origin, inner = get_origin(bare), get_args(bare)
    kind = None
    if origin in (Union, types.UnionType) and len(inner) == 2 and type(None) in inner:
        kind = kind_of(next(each for each in inner if each is not type(None)))
    elif origin is Literal:
        kind = choice(*inner)
    elif origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        kind = several(kind_of(inner[0]))
    elif bare is bool:
        kind = FLAG
    elif bare is Duration:
        kind = DURATION
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        kind = section(bare)
    return kind or _as_typed(wanted, bare)


def _as_typed(wanted: Any, bare: Any) -> Kind:
    """Any other type is msgspec's matter, with its `Meta` for limits."""

    def read(place: Place) -> Any:
        try:
            return msgspec.convert(plain(place.node), wanted, dec_hook=_duration_within)
        except msgspec.ValidationError as error:
            message = str(error)
            place.refuse(message[:1].lower() + message[1:])
            return None

    words = {str: "a text", int: "a whole number", float: "a number"}.get(bare, "a value")
    return Kind(words, read)


def _duration_within(wanted: type, value: Any) -> Any:
    if wanted is not Duration:
        raise NotImplementedError(f"an option cannot be a {wanted}")
    return parse_duration(str(value))


def section(struct: type[msgspec.Struct]) -> Kind:
    return Kind("a mapping", lambda place: read_section(place, struct), struct=struct, reads_nothing=True)


def named(what: str, kind: Kind, *, most: int, least: int = 1, words: str = "") -> Kind:
    """A mapping from names to sections. Where the field is a tuple, the struct's `name` says which is which."""

    def read(place: Place) -> dict[str, Any] | None:
        entries = place.node.entries if isinstance(place.node, Mapping) else None
        if entries is None or len(entries) < least:
            shape = place.shape() if entries is None else "empty"
            place.refuse(f"{shape}, but it names each {what}", "write `NAME: {...}` below it")
            return None
        if len(entries) > most:
            place.refuse(f"{len(entries)} are too many", f"{most} is the most that one cluster can have")
        found = {}
        for name, below in place.entries():
            if not is_name(name):
                below.refuse(f"{quoted(name)} cannot be the name of a {what}", NAME_HINT)
            value = kind.read(below)
            if value is not None:
                value.give(name=name)
                found[name] = value
        return found

    words = words or f"a mapping from {what} names to mappings"
    return Kind(words, read, struct=kind.struct, named=what, reads_nothing=least > 0)
