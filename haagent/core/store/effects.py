"""Effects: what a change did, in a form that may be applied in any order and as often as one likes.

Not commands: what a command did may depend on what it found, and no two nodes find the same. Expiry is absolute, in
milliseconds of wall clock; 0 is never. The structs are `array_like`, and the rule of the wire holds: append only.
"""

from __future__ import annotations

import msgspec

ALL = -1  # as the database of a flush


Field = tuple[bytes, int, int]  # its value, its stamp, and its `born`, which orders before the stamp


class Put(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A string: its whole value. `born` orders before `stamp` (store.py). With a floor (born, stamp), also that: all
    versions before it are gone, for they would have lived longer. It counts with the value, or neither does."""

    db: int
    key: bytes
    value: bytes
    expires_ms: int
    stamp: int
    born: int
    floor: tuple[int, int] | None = None


class Touch(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The key whose expiry was last set with this stamp lives longer; nothing else changed."""

    db: int
    key: bytes
    expires_ms: int
    stamp: int
    born: int


class Remove(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """All that was born before this stamp is gone."""

    db: int
    key: bytes
    stamp: int


class PutFields(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Some fields of a hash, and when all of it expires: `stamp` and `born` are those of the expiry."""

    db: int
    key: bytes
    fields: dict[bytes, Field]
    expires_ms: int
    stamp: int
    born: int
    floor: tuple[int, int] | None = None  # as with `Put`


class RemoveFields(msgspec.Struct, frozen=True, array_like=True, tag=5):
    db: int
    key: bytes
    fields: list[bytes]
    stamp: int
    born: int


class Flush(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """All keys of a database, or of all of them, that were born before this stamp are gone."""

    db: int
    stamp: int


class Floor(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The floor of a key of which the sender holds no version. Or what an older release says before a `Put`."""

    db: int
    key: bytes
    stamp: int
    born: int


Effect = Put | Touch | Remove | PutFields | RemoveFields | Flush | Floor
