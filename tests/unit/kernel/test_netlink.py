"""Netlink in bytes is written and read in one place, and whatever the kernel says is read to its end."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

import haagent
from haagent.kernel import netlink
from haagent.kernel.netlink import ACK, HEADER, attribute, attributes, message, read_error, split

parts = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)))


@given(parts)
def test_attributes_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in written)
    assert list(attributes(data)) == written
    assert list(attributes(bytes(24) + data, 24)) == written


def test_flags_of_an_attribute_are_not_its_type() -> None:
    assert list(attributes(attribute(0x8000 | 7, b"nested") + attribute(0x4000 | 8, b"big"))) == [
        (7, b"nested"),
        (8, b"big"),
    ]


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=40))))
def test_messages_are_read_as_they_were_written(written: list[tuple[int, int, bytes]]) -> None:
    sent = [message(kind, body + bytes(-len(body) % 4), flags=ACK, sequence=number) for kind, number, body in written]
    assert list(split(b"".join(sent))) == [
        (kind, netlink.REQUEST | ACK, number, 0, whole) for (kind, number, _), whole in zip(written, sent, strict=True)
    ]


@given(st.binary(max_size=100))
def test_anything_is_read_to_its_end(data: bytes) -> None:
    for _, payload in attributes(data):
        assert payload in data
    for *_, whole in split(data):
        assert whole in data


def test_a_record_that_is_cut_short_or_has_no_length_ends_the_reading() -> None:
    whole = attribute(1, b"four") + attribute(2, b"more")
    assert list(attributes(whole[:-1])) == [(1, b"four")]
    assert list(attributes(attribute(1, b"four") + bytes(8))) == [(1, b"four")]


def test_an_attribute_is_what_pyroute2_writes() -> None:
    written = ifaddrmsg()
    written["attrs"] = [("IFA_LABEL", "eth0:ha"), ("IFA_PROTO", 0xA7)]
    written.encode()
    read = dict(attributes(bytes(written.data), HEADER.size + 8))
    assert read == {3: b"eth0:ha\0", 11: b"\xa7"}
    assert netlink.read_text(read[3]) == "eth0:ha"


def test_the_kernels_own_explanation_is_read() -> None:
    refused = struct.pack("=i", -errno.EINVAL) + bytes(HEADER.size)
    assert read_error(message(netlink.ERROR, refused)) == (errno.EINVAL, "")
    said = message(netlink.ERROR, refused + attribute(1, b"no such thing\0"), flags=netlink.ACK_TLVS)
    assert read_error(said) == (errno.EINVAL, "no such thing")
    assert read_error(message(netlink.ERROR, bytes(4 + HEADER.size))) == (0, "")


def test_no_other_module_opens_such_a_socket() -> None:
    package = Path(haagent.__file__).parent
    speaking = [path.relative_to(package) for path in package.rglob("*.py") if "AF_NETLINK" in path.read_text()]
    assert speaking == [Path("kernel/netlink.py")]
