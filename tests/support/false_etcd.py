"""An endpoint that says whatever it is told to say.

python false_etcd.py HOST PORT     (goes through all of `ANSWERS`, one for each question, again and again)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import itertools
import sys
from collections.abc import AsyncIterator, Iterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answer(body: bytes, *, status: str = "200 OK", more: bytes = b"") -> bytes:
    """With the framing of an honest server."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), more, body)


def _deep(brackets: bytes, levels: int = 2000) -> bytes:
    return brackets[:1] * levels + brackets[1:] * levels


def _transactions(levels: int) -> bytes:
    return b'{"responses":[{"response_txn":' * levels + b"{}" + b"}]}" * levels


def _value(value: bytes) -> bytes:
    key, held = base64.b64encode(b"/haagent/lab/web"), base64.b64encode(value)
    return b'{"header":{"revision":"5"},"kvs":[{"key":"%s","mod_revision":"5","value":"%s"}]}' % (key, held)


HUGE = 64 << 20  # bytes: what is sent of it is 64 KiB

ANSWERS = {
    "lists in an unknown field": answer(b'{"x":' + _deep(b"[]") + b"}"),
    "lists where an answer should be": answer(_deep(b"[]")),
    "transactions in transactions": answer(_transactions(400)),
    "transactions without an end": answer(_transactions(4000)),
    "a refusal with depths": answer(b'{"error":{"message":' + _deep(b"[]", 900) + b"}}", status="400 Bad Request"),
    "a refusal that is too deep": answer(b'{"error":' + _deep(b"[]") + b"}", status="400 Bad Request"),
    "a token of two lines": answer(b'{"token":"a\\r\\nX: y"}'),
    "a token with a zero": answer(b'{"token":"a\\u0000b"}'),
    "a token in another alphabet": answer('{"token":"жетон"}'.encode()),
    "a token that is too long": answer(b'{"token":"%s"}' % (b"a" * 100_000)),
    "a token that is none": answer(b'{"token":""}'),
    "a value with depths": answer(_value(b'{"round":1,"node":"A","boot":7,"x":' + _deep(b"[]") + b"}")),
    "a revision that is negative": answer(b'{"header":{"revision":"-1"}}'),
    "a revision that etcd cannot have": answer(b'{"header":{"revision":"99999999999999999999"}}'),
    "a bomb": answer(gzip.compress(bytes(HUGE)), more=b"Content-Encoding: gzip\r\n"),
    "packed, and it is not": answer(b"{}", more=b"Content-Encoding: deflate\r\n"),
    "more than is wanted": answer(b" " * (2 << 20)),
    "nothing": answer(b""),
    "no UTF-8": answer(b'{"error":"\xff\xfe"}', status="500 Oops"),
    "a screen cleared": answer(b'{"error":"\\u001b[2J\\n\\nAll is well."}', status="500 Oops"),
    "a novel": answer(b'{"error":"%s"}' % (b"a" * 500_000), status="500 Oops"),
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "headers without an end": HEAD + b"X: " + b"a" * 100_000,
    "headers without number": HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
    "chunks that are none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
    "less than promised": HEAD + b"Content-Length: 100\r\n\r\n{}",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x00\x01",
    "wait": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "elsewhere": answer(b"", status="302 Found", more=b"Location: http://[::1\r\n"),
    "cookies": answer(b"nonsense", more=b'Set-Cookie: a="\x01; Domain=\r\n' * 50),
    "a watch with depths": answer(b'{"result":' + _deep(b"[]") + b"}\n"),
    "a watch that is too much": answer(b'{"result":{"created":true}}\n' + b" " * (2 << 20)),
    "silence": b"",
}


@contextlib.asynccontextmanager
async def false_etcd(answers: Iterator[bytes], *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Each question gets the next of `answers`, and the connection's end. What is yielded is the endpoint."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(next(answers))
            await writer.drain()
        writer.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)

    server = await asyncio.start_server(accepted, host, port)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _main(host: str, port: int) -> None:
    async with false_etcd(itertools.cycle(ANSWERS.values()), host=host, port=port):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
