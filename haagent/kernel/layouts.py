"""The frames and messages that move an address, as layouts: whole but for what depends on the address and the moment.

scapy and pyroute2 write them, once, at the start, in a process of its own that ends with its answer (`compose`). The
two libraries take half a second to load and 36 MiB, which would otherwise stay in the process that has to be small;
and the licence of scapy is that of the one module that imports it. Addresses, lifetimes and the like are zero there;
who sends a layout writes them in (`rewriting`, `encoding`). So a reload asks nobody, and cannot fail for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

COMPOSE_S = 20.0  # less than one on a host that has nothing else to do; systemd waits 30 s for our start
_PACKAGES = str(Path(__file__).parents[2])


class CannotCompose(Exception):
    """The text is for an operator: what, and what to do."""


class Layouts(msgspec.Struct, frozen=True):
    # To the neighbours, as Ethernet frames.
    arp_request: bytes  # to everybody
    arp_reply: bytes
    advertisement: bytes  # to all hosts, by one that is not a router; overrides what they know
    router_advertisement: bytes
    solicitation: bytes  # with the sender's hardware address
    anonymous_solicitation: bytes  # from `::`, where that is forbidden
    marked_solicitation: bytes  # from `::`, with a nonce of six bytes
    # To the kernel, as netlink messages, by IP version.
    adding: dict[int, bytes]
    removing: dict[int, bytes]


@contextmanager
def composing() -> Iterator[Callable[[], Layouts]]:
    """Begins, and does not wait: the libraries are loaded while the agent loads itself. What is given waits.

    Both may raise `CannotCompose`.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "haagent.kernel.compose"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
    except OSError as error:
        raise CannotCompose(_sentence(f"{sys.executable}: {error.strerror}")) from error
    with process:
        try:
            yield lambda: _answer(process)
        finally:
            process.kill()  # where nobody waited for it


def _answer(process: subprocess.Popen[bytes]) -> Layouts:
    try:
        answer, said = process.communicate(timeout=COMPOSE_S)
        return msgspec.msgpack.decode(answer, type=Layouts)
    except subprocess.TimeoutExpired:
        why = f"not within {COMPOSE_S:g} s; is this host overloaded?"
    except msgspec.MsgspecError:
        lines = [line for line in said.decode(errors="replace").split("\n") if line.strip()]
        why = lines[-1] if lines else f"it ended with status {process.returncode}"
    raise CannotCompose(_sentence(why))


def _environment() -> dict[str, str]:
    """Modules come from where ours do, and from nowhere else: neither the working directory nor a variable matters.

    scapy makes directories for its console in the user's home; not where there can be none.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    places = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), _PACKAGES]))
    return {**kept, "PYTHONPATH": places, "XDG_CONFIG_HOME": "/dev/null/none", "XDG_CACHE_HOME": "/dev/null/none"}


def _sentence(why: str) -> str:
    hint = f"scapy and pyroute2 do that, in a process of {sys.executable}: install what is missing, or let it start"
    return f"the frames and messages that move an address cannot be composed: {why}; {hint}"
