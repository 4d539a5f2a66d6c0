"""Finding plug-ins by entry point: backends and checks come through the same door, ours and everybody else's.

A plug-in is a class with an attribute `Options`, a frozen msgspec struct that says what its table in the configuration
may contain. To add one, a package declares an entry point in the group `haagent.backends` or `haagent.checks`; its name
is the `kind` of the configuration.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class UnknownKind(Exception):
    def __init__(self, group: str, kind: str, installed: tuple[str, ...]) -> None:
        super().__init__(f"no {group} plug-in named `{kind}` is installed (there are: {', '.join(installed)})")
        self.installed = installed


class PluginBroken(Exception):
    """Installed, and cannot be loaded."""


def kinds(group: str) -> tuple[str, ...]:
    return tuple(sorted({point.name for point in entry_points(group=group)}))


@functools.cache
def load(group: str, kind: str) -> type[Any]:
    """Looking through all that is installed takes milliseconds, and every group asks."""
    points: list[EntryPoint] = list(entry_points(group=group, name=kind))
    if not points:
        raise UnknownKind(group, kind, kinds(group))
    try:
        plugin = points[0].load()
    except (ImportError, AttributeError) as error:
        raise PluginBroken(f"plug-in `{kind}` of {group} ({points[0].value}) cannot be loaded: {error}") from error
    if not isinstance(plugin, type) or not hasattr(plugin, "Options"):
        raise PluginBroken(f"plug-in `{kind}` of {group} ({points[0].value}) is not a class with `Options`")
    return plugin
