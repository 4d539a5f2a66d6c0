"""sessions: what is in the session store of this node, its copies on the others, and a file of it.

A session's id is as good as the user's password, so it is shown as a hash: enough to find a session again, too little
to be that user. `--reveal` shows ids and values.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import click

from haagent.cli.door import StoreClient, open_client
from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import FAILED, USAGE, Failure
from haagent.cli.style import Style

HASHED = re.compile(r"(.*)@[0-9a-f]{12}", re.DOTALL)
HEAD = f"{'DB':>2}  {'TYPE':<6}  {'BYTES':>8}  {'EXPIRES IN':<12}  KEY"
TELL_S = 0.2

Facts = dict[str, Any]

_config = click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True, help="The cluster's.")
_match = click.option("--match", "pattern", default="", metavar="PATTERN", help="Of keys like this: `session:*`.")
_reveal = click.option("--reveal", is_flag=True, help="Show ids and values, which are secrets.")


def _db(help_text: str, default: int | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    kind = click.IntRange(0, 15)
    return click.option("--db", type=kind, default=default, show_default=True, metavar="N", help=help_text)


@click.group()
def sessions() -> None:
    """Look at, save and empty the session store."""


@sessions.command()
@_match
@_db("Of this database only.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, show_default=True, metavar="N", help="How many; 0: all."
)
@_reveal
@_config
@click.pass_obj
def ls(invocation: Invocation, /, pattern: str, db: int | None, limit: int, file: str, *, reveal: bool) -> None:
    """List sessions: database, type, size, and when they end.

    Ids are shown as hashes, which `haagent sessions get` understands.
    """
    from haagent.cli.layout import duration
    from haagent.cli.transfer import known

    client, prefixes = open_client(invocation, file)
    shown: list[Facts] = []
    count = 0
    with client:
        places = _databases(client, db)
        found = ((at, one) for at in places for keys in client.keys(at, pattern) for one in known(client, keys))
        for at, one in islice(found, limit or None):
            facts = _named(one.key, prefixes, reveal=reveal) | _extent(one.kind, one.size, one.expires_ms, at)
            if invocation.json:
                shown.append(facts)
                continue
            if not count:
                click.echo(HEAD)
            count += 1
            ends = "never" if facts["expires_in_s"] is None else duration(facts["expires_in_s"])
            key = _printable(one.key) if reveal else facts["key"]
            click.echo(f"{at:>2}  {facts['type']:<6}  {one.size:>8}  {ends:<12}  {key}")
        more = next(found, None) is not None
    if invocation.json:
        invocation.tell({"sessions": shown, "more": more})
    elif more:
        invocation.progress(f"There are more than these {count}: `--limit 0` lists all.")
    elif not count:
        click.echo("There are no such sessions." if pattern or db is not None else "There are no sessions.")


@sessions.command()
@click.argument("key")
@_db("Its database.", 0)
@_reveal
@_config
@click.pass_obj
def get(invocation: Invocation, /, key: str, db: int, file: str, *, reveal: bool) -> None:
    """Show a session: its type, size and end, and with --reveal its value.

    KEY is the key as the application writes it, or as `haagent sessions ls` shows it; what is typed here can be seen by
    other users of this host.
    """
    from haagent.cli.layout import duration
    from haagent.cli.transfer import known, read

    client, prefixes = open_client(invocation, file)
    with client:
        client.ask("SELECT", db)
        found = known(client, [key.encode("utf-8", "surrogateescape")]) or _hashed(client, db, key, prefixes)
        entry = next(read(client, db, [found[0].key]), None) if found else None
    if entry is None:
        raise Failure(f"There is no such session in database {db}. `haagent sessions ls` lists what there is.")
    one = found[0]
    facts = _named(one.key, prefixes, reveal=reveal) | _extent(one.kind, one.size, one.expires_ms, db)
    pairs = list(entry.value.items()) if isinstance(entry.value, dict) else []
    length = sum(len(name) + len(text) for name, text in pairs) if pairs else len(entry.value)
    facts |= {"length": length, **({"fields": len(pairs)} if pairs else {})}
    ends = "never" if facts["expires_in_s"] is None else f"in {duration(facts['expires_in_s'])}"
    lines = [
        f"key      {_printable(one.key) if reveal else facts['key']}",
        f"type     {facts['type']}" + (f", {len(pairs)} fields" if pairs else ""),
        f"size     {length} bytes, {one.size} in memory",
        f"expires  {ends}",
    ]
    if reveal:
        value = [_told("field", name) | _told("value", text) for name, text in pairs]
        facts |= {"value": value} if pairs else _told("value", entry.value)  # type: ignore[arg-type]
        lines += [f"{_printable(name)}: {_printable(text)}" for name, text in pairs]
        lines += [] if pairs else ["", _printable(entry.value)]  # type: ignore[arg-type]
    invocation.tell(facts, "\n".join(lines))


def _hashed(client: StoreClient, db: int, shown: str, prefixes: tuple[bytes, ...]) -> list[Any]:
    """The key that `ls` shows so."""
    from haagent.cli.transfer import known

    if (parts := HASHED.fullmatch(shown)) is None:
        return []
    pattern = re.sub(r"([\\*?\[])", r"\\\1", parts[1]) + "*"
    return known(client, [key for keys in client.keys(db, pattern) for key in keys if _shown(key, prefixes) == shown])


@sessions.command()
@click.pass_obj
def stats(invocation: Invocation) -> None:
    """Show how this node's store is, and for each peer what it lacks and how fast it confirms."""
    facts = invocation.ask("status")
    if not facts["sessions"]:
        text = f"{facts['node']} keeps no sessions: there is no `sessions:` in {facts['file']}, or it is a witness."
        raise Failure(text, status=USAGE)
    counted = {name: count for name, count in facts["counters"].items() if name.startswith("sessions_")}
    result = {"node": facts["node"], "cluster": facts["cluster"], **facts["sessions"], "counters": counted}
    invocation.tell(result, _stats_text(result, Style.of_stdout()))


