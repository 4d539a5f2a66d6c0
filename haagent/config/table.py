"""What there is to configure, as `haagent check-config --options` and the documents tell it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import msgspec

from haagent.config.model import Config
from haagent.config.plugins import DOORS
from haagent.config.schema import Key, keys_of
from haagent.plugins import finding


class Row(msgspec.Struct, frozen=True):
    key: str
    value: str
    default: str
    meaning: str


class PlugIn(msgspec.Struct, frozen=True):
    door: str  # backend | check
    kind: str
    module: str
    meaning: str
    options: list[Row]


def rows(struct: type[msgspec.Struct] = Config) -> list[Row]:
    return [Row(path, _value(key), _default(key), _meaning(key)) for path, key in every_option(struct)]


def every_option(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys_of(struct).values():
        here = f"{path}.{key.key}" if path else key.key
        yield here, key
        if key.kind.struct is not None:
            yield from every_option(key.kind.struct, f"{here}.{key.kind.named.upper()}" if key.kind.named else here)


def plug_ins() -> Iterator[PlugIn]:
    """All that are installed and can be loaded."""
    for door, word in DOORS.items():
        for kind in finding.kinds(door):
            try:
                found = finding.load(door, kind)
            except finding.PluginBroken as error:
                yield PlugIn(word, kind, "", str(error), [])
            else:
                yield PlugIn(word, kind, found.__module__, inspect.cleandoc(found.__doc__ or ""), rows(found.Options))


def _meaning(key: Key) -> str:
    former = key.option.formerly
    return f"{key.option.meaning}; `{former}`, its former name, works as well" if former else key.option.meaning


def _value(key: Key) -> str:
    return f"{key.kind.words}, such as `{key.option.example}`" if key.option.example else key.kind.words


def _default(key: Key) -> str:
    if key.is_required:
        return "required"
    return key.option.otherwise or (f"`{key.shown}`" if key.shown else "none")
