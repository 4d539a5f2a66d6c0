"""The documentation's tables of options, from the declarations that also read the file."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import msgspec

from haagent import plugins
from haagent.config.model import Config
from haagent.config.plugins import DOORS
from haagent.config.schema import Key, keys_of


def option_table(struct: type[msgspec.Struct] = Config) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, key in every_option(struct):
        cells = (f"`{path}`", key.kind.words, _default(key), key.option.meaning)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def every_option(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys_of(struct).values():
        here = f"{path}.{key.key}" if path else key.key
        yield here, key
        if key.kind.struct is not None:
            yield from every_option(key.kind.struct, f"{here}.{key.kind.named.upper()}" if key.kind.named else here)


def plug_in_tables(*, of: str = "") -> str:
    """Of every installed plug-in, or of the ones whose module begins so."""
    parts = []
    for door, word in DOORS.items():
        for kind in plugins.kinds(door):
            found = plugins.load(door, kind)
            if found.__module__.startswith(of):
                parts += [
                    f"### {word} `{kind}`\n",
                    f"{inspect.cleandoc(found.__doc__ or '')}\n",
                    option_table(found.Options),
                ]
    return "\n".join(parts)


def _default(key: Key) -> str:
    if key.is_required:
        return "required"
    return key.option.otherwise or (f"`{key.shown}`" if key.shown else "none")