def _stats_text(facts: Facts, style: Style) -> str:
    from haagent.cli.layout import table

    if not facts["serving"]:
        return f"Sessions on {facts['node']}: not serving at {facts['listen']}. `haagent status` says why."
    if facts.get("store") == "redis":
        what = f"in Redis at {facts['master'] or 'no master'}"
    else:
        what = f"{facts['keys']} keys, {facts['bytes'] / (1 << 20):.1f} MiB"
    is_ready = "ready" if facts["ready"] else "not ready"
    head = f"Sessions on {facts['node']}: {is_ready}, {what}, {facts['clients']} clients at {facts['listen']}."
    columns = ("PEER", "LINKED", "IN SYNC", "QUEUE", "BYTES", "LAG", "ACK 50%", "ACK 99%", "COMPARED")
    peers = table(columns, [tuple(_row(peer)) for peer in facts["peers"]], style) if facts["peers"] else ""
    width = max(map(len, facts["counters"]), default=0)
    counters = "\n".join(f"{name:<{width}}  {count}" for name, count in facts["counters"].items())
    return "\n\n".join(filter(None, (head, peers, counters)))


def _row(peer: Facts) -> Iterator[str]:
    from haagent.cli.layout import duration

    yield peer["name"]
    yield from ("yes" if peer[name] else "no" for name in ("linked", "in_sync"))
    yield from (str(peer[name]) for name in ("queue", "queue_bytes"))
    for name in ("lag_ms", "ack_p50_ms", "ack_p99_ms"):
        yield "-" if peer[name] is None else f"{peer[name]:.1f} ms"
    yield "never" if peer["last_full_sync"] is None else f"{duration(peer['last_full_sync'])} ago"


@sessions.command()
@_match
@_db("Of this database only.")
@click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask first.")
@_config
@click.pass_obj
def flush(invocation: Invocation, /, pattern: str, db: int | None, file: str, *, is_sure: bool) -> None:
    """Delete all sessions, or those that match, on all nodes: their users are logged out."""
    if not is_sure and (invocation.json or not sys.stdin.isatty()):
        raise Failure("Nobody can be asked here: add --yes.", status=USAGE)
    client, _ = open_client(invocation, file)
    with client:
        held = {at: count for at, count in client.databases().items() if db in (None, at)}
        count = sum(held.values())
        if not is_sure:
            if pattern:
                count = sum(len(keys) for at in held for keys in client.keys(at, pattern))
            click.confirm(f"Delete {_sessions(count)} on all nodes?", abort=True, err=True)
        invocation.when_interrupted = "stopped; what has been deleted so far is gone."
        if pattern:
            count = sum(client.ask("UNLINK", *keys) for at in held for keys in client.keys(at, pattern))
        elif db is None:
            client.ask("FLUSHALL")
        else:
            client.ask("SELECT", db)
            client.ask("FLUSHDB")
    invocation.tell({"deleted": count}, f"Deleted {_sessions(count)}.")


