"""Etcd over HTTP/JSON: one question goes to one endpoint, and to the next as well if that one is slow to answer.

Whichever answers first counts, the others are abandoned. Asking twice does no harm: every write is a comparison with a
value of its own, so the second of two that arrive finds the first one's work, and knows it (`Register.settle`). That
is how a frozen member, or a connection that a healed partition left for dead, costs one `patience_s` and not the lease.

Nothing here is tried again beyond that. The arbiter asks anew, with what is true by then.

An endpoint may be broken, or somebody else's. Whatever it answers, and whatever that brings about in us or in a
library, is one refusal of this endpoint, and the next is asked. The one exception that leaves here is `EtcdError`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

import aiohttp
import msgspec

from haagent.config import Config, ConfigError, Fault
from haagent.config.keys import KeyFileError, load_password
from haagent.coordination import messages
from haagent.coordination.messages import Header, Malformed, Reply, WatchResult
from haagent.coordination.register import Outcome, Write

MAX_BYTES = 1 << 20  # of an answer: 129 groups are 30 KiB
MAX_AT_ONCE = 3  # attempts of one question that are under way
FORGOTTEN = ("auth token", "auth store is old", "user name is empty")  # log in again: the token has run out


T = TypeVar("T")
OPEN = "authentication is not enabled"


class EtcdError(Exception):
    """Etcd did not do what it was asked. `str()` says which endpoint said what."""


class Credentials(msgspec.Struct, frozen=True):
    user: str
    password: str


class _Refused(Exception):
    """One endpoint's word."""


class Gateway:
    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        patience_s: float,
        context: ssl.SSLContext | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.counters: Counter[str] = Counter()
        self.patience_s = patience_s
        self._context = context
        self._credentials = credentials
        self._token: str | None = None  # empty: none is wanted
        self._first = 0  # whoever answered last is asked first
        self._session: aiohttp.ClientSession | None = None

    @property
    def endpoint(self) -> str:
        return self.endpoints[self._first]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------ questions

    async def read(self, prefix: bytes, *, within_s: float) -> Reply:
        return await self._ask("/v3/kv/range", messages.read_request(prefix), messages.read_reply, within_s=within_s)

    async def write(self, writes: Sequence[tuple[bytes, Write]], *, within_s: float) -> tuple[Header, list[Outcome]]:
        read = functools.partial(messages.read_outcomes, count=len(writes))
        return await self._ask("/v3/kv/txn", messages.write_request(writes), read, within_s=within_s)

    async def watch(self, prefix: bytes) -> AsyncIterator[WatchResult]:
        """What happens under `prefix` from now on; the first result says that it has begun. Raises `EtcdError`."""
        endpoint = self.endpoint
        try:
            async with asyncio.timeout(MAX_AT_ONCE * self.patience_s):
                response = await self._post(endpoint, "/v3/watch", messages.watch_request(prefix))
            async with response:
                async for line in _lines(response.content):
                    yield messages.read_watch_line(line)
            raise _Refused("the watch ended")
        except Exception as error:
            raise EtcdError(f"{_host(endpoint)}: {self._refused(error)}") from error

    async def _ask(self, path: str, body: bytes, read: Callable[[bytes], T], *, within_s: float) -> T:
        """Raises `EtcdError` once every endpoint has failed, or the time is up."""
        loop = asyncio.get_running_loop()
        give_up_at, first, turn, is_late = loop.time() + within_s, self._first, self._first, True
        faults: dict[str, str] = {}
        running: dict[asyncio.Task[T], int] = {}
        try:
            while (left_s := give_up_at - loop.time()) > 0 and (running or len(faults) < len(self.endpoints)):
                is_new = turn - first < len(self.endpoints)  # who has failed is not asked again at once
                if (is_late or is_new) and len(running) < MAX_AT_ONCE:
                    chosen, turn = turn % len(self.endpoints), turn + 1
                    running[loop.create_task(self._attempt(self.endpoints[chosen], path, body, read))] = chosen
                done, _ = await asyncio.wait(
                    running, timeout=min(self.patience_s, left_s), return_when=asyncio.FIRST_COMPLETED
                )
                is_late = not done
                for task in done:
                    chosen = running.pop(task)
                    if (error := task.exception()) is None:
                        self._first = chosen
                        return task.result()
                    faults[self.endpoints[chosen]] = self._refused(error)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        self._first = turn % len(self.endpoints)  # somebody else first, next time
        silent = {self.endpoints[chosen]: f"no answer within {1000 * within_s:.0f} ms" for chosen in running.values()}
        raise EtcdError("; ".join(f"{_host(endpoint)}: {why}" for endpoint, why in (faults | silent).items()))

    async def _attempt(self, endpoint: str, path: str, body: bytes, read: Callable[[bytes], T]) -> T:
        async with await self._post(endpoint, path, body) as response:
            return read(await _body(response.content))

    def _refused(self, error: BaseException) -> str:
        """In words."""
        self.counters["etcd_refused"] += 1
        # Etcd 3.5 and later may answer a bad token by closing the connection (etcd issue 20332).
        if isinstance(error, aiohttp.ServerDisconnectedError) or any(words in str(error) for words in FORGOTTEN):
            self._token = None
        return messages.one_line(_words(error))

    async def _post(self, endpoint: str, path: str, body: bytes) -> aiohttp.ClientResponse:
        """An answer with status 200. Logs in where that is needed, and once more where it was forgotten."""
        for is_last in (False, True):
            if self._credentials is not None and self._token is None:
                self._token = await self._log_in(endpoint, self._credentials)
            response = await self._send(endpoint, path, body, token=self._token or "")
            if response.status == 200:
                return response
            async with response:
                why = messages.refusal_text(await _body(response.content))
            if is_last or self._credentials is None or not any(words in why for words in FORGOTTEN):
                raise _Refused(why)
            self._token = None
        raise AssertionError("the second turn returns or raises")

    async def _log_in(self, endpoint: str, credentials: Credentials) -> str:
        body = msgspec.json.encode({"name": credentials.user, "password": credentials.password})
        async with await self._send(endpoint, "/v3/auth/authenticate", body) as response:
            data = await _body(response.content)
        if response.status == 200:
            return messages.read_token(data)
        if OPEN in (why := messages.refusal_text(data)):
            return ""  # and when it is enabled one day, `FORGOTTEN` is the answer
        raise _Refused(why)

    async def _send(self, endpoint: str, path: str, body: bytes, *, token: str = "") -> aiohttp.ClientResponse:
        if self._session is None:
            # Time-outs are ours to keep, and a slow endpoint must not use up the connections to the others. What comes
            # is what was sent: nothing is unpacked to a thousand times its size, and no cookie is kept.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                connector=aiohttp.TCPConnector(limit=0, ssl=self._context or True),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
            )
        headers = {"Authorization": token} if token else {}
        return await self._session.post(endpoint + path, data=body, headers=headers, allow_redirects=False)


