"""One fence agent and what it is told, in the manner of the FenceAgentAPI of fence-agents.

The agent reads `name=value` lines on its standard input; exit status 0 means that the node is in the state that was
asked for, and has been seen to be. Nothing is said in arguments or in the environment, which every user of the host can
read. No shell is involved.

Passwords stand in the options. They are never logged, and what an agent prints is not believed to be free of them:
fence-agents repeats a line that it does not understand, so secret values are struck out of everything that is kept.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable

from haagent.config import FencingConfig
from haagent.config.secret import SecretRefused, read_secret
from haagent.kernel.aside import aside
from haagent.processes import programs

SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"  # Debian has the agents in /usr/sbin
MAX_SAID = 100  # characters of an agent's last words: an event has room for 240 in all
SECRET = re.compile(r"pass|secret|token|key|community|credential", re.IGNORECASE)
STRUCK = "***"
_STAMP = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:,.]+ ")  # of Python's logging, which most agents use

Options = tuple[tuple[str, str], ...]


class FenceError(Exception):
    """The node was not fenced. The text is a clause for an operator: who says what, and what to do."""


def find(agent: str) -> str:
    """The program's path. Raises `FenceError`."""
    path = shutil.which(agent, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if path is None:
        raise FenceError(f"{agent} is not on this host: apt install fence-agents, or write its path")
    return path


def options_in(file: str) -> Options:
    """Raises `FenceError`; never says what stands in the file."""
    try:
        data = read_secret(file, origin="write the options into it, mode 0600")
    except SecretRefused as refused:
        raise FenceError(f"options_file {file} {refused}") from None
    return tuple(_lines(data.decode(errors="replace"), file))


def _lines(text: str, file: str) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.strip().partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise FenceError(f"options_file {file}: line {number} is not `name=value`")
        yield name, value


def told(node: str, config: FencingConfig, from_file: Options) -> bytes:
    """What the agent reads. Of an option that is said twice the agents take the last: the file wins."""
    lines = [("action", config.action), ("nodename", node), *config.options, *from_file]
    return "".join(f"{name}={value}\n" for name, value in lines).encode()


def secrets_of(config: FencingConfig, from_file: Options) -> list[str]:
    found = [value for name, value in config.options if SECRET.search(name)] + [value for _, value in from_file]
    return sorted((value for value in found if len(value) > 1), key=len, reverse=True)


def last_words(output: str, secrets: Iterable[str]) -> str:
    """The last line that says something, without secrets, short."""
    for secret in secrets:
        output = output.replace(secret, STRUCK)
    lines = [_STAMP.sub("", line).strip() for line in output.splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    said = "".join(letter if letter.isprintable() else " " for letter in said).strip()
    return said if len(said) <= MAX_SAID else said[: MAX_SAID - 3] + "..."


def _prepared(config: FencingConfig) -> tuple[str, Options]:
    return find(config.agent), options_in(config.options_file) if config.options_file else ()


async def run(node: str, config: FencingConfig) -> str:
    """Returns what the agent said when it had fenced the node. Raises `FenceError`."""
    path, from_file = await aside(lambda: _prepared(config))
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {"LANG": "C.UTF-8", **known, "PATH": f"{known.get('PATH', '')}:{SYSTEM_PATH}"}
    try:
        ended = await programs.run(
            [path], env=environment, timeout_s=config.timeout_s, stdin=told(node, config, from_file)
        )
    except programs.CannotStart as error:
        raise FenceError(f"{config.agent} cannot be started: {error}") from error
    said = last_words(ended.output, secrets_of(config, from_file))
    if ended.status != 0:
        raise FenceError(f"{config.agent} {ended.verdict(config.timeout_s)}" + (f": {said}" if said else ""))
    return said
