"""The whole state of a node as bytes, and a node made of them again.

The core keeps what it knows in plain structs, so this is one encoding of them; what the core gains tomorrow is in it
tomorrow. Only its generator is no value, and has its state written instead. Nothing but these structs is ever made from
the bytes: a trace may come from anybody.

The history is left out. It is large, and it decides nothing: it is told to people, and rides in heartbeats, which are
compared without it.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from haagent.core.node import Node
from haagent.core.node_state import NodeState
from haagent.trace.errors import TraceError


def capture(node: Node) -> bytes:
    return _encode(node.state.bare())


def restore(data: bytes) -> Node:
    try:
        state = _decode(data)
    except msgspec.MsgspecError as error:
        raise TraceError(f"the state at its beginning makes no sense to this release ({error})") from error
    return Node.of(state)


def _written(value: object) -> Any:
    if isinstance(value, random.Random):
        return value.getstate()
    raise TypeError(f"{type(value).__name__} cannot be part of a snapshot")


def _read(kind: type, value: Any) -> random.Random:
    if kind is not random.Random:
        raise TypeError(f"{kind.__name__} cannot be part of a snapshot")
    generator = random.Random()  # noqa: S311 - it continues where the agent's was
    version, numbers, gauss = value
    generator.setstate((version, tuple(numbers), gauss))
    return generator


_encode = msgspec.msgpack.Encoder(enc_hook=_written).encode
_decode = msgspec.msgpack.Decoder(NodeState, dec_hook=_read).decode
