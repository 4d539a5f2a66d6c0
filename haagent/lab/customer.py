"""A customer with a browser at the client host: real HTTP requests, cookies kept, redirects followed.

The browser runs on the client host and knows nothing but how to ask; what it means is read here, on the lab's side. As
browsers do, it keeps its connection, and when that turns out to be closed it asks for a page once more on a new one.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Callable, Mapping
from html import unescape
from http.cookies import SimpleCookie
from re import findall
from urllib.parse import urlencode

import msgspec

from haagent.lab.errors import LabError
from haagent.lab.measurement import program

PATIENCE_S = 40.0  # a browser waits longer; HAProxy gives up after 30 s
REDIRECTS = (302, 303)


class Request(msgspec.Struct, frozen=True):
    host: str
    port: int
    path: str
    form: str | None = None  # None: GET
    cookies: str = ""


class Answer(msgspec.Struct, frozen=True):
    status: int  # 0: there was none
    page: str
    served_by: str = ""
    cookies: tuple[str, ...] = ()  # as they are set

    @property
    def is_good(self) -> bool:
        return self.status == http.HTTPStatus.OK

    @property
    def cart(self) -> list[str]:
        return [unescape(item) for item in findall(r'<li class="item">([^<]*)</li>', self.page)]

    def is_of(self, user: str) -> bool:
        return self.is_good and f"{user} <button>Log out" in self.page


class Customer:
    """Use as a context."""

    def __init__(self, start: Callable[[list[str]], subprocess.Popen[bytes]], host: str, port: int) -> None:
        self.cookies: dict[str, str] = {}
        self._host, self._port = host, port
        self._browser = start([sys.executable, "-c", program("haagent.lab.customer")])

    def __enter__(self) -> Customer:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.kill()
        self._browser.communicate(timeout=10)

    def look(self) -> Answer:
        answer = self._keep(self._ask(Request(self._host, self._port, "/", cookies=self._said())))
        return self.look() if answer.status in REDIRECTS else answer

    def send(self, path: str, **form: str) -> Answer:
        """What the shop answers: where to go."""
        return self._keep(self._ask(Request(self._host, self._port, path, urlencode(form), self._said())))

    def look_with(self, cookies: Mapping[str, str]) -> Answer:
        """The same page in another tab, which has these cookies and keeps none."""
        kept, self.cookies = self.cookies, dict(cookies)
        try:
            return self.look()
        finally:
            self.cookies = kept

    def ask(self, host: str, port: int, path: str, *, with_cookies: bool = False) -> Answer:
        """A host itself, past the balancer."""
        return self._ask(Request(host, port, path, cookies=self._said() if with_cookies else ""))

    def _keep(self, answer: Answer) -> Answer:
        """Its cookies."""
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)  # so a shop ends a cookie
        return answer

    def _said(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def _ask(self, request: Request) -> Answer:
        assert self._browser.stdin is not None
        assert self._browser.stdout is not None
        self._browser.stdin.write(msgspec.json.encode(request) + b"\n")
        self._browser.stdin.flush()
        if not (line := self._browser.stdout.readline()):
            raise LabError("the browser on the client host has ended")
        return msgspec.json.decode(line, type=Answer)


class Browser:
    def __init__(self) -> None:
        self._open: dict[tuple[str, int], http.client.HTTPConnection] = {}

    def ask(self, request: Request) -> Answer:
        where = (request.host, request.port)
        if (kept := self._open.get(where)) is not None:
            try:
                return self._answer(kept, request)
            except (OSError, http.client.HTTPException) as error:
                if request.form is not None or not isinstance(error, ConnectionError):
                    return self._failed(where, error)
                kept.close()  # closed by the server, and it is safe to ask once more
        self._open[where] = http.client.HTTPConnection(*where, timeout=PATIENCE_S)
        try:
            return self._answer(self._open[where], request)
        except (OSError, http.client.HTTPException) as error:
            return self._failed(where, error)

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()

    def _failed(self, where: tuple[str, int], error: Exception) -> Answer:
        self._open.pop(where).close()
        return Answer(0, f"{type(error).__name__}: {error}")

    @staticmethod
    def _answer(connection: http.client.HTTPConnection, request: Request) -> Answer:
        headers = {"Cookie": request.cookies} if request.cookies else {}
        if request.form is None:
            connection.request("GET", request.path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("POST", request.path, request.form, headers)
        answer = connection.getresponse()
        page = answer.read().decode(errors="replace")
        cookies = tuple(answer.headers.get_all("Set-Cookie") or ())
        return Answer(answer.status, page, answer.headers.get("X-Served-By", ""), cookies)


def main() -> None:
    browser = Browser()
    for line in sys.stdin.buffer:
        answer = browser.ask(msgspec.json.decode(line, type=Request))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
