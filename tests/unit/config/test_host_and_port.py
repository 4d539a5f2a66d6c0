"""`ADDRESS:PORT`, which is taken apart in one place, whoever needs the parts."""

from __future__ import annotations

import pytest

from haagent.config.kinds import HostPort, Wrong, host_and_port
from haagent.web.sockets import CannotServe, tcp_listener

TEXTS = [
    ("127.0.0.1:6380", HostPort("127.0.0.1", 6380)),
    ("[::1]:6380", HostPort("::1", 6380)),
    ("[fe80::1%eth0]:1", HostPort("fe80::1%eth0", 1)),
    ("redis.example.com:65535", HostPort("redis.example.com", 65535)),
]


@pytest.mark.parametrize(("text", "parts"), TEXTS)
def test_both_parts_and_the_text_again(text: str, parts: HostPort) -> None:
    assert host_and_port(text) == parts
    assert str(parts) == text


def test_brackets_that_nothing_needs_go() -> None:
    assert str(host_and_port("[127.0.0.1]:80")) == "127.0.0.1:80"


ODD = ["", "6380", ":6380", "127.0.0.1", "127.0.0.1:", "::1:6380", "[::1]", "[::1]6380", "[]:6380", "[::1:6380"]
ODD += ["[[::1]]:6380", "::1]:6380", "a:b:1", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:6380 ", "127.0.0.1:6380\n"]


@pytest.mark.parametrize("text", ODD)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(Wrong, match="is not an address with a port"):
        host_and_port(text)


@pytest.mark.parametrize("port", ["0", "00080", "65536", "9" * 5000])
def test_a_port_that_is_none_is_called_so(port: str) -> None:
    with pytest.raises(Wrong, match="is not a port"):
        host_and_port(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("listens", "found"),
    [
        ("0.0.0.0:6380", "127.0.0.1:6380"),
        ("[::]:6380", "[::1]:6380"),
        ("10.20.1.10:6380", "10.20.1.10:6380"),
        ("[fd00::10]:6380", "[fd00::10]:6380"),
    ],
)
def test_one_that_listens_everywhere_is_found_on_the_loopback(listens: str, found: str) -> None:
    assert str(host_and_port(listens).from_here()) == found


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("[::1]:80", "[::]:80", True),
        ("0.0.0.0:80", "[::]:80", False),
        ("127.0.0.1:80", "[::]:80", False),
        ("127.0.0.1:80", "10.20.1.10:80", False),
        ("0.0.0.0:80", "0.0.0.0:81", False),
    ],
)
def test_two_that_cannot_listen_beside_each_other(one: str, other: str, *, is_same: bool) -> None:
    assert host_and_port(one).collides(host_and_port(other)) is is_same
    assert host_and_port(other).collides(host_and_port(one)) is is_same


def test_a_link_local_address_is_looked_for_on_its_link() -> None:
    """Without the link the kernel calls it invalid; with it, it says that the address is not there."""
    with pytest.raises(CannotServe, match="cannot assign requested address"):
        tcp_listener("[fe80::dead%lo]:7266", key="http.listen").close()