async def _body(content: aiohttp.StreamReader) -> bytes:
    data = bytearray()
    async for chunk in content.iter_any():
        data += chunk
        if len(data) > MAX_BYTES:
            raise Malformed("too long an answer: is the prefix shared with something else?")
    return bytes(data)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in content.iter_any():
        first, *more = chunk.split(b"\n")
        rest += first
        for each in more:
            if rest:
                yield bytes(rest)
            rest = bytearray(each)
        if len(rest) > MAX_BYTES:
            raise Malformed("too long a line: is the prefix shared with something else?")


def _host(endpoint: str) -> str:
    return endpoint.partition("://")[2]


def _words(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            found = error.certificate_error
            return f"its certificate is not accepted: {getattr(found, 'verify_message', '') or found}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, socket.gaierror):
            return "no address of that name is known"
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS with it: {getattr(error.os_error, 'reason', '') or error.os_error}"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return os.strerror(number).lower() if number else str(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case TimeoutError():
            return "no answer"
        case OSError() if error.errno:
            return os.strerror(error.errno).lower()
        case aiohttp.ClientError() | OSError() | Malformed() | _Refused() if str(error):
            return str(error)
    return f"{type(error).__name__}: {error}"  # nobody has thought of it, so say what it was


# ---------------------------------------------------------------------- from the configuration


def open_gateway(config: Config) -> Gateway:
    """Reads the files that the configuration names: not for the event loop. Raises `ConfigError`."""
    etcd = config.coordination.etcd
    assert etcd is not None
    faults: list[Fault] = []
    credentials = None
    if etcd.user:
        try:
            credentials = Credentials(etcd.user, load_password(etcd.password_file))
        except KeyFileError as error:
            faults.append(Fault(0, "coordination.etcd.password_file", str(error), "give every node the same"))
    context = tls_context(etcd.tls.ca, etcd.tls.cert, etcd.tls.key, faults) if etcd.uses_tls else None
    if faults:
        raise ConfigError(config.path, faults)
    return Gateway(etcd.endpoints, patience_s=etcd.timeout_s, context=context, credentials=credentials)


def tls_context(ca: str, cert: str, key: str, faults: list[Fault]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if ca:
            context = ssl.create_default_context(cafile=ca)  # this one alone, not what the system trusts as well
    except (OSError, ssl.SSLError) as error:
        faults.append(_unusable("ca", ca, error))
    try:
        if cert:
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        faults.append(_unusable("cert", f"{cert} with {key}", error))
    return context


def _unusable(option: str, path: str, error: OSError) -> Fault:
    cause = error.strerror or getattr(error, "reason", "") or str(error)
    return Fault(0, f"coordination.etcd.tls.{option}", f"{path}: {cause}", "write the path of a PEM file")
