"""The kinds of values: how each is read, and what is said when it cannot be. For our options and those of plug-ins.

A kind of one's own is a function from text to value that raises `Wrong`: `of_text("a colour", convert)`.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from haagent.config.document import BOOLEANS, Mapping, Scalar, Sequence
from haagent.config.durations import Duration, NotADuration, format_duration, parse_duration
from haagent.config.faults import quoted, suggestion
from haagent.config.place import Place
from haagent.core.limits import MAX_NAME

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

NAME_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
NAME_HINT = f"use letters, digits, `.`, `_` and `-`, at most {MAX_NAME}, and begin with a letter or a digit"
HOST_AND_PORT_FORM = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]+)")
NETWORK_INTERFACE = re.compile(r"[^\s/:%]{1,15}")  # the kernel's rule: dev_valid_name()


class Wrong(Exception):
    """A text is not of the kind: what is wrong with it, and what to write instead."""


class HostPort(NamedTuple):
    """`10.0.0.1:443`, `[fd00::1]:443` or `redis.example.com:6379`, taken apart: the host is without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> Address:
        """Not of a name: ValueError."""
        return ipaddress.ip_address(self.host)

    def from_here(self) -> HostPort:
        """Where a client on this host finds one that listens there: on the loopback, if it listens everywhere."""
        return HostPort({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    def collides(self, other: HostPort) -> bool:
        """Nobody can listen on one of them while the other is taken. All of IPv6 is nothing of IPv4."""
        mine, theirs = self.address, other.address
        is_one_place = mine.version == theirs.version and (mine.is_unspecified or theirs.is_unspecified)
        return self.port == other.port and (mine == theirs or is_one_place)


def host_and_port(text: str, hint: str = "write `10.0.0.1:443` or `[fd00::1]:443`") -> HostPort:
    """The one place where such a text is taken apart: when the file is read, and by whoever uses a value of it."""
    found = HOST_AND_PORT_FORM.fullmatch(text)
    if found is None:
        raise Wrong(f"{quoted(text)} is not an address with a port", hint)
    return HostPort(found[1] or found[2], _port(found[3]))


class Kind(msgspec.Struct, frozen=True):
    """How a value is read. `words` completes "it is ..." in messages and stands in the documentation."""

    words: str
    read: Callable[[Place], Any]  # None: refused, and said so
    show: Callable[[Any], str] = str  # a value as it would be written
    struct: type[msgspec.Struct] | None = None  # of a section
    named: str = ""  # of a section that exists once for each name: what the name is of
    reads_nothing: bool = False  # it has its own word on `key:` with nothing behind it


class Found(msgspec.Struct, frozen=True):
    """A value of a list, with its place."""

    value: Any
    place: Place


def of_text(words: str, convert: Callable[[str], Any], show: Callable[[Any], str] = str) -> Kind:
    """One scalar, whatever type YAML sees in it: a cluster may be called `1`. `convert` may raise `Wrong`."""

    def read(place: Place) -> Any:
        scalar = place.scalar(words)
        if scalar is None:
            return None
        try:
            return convert(scalar.text)
        except Wrong as wrong:
            place.refuse(*wrong.args)
            return None

    return Kind(words, read, show)


def is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and NAME_FORM.fullmatch(text) is not None


def is_off(text: str) -> bool:
    """`off` is false to YAML, and comes back as `false` from tools that read and write it."""
    return BOOLEANS.get(text.lower()) is False


def _flag(text: str) -> bool:
    found = BOOLEANS.get(text.lower())
    if found is None:
        raise Wrong(f"{quoted(text)} is neither true nor false", "write `true` or `false`")
    return found


FLAG = of_text("true or false", _flag, lambda value: "true" if value else "false")


def _duration(text: str) -> Duration:
    try:
        return parse_duration(text)
    except NotADuration as error:
        raise Wrong(f"{quoted(text)} is not a duration", str(error)) from error


DURATION = of_text("a duration", _duration, format_duration)


def duration(least: str, most: str) -> Kind:
    least_s, most_s = parse_duration(least), parse_duration(most)

    def convert(text: str) -> float:
        seconds = float(_duration(text))
        if least_s <= seconds <= most_s:
            return seconds
        extent = "short" if seconds < least_s else "long"
        raise Wrong(f"{format_duration(seconds)} is too {extent}", f"write {least} to {most}")

    return of_text(f"a duration, {least} to {most}", convert, format_duration)


def whole(least: int, most: int) -> Kind:
    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
            return int(text)
        raise Wrong(f"{quoted(text)} is not a number from {least} to {most}", "write one without a unit")

    return of_text(f"a number, {least} to {most}", convert)


def choice(*words: str) -> Kind:
    def convert(text: str) -> str:
        if text in words:
            return text
        if "off" in words and is_off(text):
            return "off"
        raise Wrong(f"{quoted(text)} is not known here", suggestion(text, words))

    return of_text(" or ".join(f"`{word}`" for word in words), convert)


def list_of(kind: Kind, words: str) -> Kind:
    """At least one, and none twice."""
    any_number = several(kind)

    def read(place: Place) -> tuple[Found, ...]:
        found: tuple[Found, ...] = any_number.read(place)
        if isinstance(place.node, Sequence) and not place.node.values:
            place.refuse("the list is empty", "write at least one")
        known: set[Any] = set()
        for each in found:
            if each.value in known:
                each.place.refuse(f"`{each.value}` is in the list twice", "remove one of them")
            known.add(each.value)
        return found

    return Kind(words, read, any_number.show)


def several(kind: Kind) -> Kind:
    """A list, or one value alone: `interfaces: eth0` is as clear as `interfaces: [eth0]`."""

    def read(place: Place) -> tuple[Found, ...]:
        places = place.elements() if isinstance(place.node, Sequence) else (place,)
        return tuple(Found(value, each) for each in places if (value := kind.read(each)) is not None)

    def show(values: Any) -> str:
        shown = ", ".join(map(kind.show, values))
        return shown if len(values) == 1 else f"[{shown}]"

    return Kind(f"a list, each {kind.words}", read, show)


# ---------------------------------------------------------------------- names, paths, addresses


def _name(text: str) -> str:
    if is_name(text):
        return text
    raise Wrong(f"{quoted(text)} cannot be a name", NAME_HINT)


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise Wrong(f"{quoted(text)} is not an absolute path", "begin with `/`")
    if not text.isprintable() or " " in text:
        raise Wrong(f"{quoted(text)} has a blank in it", "write one path; arguments belong into a script")
    return text


def _network_interface(text: str) -> str:
    if NETWORK_INTERFACE.fullmatch(text) and text.isprintable() and text not in {".", ".."}:
        return text
    raise Wrong(f"{quoted(text)} cannot be a network interface", "`ip link` lists them: write a name such as `eth0`")


def _port(text: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535:
        return int(text)
    raise Wrong(f"{quoted(text)} is not a port", "write a number from 1 to 65535, such as `7265`")


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        if "/" in text:
            hint = f"write {quoted(text.partition('/')[0])}"
            raise Wrong(f"{quoted(text)} has a prefix length", hint) from error
        hint = "write one such as `10.20.1.10` or `fd00:20::10`"
        raise Wrong(f"{quoted(text)} is not an IP address", hint) from error


def _node_address(text: str) -> str:
    address = _usable(_address(text))
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and not address.scope_id:
        raise Wrong(
            f"{address} is link-local and does not say on which link",
            f"write `{address}%eth0`, or better an address that is not link-local",
        )
    return str(address)


def _usable(address: Address) -> Address:
    """One host can have it, and another can reach it."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise Wrong(f"{address} is an IPv4 address in disguise", f"write `{address.ipv4_mapped}`")
    if address.is_multicast:
        raise Wrong(f"{address} is a multicast address", "write the address of one host")
    if address.is_unspecified or str(address) == "255.255.255.255":
        raise Wrong(f"{address} is not the address of a host", "write the address of one host")
    return address


def _group_address(text: str) -> Interface:
    message = f"{quoted(text)} is not an IP address with a prefix length"
    example = "write one such as `10.20.1.100/24` or `fd00:20::100/64`"
    if not re.fullmatch(r"[^/%]+(/[0-9]{1,3})?", text):
        raise Wrong(message, example)
    try:
        found = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Wrong(message, example) from error
    if _usable(found.ip).is_loopback:
        raise Wrong(f"{found.ip} is a loopback address", "no client can reach it: write another")
    network = found.network
    if network.max_prefixlen - network.prefixlen < 2:
        return found  # a point-to-point or host prefix has no network or broadcast address
    if found.ip == network.network_address:
        raise Wrong(f"{found} is the address of the network itself", "write the address of a host in it")
    if network.version == 4 and found.ip == network.broadcast_address:
        raise Wrong(f"{found} is the broadcast address of {network}", "write the address of a host in it")
    return found


def _multicast(text: str) -> str:
    address = _address(text)
    if not address.is_multicast:
        raise Wrong(f"{address} is not a multicast address", "write one such as `239.192.72.65` or `ff15::7265`")
    if isinstance(address, ipaddress.IPv6Address) and address.packed[1] & 0x0F < 2:
        raise Wrong(f"{address} never leaves the host", "write one such as `ff02::7265` or `ff15::7265`")
    if address in ipaddress.ip_network("224.0.0.0/24"):
        raise Wrong(f"{address} is reserved for routing protocols", "write one such as `239.192.72.65`")
    return str(address)


def _gateway(text: str) -> str:
    if is_off(text):
        return "off"
    return text if text == "auto" else _node_address(text)


def _third_party_and_port(text: str) -> str:
    host, port = host_and_port(text)
    return str(HostPort(str(_third_party(host)), port))


def _own_address_and_port(text: str) -> str:
    hint = "write `127.0.0.1:7266`, `[::1]:7266`, or `0.0.0.0:7266` for all addresses of this host"
    found = host_and_port(text, hint)
    try:
        return str(HostPort(str(found.address), found.port))
    except ValueError as error:
        raise Wrong(f"{quoted(text)} is not an address with a port", hint) from error


def _host_url(text: str) -> str:
    hint = "write one such as `http://10.0.0.1/health`"
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError as error:
        raise Wrong(f"{quoted(text)} is not a URL: {error}", hint) from error
    if url.scheme not in ("http", "https") or not host or url.username or not text.isascii() or not text.isprintable():
        raise Wrong(f"{quoted(text)} is not the URL of a host", hint)
    _third_party(host)
    return text


def _third_party(host: str) -> Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        hint = "write its address: a lost network takes the name service along"
        raise Wrong(f"{quoted(host)} is a name", hint) from error
    return _usable(address)


def _program(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", text):
        return text
    if not os.path.isfile(_path(text)):
        raise Wrong(f"there is no program {quoted(text)} on this host", "install it, or write the name of another")
    return text


def texts(what: str) -> Kind:
    """A mapping from names to texts, handed on as they are written: pairs of both, in order."""

    def read(place: Place) -> tuple[tuple[str, str], ...] | None:
        if not isinstance(place.node, Mapping):
            place.refuse(f"{place.shape()}, but it is a mapping", "write `{name: value, ...}`")
            return None
        found = []
        for name, below in place.entries():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                below.refuse(f"{quoted(name)} cannot be the name of an option", "use letters, digits, `_` and `-`")
            elif not isinstance(below.node, Scalar):
                below.refuse(f"{below.shape()}, but it is a text", "write one value")
            elif not below.node.text.isprintable():
                below.refuse("a control character is in the text", "write it on one line, without tabs")
            else:
                found.append((name, "" if below.is_empty else below.node.text))
        return tuple(found)

    return Kind(f"a mapping from {what} to texts", read)


NAME = of_text("a name", _name)
PATH = of_text("an absolute path", _path)
PLUG_IN = of_text("the name of a plug-in", _name)
NETWORK = of_text("a network interface", _network_interface)
PORT = of_text("a port", _port)
NODE_ADDRESS = of_text("an IP address", _node_address)
GROUP_ADDRESS = of_text("an address with its prefix length", _group_address)
MULTICAST = of_text("a multicast address", _multicast)
GATEWAY = of_text("`auto`, `off`, or an IP address", _gateway)
HOST_AND_PORT = of_text("an address with a port", _third_party_and_port)
OWN_ADDRESS_AND_PORT = of_text("an address of this host with a port", _own_address_and_port)
HOST_URL = of_text("a URL with an address", _host_url)
PROGRAM = of_text("the name or the absolute path of a program", _program)
