"""The kinds of values: how each is read, and what is said when it cannot be."""

from __future__ import annotations

import ipaddress
import os.path
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from haagent.config.document import BOOLEANS, Mapping, Sequence
from haagent.config.durations import NotADuration, format_duration, parse_duration
from haagent.config.faults import quoted, suggestion
from haagent.config.section import Found, Kind, Option, Place, read_section
from haagent.core.limits import MAX_NAME

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

NAME_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
NETWORK_INTERFACE = re.compile(r"[^\s/:%]{1,15}")  # the kernel's rule: dev_valid_name()
NAME_HINT = f"use letters, digits, `.`, `_` and `-`, at most {MAX_NAME}, and begin with a letter or a digit"


def of_text(words: str, convert: Callable[[Place, str], Any]) -> Kind:
    """A kind that is one scalar, whatever type YAML sees in it: a cluster may be called `1`."""

    def read(place: Place) -> Any:
        scalar = place.scalar(words)
        return None if scalar is None else convert(place, scalar.text)

    return Kind(words, read)


def is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and NAME_FORM.fullmatch(text) is not None


def _name(place: Place, text: str) -> str | None:
    if is_name(text):
        return text
    place.refuse(f"{quoted(text)} cannot be a name", NAME_HINT)
    return None


def _path(place: Place, text: str) -> str | None:
    if not text.startswith("/"):
        place.refuse(f"{quoted(text)} is not an absolute path", "begin with `/`")
    elif not text.isprintable() or " " in text:
        place.refuse(f"{quoted(text)} has a blank in it", "write one path; arguments belong into a script")
    else:
        return text
    return None


def _network_interface(place: Place, text: str) -> str | None:
    if NETWORK_INTERFACE.fullmatch(text) and text.isprintable() and text not in {".", ".."}:
        return text
    place.refuse(f"{quoted(text)} cannot be a network interface", "`ip link` lists them: write a name such as `eth0`")
    return None


def _port(place: Place, text: str) -> int | None:
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535:
        return int(text)
    place.refuse(f"{quoted(text)} is not a port", "write a number from 1 to 65535, such as `7265`")
    return None


