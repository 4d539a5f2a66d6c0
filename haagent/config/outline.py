"""The digests by which nodes find out in which keys their files differ (`core.outline`).

What may be a secret is in none of them: whoever knows the rest of a file could try passwords. These are the options of
fence agents, and of plug-ins, which may be anything, and the URL of a Redis. That they differ is known all the same,
from the digest of the whole file.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from haagent.config.plugins import CheckConfig
from haagent.config.schema import keys_of
from haagent.core.limits import MAX_NAME, MAX_OUTLINE_DEPTH
from haagent.core.messages import Outline

SHOWN = frozenset({*keys_of(CheckConfig), "interface"})  # of what stands beside a plug-in's own options


def outline_of(value: Any, *path: str) -> Outline:
    """Of what is written at `path`, without comments and order of keys."""
    if not isinstance(value, dict):
        return Outline(0 if _may_be_secret(*path) else _digest(value))
    parts = {key: outline_of(below, *path, key) for key, below in value.items()}
    can_be_named = len(path) < MAX_OUTLINE_DEPTH and all(len(key) <= MAX_NAME and key.isprintable() for key in parts)
    return Outline(_digest({key: part.digest for key, part in parts.items()}), parts if can_be_named else {})


def _may_be_secret(*path: str) -> bool:
    match path:
        case ("nodes", _, "fencing", "options", *_) | ("sessions", "url", *_):
            return True
        case ("groups", _, "backend", key, *_) | ("groups", _, "checks", _, key, *_):
            return key not in SHOWN
    return False


def _digest(value: Any) -> int:
    encoded = msgspec.json.encode(value, order="sorted")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=4).digest())