@sessions.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@click.option("--config", type=click.Path(), default=CONFIG, show_default=True, help="The cluster's.")
@click.pass_obj
def export(invocation: Invocation, file: str, *, config: str, force: bool) -> None:
    """Save all sessions to FILE, with their ends, while applications go on.

    Ids and values are in it: it is readable by its owner alone. What changes meanwhile is in it as it was or as it is.
    """
    from haagent.cli.saving import saved
    from haagent.cli.session_file import Writer
    from haagent.cli.transfer import read

    invocation.when_interrupted = f"stopped; {file} is as it was before."
    with saved(file, replaces=force) as opened, open_client(invocation, config)[0] as client:
        writer = Writer(opened)
        held = client.databases()
        progress = _Progress(invocation, sum(held.values()))
        for db in held:
            for keys in client.keys(db):
                for entry in read(client, db, keys):
                    writer.add(entry)
                progress.tell(writer.count)
        writer.end()
        size = opened.tell()
        progress.end()
    text = f"wrote {file}: {_sessions(writer.count)}, {size} bytes. Guard it like a password."
    invocation.tell({"file": file, "sessions": writer.count, "bytes": size}, text)


@sessions.command("import")
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--replace", "replaces", is_flag=True, help="Also where there is a session of that key now.")
@click.option("--config", type=click.Path(), default=CONFIG, show_default=True, help="The cluster's.")
@click.pass_obj
def import_(invocation: Invocation, file: str, *, config: str, replaces: bool) -> int:
    """Put the sessions of FILE, which `export` wrote, into the store, for all nodes.

    What has expired since is left out, and what is there now stays: it is newer than the file. Sessions that were ended
    after the export come back. Exit status 1: some were too large. A damaged file changes nothing.
    """
    from haagent.cli.session_file import BadFile, entries
    from haagent.cli.transfer import write

    try:
        with open(file, "rb") as opened:
            total = sum(1 for _ in entries(opened))  # all of it is read once before anything is changed
            client, _ = open_client(invocation, config)
            invocation.when_interrupted = "stopped; what has been imported so far stays, and a second run goes on."
            progress = _Progress(invocation, total)
            with client:
                result = write(client, entries(opened), replaces=replaces, tell=progress.tell)
            progress.end()
    except BadFile as error:
        raise Failure(f"{file} {error}.", status=USAGE) from error
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.", status=USAGE) from error
    words = {"kept": "there already", "expired": "expired", "refused": "refused, being too large"}
    others = [f"{result[name]} {text}" for name, text in words.items() if result[name]]
    invocation.tell(result, f"Imported {'; '.join([_sessions(result['imported']), *others])}.")
    return FAILED if result["refused"] else 0


# ---------------------------------------------------------------------- how it is told


class _Progress:
    """On a terminal, one line that changes."""

    def __init__(self, invocation: Invocation, total: int) -> None:
        self._is_shown, self._total, self._at_s = sys.stderr.isatty() and not invocation.json, total, 0.0

    def tell(self, count: int) -> None:
        if self._is_shown and time.monotonic() - self._at_s >= TELL_S:
            self._at_s = time.monotonic()
            click.echo(f"\r{count} of {max(count, self._total)}", nl=False, err=True)

    def end(self) -> None:
        if self._is_shown and self._at_s:
            click.echo("\r\x1b[K", nl=False, err=True)


def _databases(client: StoreClient, db: int | None) -> list[int]:
    return list(client.databases()) if db is None else [db]


def _shown(key: bytes, prefixes: tuple[bytes, ...]) -> str:
    """How it begins, if that is the beginning of sessions, and a hash of all of it."""
    prefix = max((each for each in prefixes if key.startswith(each)), key=len, default=b"")
    return f"{prefix.decode()}@{hashlib.sha256(key).hexdigest()[:12]}"


def _named(key: bytes, prefixes: tuple[bytes, ...], *, reveal: bool) -> Facts:
    return _told("key", key) if reveal else {"key": _shown(key, prefixes)}


def _extent(kind: bytes, size: int, expires_ms: int, db: int) -> Facts:
    left_s = max(0.0, expires_ms / 1000 - time.time()) if expires_ms else None
    expires_at = expires_ms / 1000 if expires_ms else None
    return {"db": db, "type": kind.decode(), "bytes": size, "expires_at": expires_at, "expires_in_s": left_s}


def _told(name: str, data: bytes) -> Facts:
    """For programs: as text, or else in base64."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _printable(data: bytes) -> str:
    """For people, and for their terminal."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _sessions(count: int) -> str:
    return f"{count} session" if count == 1 else f"{count} sessions"
