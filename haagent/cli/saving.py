"""A file in which a command saves something: whole or not at all, and readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter

from haagent.cli.outcome import Failure, end_when_asked


@contextmanager
def saved(file: str, *, replaces: bool) -> Iterator[BufferedWriter]:
    """`replaces`: also if there is one of that name. From now on the command can be ended: nothing is left behind."""
    from haagent.config.files import whole_file

    if os.path.lexists(file) and not (replaces and os.path.isfile(file)):
        raise _taken(file, replaces=replaces)
    end_when_asked()
    try:
        with whole_file(file, mode=0o600, replace=replaces) as opened:
            yield opened
    except FileExistsError:
        raise _taken(file, replaces=replaces) from None
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}. Choose another place.") from error


def _taken(file: str, *, replaces: bool) -> Failure:
    hint = "Choose another name." if replaces else "Choose another name, or --force to replace it."
    return Failure(f"{file} exists. {hint}")
