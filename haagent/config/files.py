"""Files that are there whole or not at all.

They have their mode from the first moment, so that a key is at no time readable by others.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import BufferedWriter


def write_whole(path: str, text: str, *, mode: int, replace: bool, owner: tuple[int, int] | None = None) -> None:
    """Raises `FileExistsError` when the file is there and must not be replaced. Makes the directory if need be."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o755, exist_ok=True)
    with whole_file(path, mode=mode, replace=replace, owner=owner) as file:
        file.write(text.encode())


@contextlib.contextmanager
def whole_file(
    path: str, *, mode: int, replace: bool, owner: tuple[int, int] | None = None
) -> Iterator[BufferedWriter]:
    """It gets its name when the block has ended well; otherwise nothing is left of it."""
    import tempfile  # brings half the library along, and most commands write nothing

    directory = os.path.dirname(os.path.abspath(path))
    descriptor, draft = tempfile.mkstemp(prefix=".haagent-", dir=directory)  # created with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
            draft = ""
        else:
            os.link(draft, path)  # unlike a rename, refuses an existing name
    finally:
        if draft:
            os.unlink(draft)
    _sync_directory(directory)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
