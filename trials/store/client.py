"""Applications of one host, in a process of their own that is lost with it: what they were answered is in a file.

python -m trials.store.client write FILE CONNECTIONS     until its input ends: sessions, one after the other
python -m trials.store.client fill COUNT BYTES           so many sessions, as fast as it goes
python -m trials.store.client dump                       every key, its value and until when it lives, as JSON
python -m trials.store.client ask COMMAND...             one line of answer each
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hiredis

PORT = 6380
SESSIONS = 20  # of each connection
NOTE = struct.Struct("<HIQ")  # connection, number of the write, instant of the answer in ns
PIPELINED = 500


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._parser = reader, writer, hiredis.Reader()

    @classmethod
    async def opened(cls) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", PORT))

    async def ask(self, *commands: Sequence[str | bytes]) -> list[Any]:
        self._writer.write(b"".join(hiredis.pack_command(tuple(command)) for command in commands))
        answers: list[Any] = []
        while len(answers) < len(commands):
            if (answer := self._parser.gets()) is not False:
                answers.append(answer)
            elif data := await self._reader.read(1 << 20):
                self._parser.feed(data)
            else:
                raise ConnectionError("closed")
        return answers


def key_of(connection: int, number: int) -> str:
    return f"session:{connection}-{number % SESSIONS}"


async def write(path: str, connections: int) -> None:
    """A note follows its answer before the next write: what is noted was answered."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def go_on(connection: int) -> None:
        client, number = await Client.opened(), 0
        while True:
            number += 1
            command = ("SETEX", key_of(connection, number), "3600", f"{number:<200}")
            if await client.ask(command) == [b"OK"]:
                os.write(file, NOTE.pack(connection, number, time.monotonic_ns()))

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    tasks = [asyncio.create_task(go_on(connection)) for connection in range(connections)]
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()  # an error, and no end that was wished
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def notes(path: Path) -> Iterator[tuple[int, int, int]]:
    """Connection, number and instant of each answer."""
    data = path.read_bytes()
    yield from NOTE.iter_unpack(data[: len(data) // NOTE.size * NOTE.size])


async def fill(count: int, size: int) -> None:
    client = await Client.opened()
    for first in range(0, count, PIPELINED):
        numbers = range(first, min(count, first + PIPELINED))
        commands = [("SETEX", f"session:{number:032x}", "3600", os.urandom(size)) for number in numbers]
        if bad := [answer for answer in await client.ask(*commands) if answer != b"OK"]:
            raise SystemExit(f"the store answers: {bad[0]}")


async def dump() -> None:
    client, cursor, found = await Client.opened(), b"0", {}
    while True:
        ((cursor, keys),) = await client.ask(("SCAN", cursor, "COUNT", "1000"))
        answers = await client.ask(*(command for key in keys for command in (("GET", key), ("PEXPIRETIME", key))))
        for key, value, until in zip(keys, answers[::2], answers[1::2], strict=True):
            if value is not None:
                found[key.decode()] = [value.decode("latin-1"), until]
        if cursor == b"0":
            break
    print(json.dumps(found))


async def ask(*commands: str) -> None:
    client = await Client.opened()
    for command in commands:
        (answer,) = await client.ask(command.split(" "))
        print(answer.decode() if isinstance(answer, bytes) else len(answer) if isinstance(answer, list) else answer)


def main(what: str, *words: str) -> None:
    match what:
        case "write":
            asyncio.run(write(words[0], int(words[1])))
        case "fill":
            asyncio.run(fill(int(words[0]), int(words[1])))
        case "dump":
            asyncio.run(dump())
        case "ask":
            asyncio.run(ask(*words))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