def _address(place: Place, text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        if "/" in text:
            place.refuse(f"{quoted(text)} has a prefix length", f"write {quoted(text.partition('/')[0])}")
        else:
            place.refuse(f"{quoted(text)} is not an IP address", "write one such as `10.20.1.10` or `fd00:20::10`")
        return None


def _node_address(place: Place, text: str) -> str | None:
    address = _address(place, text)
    if address is None or not _is_usable(place, address):
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and not address.scope_id:
        place.refuse(
            f"{address} is link-local and does not say on which link",
            f"write `{address}%eth0`, or better an address that is not link-local",
        )
        return None
    return str(address)


def _is_usable(place: Place, address: Address) -> bool:
    """One host can have it, and another can reach it."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        place.refuse(f"{address} is an IPv4 address in disguise", f"write `{address.ipv4_mapped}`")
    elif address.is_multicast:
        place.refuse(f"{address} is a multicast address", "write the address of one host")
    elif address.is_unspecified or str(address) == "255.255.255.255":
        place.refuse(f"{address} is not the address of a host", "write the address of one host")
    else:
        return True
    return False


def _group_address(place: Place, text: str) -> Interface | None:
    example = "write one such as `10.20.1.100/24` or `fd00:20::100/64`"
    if not re.fullmatch(r"[^/%]+(/[0-9]{1,3})?", text):
        place.refuse(f"{quoted(text)} is not an IP address with a prefix length", example)
        return None
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        place.refuse(f"{quoted(text)} is not an IP address with a prefix length", example)
        return None
    if not _is_usable(place, found.ip):
        return None
    if found.ip.is_loopback:
        place.refuse(f"{found.ip} is a loopback address", "no client can reach it: write another")
        return None
    return found if _is_host(place, found) else None


def _is_host(place: Place, found: Interface) -> bool:
    network = found.network
    bits = network.max_prefixlen - network.prefixlen
    if bits < 2:  # a point-to-point or host prefix has no network or broadcast address
        return True
    if found.ip == network.network_address:
        place.refuse(f"{found} is the address of the network itself", "write the address of a host in it")
        return False
    if network.version == 4 and found.ip == network.broadcast_address:
        place.refuse(f"{found} is the broadcast address of {network}", "write the address of a host in it")
        return False
    return True


def _multicast(place: Place, text: str) -> str | None:
    address = _address(place, text)
    if address is None:
        return None
    if not address.is_multicast:
        place.refuse(f"{address} is not a multicast address", "write one such as `239.192.72.65` or `ff15::7265`")
    elif isinstance(address, ipaddress.IPv6Address) and address.packed[1] & 0x0F < 2:
        place.refuse(f"{address} never leaves the host", "write one such as `ff02::7265` or `ff15::7265`")
    elif address in ipaddress.ip_network("224.0.0.0/24"):
        place.refuse(f"{address} is reserved for routing protocols", "write one such as `239.192.72.65`")
    else:
        return str(address)
    return None


def _is_off(text: str) -> bool:
    """`off` is false to YAML, and comes back as `false` from tools that read and write it."""
    return BOOLEANS.get(text.lower()) is False


def _gateway(place: Place, text: str) -> str | None:
    if _is_off(text):
        return "off"
    return text if text == "auto" else _node_address(place, text)


def _host_and_port(place: Place, text: str) -> str | None:
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:]+)):([0-9]+)", text)
    if found is None:
        place.refuse(f"{quoted(text)} is not an address with a port", "write `10.0.0.1:443` or `[fd00::1]:443`")
        return None
    address = _third_party(place, found[1] or found[2])
    port = _port(place, found[3])
    if address is None or port is None:
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _host_url(place: Place, text: str) -> str | None:
    hint = "write one such as `http://10.0.0.1/health`"
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError as error:
        place.refuse(f"{quoted(text)} is not a URL: {error}", hint)
        return None
    if url.scheme not in ("http", "https") or not host or url.username or not text.isascii() or not text.isprintable():
        place.refuse(f"{quoted(text)} is not the URL of a host", hint)
        return None
    return None if _third_party(place, host) is None else text


def _third_party(place: Place, host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        place.refuse(f"{quoted(host)} is a name", "write its address: a lost network takes the name service along")
        return None
    return str(address) if _is_usable(place, address) else None


def _agent(place: Place, text: str) -> str | None:
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", text):
        return text
    if _path(place, text) is None:
        return None
    if not os.path.isfile(text):
        place.refuse(f"there is no program {quoted(text)} on this host", "install it, or write the name of another")
        return None
    return text


def _flag(place: Place, text: str) -> bool | None:
    found = BOOLEANS.get(text.lower())
    if found is None:
        place.refuse(f"{quoted(text)} is neither true nor false", "write `true` or `false`")
    return found


NAME = of_text("a name", _name)
PATH = of_text("an absolute path", _path)
NETWORK = of_text("a network interface", _network_interface)
PORT = of_text("a port", _port)
NODE_ADDRESS = of_text("an IP address", _node_address)
GROUP_ADDRESS = of_text("an address with its prefix length", _group_address)
MULTICAST = of_text("a multicast address", _multicast)
FLAG = of_text("true or false", _flag)
GATEWAY = of_text("`auto`, `off`, or an IP address", _gateway)
HOST_AND_PORT = of_text("an address with a port", _host_and_port)
HOST_URL = of_text("a URL with an address", _host_url)
AGENT = of_text("the name or the absolute path of a program", _agent)


def duration(*, least: str, most: str) -> Kind:
    least_s, most_s = parse_duration(least), parse_duration(most)

    def convert(place: Place, text: str) -> float | None:
        try:
            seconds = float(parse_duration(text))
        except NotADuration as error:
            place.refuse(f"{quoted(text)} is not a duration", str(error))
            return None
        if least_s <= seconds <= most_s:
            return seconds
        extent = "short" if seconds < least_s else "long"
        place.refuse(f"{format_duration(seconds)} is too {extent}", f"write {least} to {most}")
        return None

    return of_text(f"a duration, {least} to {most}", convert)


def choice(*words: str) -> Kind:
    def convert(place: Place, text: str) -> str | None:
        if text in words:
            return text
        if "off" in words and _is_off(text):
            return "off"
        place.refuse(f"{quoted(text)} is not known here", suggestion(text, words))
        return None

    return of_text(" or ".join(f"`{word}`" for word in words), convert)


def list_of(kind: Kind, words: str) -> Kind:
    """A list, or one value alone: `interfaces: eth0` is as clear as `interfaces: [eth0]`."""

    def read(place: Place) -> tuple[Found, ...] | None:
        if not isinstance(place.node, Sequence):
            value = kind.read(place)
            return None if value is None else (Found(value, place),)
        found = [Found(kind.read(element), element) for element in place.elements()]
        if not found:
            place.refuse("the list is empty", "write at least one")
        known: set[Any] = set()
        for each in found:
            if each.value is not None and each.value in known:
                each.place.refuse(f"`{each.value}` is in the list twice", "remove one of them")
            known.add(each.value)
        return tuple(each for each in found if each.value is not None)

    return Kind(words, read)


def texts(what: str) -> Kind:
    """A mapping from names to texts, handed on as they are written: pairs of both, in order."""

    def read(place: Place) -> tuple[tuple[str, str], ...] | None:
        if not isinstance(place.node, Mapping):
            place.refuse(f"{place.shape()}, but it is a mapping", "write `{name: value, ...}`")
            return None
        return tuple((name, text) for name, below in place.entries() if (text := _option_text(name, below)) is not None)

    return Kind(f"a mapping from {what} to texts", read)


def _option_text(name: str, place: Place) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        place.refuse(f"{quoted(name)} cannot be the name of an option", "use letters, digits, `_` and `-`")
    elif isinstance(place.node, Mapping | Sequence):
        place.refuse(f"{place.shape()}, but it is a text", "write one value")
    elif not place.node.text.isprintable():
        place.refuse("a control character is in the text", "write it on one line, without tabs")
    else:
        return "" if place.is_empty else place.node.text
    return None


def section(*options: Option, later: tuple[str, ...] = (), may_lack: bool = False) -> Kind:
    return Kind("a mapping", lambda place: read_section(place, options, later), options=options, may_lack=may_lack)


def sections(what: str, *options: Option, most: int, later: tuple[str, ...] = ()) -> Kind:
    """A mapping from names to sections."""
    inner = section(*options, later=later)

    def read(place: Place) -> Any:
        return read_named(place, what, most=most, read=inner.read)

    return Kind(f"a mapping from {what} names to mappings", read, options=options, named=what)


def read_named(place: Place, what: str, *, most: int, read: Callable[[Place], Any]) -> dict[str, Any] | None:
    if not isinstance(place.node, Mapping) or not place.node.entries:
        shape = "empty" if isinstance(place.node, Mapping) else place.shape()
        place.refuse(f"{shape}, but it names each {what}", "write `NAME: {...}` below it")
        return None
    if len(place.node.entries) > most:
        place.refuse(f"{len(place.node.entries)} are too many", f"{most} is the most that one cluster can have")
    found = {}
    for name, below in place.entries():
        if not is_name(name):
            below.refuse(f"{quoted(name)} cannot be the name of a {what}", NAME_HINT)
        value = read(below)
        if value is not None:
            found[name] = value
    return found
