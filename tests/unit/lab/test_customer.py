"""The browser of the lab's customer: against a server that closes connections when it likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from haagent.lab.customer import Answer, Browser, Request

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Served-By: A\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhi"


class Server:
    """One answer on each connection, which it keeps open; it closes it when the next request has come."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                for answer in (PAGE, b""):
                    if not (request := connection.recv(65536)):
                        return
                    self.requests.append(request.partition(b"\r\n")[0])
                    connection.sendall(answer)

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join(timeout=10)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_page_is_asked_for_once_more_where_the_connection_was_closed(server: Server) -> None:
    browser, request = Browser(), Request("127.0.0.1", server.port, "/")
    good = Answer(200, "hi", "A", ("a=1", "b=2"))
    assert [browser.ask(request), browser.ask(request)] == [good, good]
    assert server.requests == [b"GET / HTTP/1.1"] * 3
    browser.close()


def test_a_form_is_sent_once(server: Server) -> None:
    browser = Browser()
    assert browser.ask(Request("127.0.0.1", server.port, "/")).is_good
    failed = browser.ask(Request("127.0.0.1", server.port, "/add", "item=book"))
    assert failed.status == 0
    assert "RemoteDisconnected" in failed.page
    assert server.requests == [b"GET / HTTP/1.1", b"POST /add HTTP/1.1"]
    browser.close()


def test_a_cart_is_read_from_the_page() -> None:
    page = 'US <button>Log out</button> <li class="item">A book</li> <li class="item">Salt &amp; pepper</li>'
    assert Answer(200, page).cart == ["A book", "Salt & pepper"]
    assert Answer(200, page).is_of("US")
    assert not Answer(500, page).is_of("US")
