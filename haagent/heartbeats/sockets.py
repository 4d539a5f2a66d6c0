"""The kernel's side of a link: sockets with the right options, and what is wrong with an interface.

A multicast socket is bound to (group, port), so that it hears the group and nothing else of that port, and to its
interface, so that the same heartbeat on another interface belongs to the other link. (Since Linux 5.7 that needs no
privilege.) Several clusters may share group and port: every socket gets a copy and drops what is not its cluster's.

A unicast port is not shared: the kernel would give every datagram to the last one who bound it. The second agent gets
"in use", which is the truth. (SO_REUSEADDR is on for an instant only: binding succeeds when both sockets have it, and
the other one has it if it is our own former one.)

Heartbeats are marked CS6, network control, and have priority 6 in this host's queues, so that bulk traffic delays
them last. They do not leave the network segment: hop limit 1 for multicast.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from socket import AF_INET, IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET

from haagent.heartbeats.plan import Binding
from haagent.kernel.sockets import widen

# Not all of these are in the socket module of every Python; the values are fixed by the kernel.
SO_MEMINFO = 55
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFA_F_TENTATIVE = 0x40

CS6 = 48 << 2
PRIORITY = 6  # the highest that needs no privilege
HOPS = 1
BUFFER_BYTES = 1024 * 1024  # about 900 datagrams: 90 ms of 10,000 a second, should the agent stall
MEMINFO_DROPS = 8  # index of the counter in SO_MEMINFO

_LIBC = ctypes.CDLL(None, use_errno=True)

Address = tuple[str, int] | tuple[str, int, int, int]


def open_socket(binding: Binding) -> socket.socket:
    """A bound, non-blocking socket of the link. Raises OSError: `explain` says what it means."""
    sock = socket.socket(binding.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _mark(sock)
        for queue in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            widen(sock, queue, BUFFER_BYTES)
        if binding.is_multicast:
            _join(sock, binding)
        sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address(binding, binding.host))
        if not binding.is_multicast:
            sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        sock.close()
        raise
    return sock


def part_with(sock: socket.socket) -> None:
    """It will be closed, but not yet by everybody (the guardian has a copy): its port may be had by the next one."""
    sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)


def address(binding: Binding, host: str) -> Address:
    """`host` as the kernel wants it, with the interface where an IPv6 address means nothing without."""
    if binding.family == AF_INET:
        return (host, binding.port)
    plain, _, zone = host.partition("%")
    scope = zone or binding.interface
    return (plain, binding.port, 0, socket.if_nametoindex(scope) if scope else 0)


def _mark(sock: socket.socket) -> None:
    if sock.family == AF_INET:
        sock.setsockopt(IPPROTO_IP, socket.IP_TOS, CS6)
    else:
        sock.setsockopt(IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(IPPROTO_IPV6, socket.IPV6_TCLASS, CS6)
    sock.setsockopt(SOL_SOCKET, socket.SO_PRIORITY, PRIORITY)  # after IP_TOS, which changes it as well


def _join(sock: socket.socket, binding: Binding) -> None:
    sock.setsockopt(SOL_SOCKET, socket.SO_BINDTODEVICE, binding.interface.encode() + b"\0")
    index = multicast_over(sock, binding.interface, hops=HOPS, comes_back=False)
    group = socket.inet_pton(binding.family, binding.host.partition("%")[0])
    if binding.family == AF_INET:
        sock.setsockopt(IPPROTO_IP, IP_MULTICAST_ALL, 0)
        _wait_for_option(sock, IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("@4s4si", group, bytes(4), index))
        return
    sock.setsockopt(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
    _wait_for_option(sock, IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("@16si", group, index))


def _wait_for_option(sock: socket.socket, level: int, option: int, value: bytes) -> None:
    """Python's own `setsockopt` keeps the interpreter to itself, and this one may wait in the kernel."""
    if _LIBC.setsockopt(sock.fileno(), level, option, value, len(value)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def multicast_over(sock: socket.socket, interface: str, *, hops: int, comes_back: bool) -> int:
    """What is sent to a group leaves by this interface, of which the index is returned."""
    index = socket.if_nametoindex(interface)
    if sock.family == AF_INET:
        by_index = struct.pack("@4s4si", bytes(4), bytes(4), index)  # struct ip_mreqn
        sock.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, by_index)
        sock.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
        sock.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_LOOP, comes_back)
    else:
        sock.setsockopt(IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.setsockopt(IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
        sock.setsockopt(IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, comes_back)
    return index


def overflowed(sock: socket.socket) -> int:
    """Datagrams that the kernel threw away because the receive buffer was full."""
    return int(struct.unpack_from("@9I", sock.getsockopt(SOL_SOCKET, SO_MEMINFO, 36))[MEMINFO_DROPS])


def fault_of(binding: Binding) -> str:
    """What keeps a link from working, in words; empty: nothing that the kernel knows of."""
    try:
        with socket.socket(binding.family, socket.SOCK_DGRAM) as probe:
            if binding.is_multicast:
                return _fault_of_interface(probe, binding)
            host, _, *scope = address(binding, binding.host)
            probe.bind((host, 0, *scope))  # refused unless it is an address of this host at present
    except OSError as error:
        return explain(error, binding)
    return ""


def _fault_of_interface(probe: socket.socket, binding: Binding) -> str:
    request = struct.pack("@16s24x", binding.interface.encode())
    flags = struct.unpack_from("@16xH", fcntl.ioctl(probe, SIOCGIFFLAGS, request))[0]
    if not flags & IFF_UP:
        return f"{binding.interface} is down: `ip link set {binding.interface} up`"
    if not flags & IFF_RUNNING:
        return f"{binding.interface} has no carrier"
    if binding.family == AF_INET:
        fcntl.ioctl(probe, SIOCGIFADDR, request)
    elif not _has_ipv6(binding.interface):
        return f"{binding.interface} has no usable IPv6 address"
    return ""


def _has_ipv6(interface: str) -> bool:
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return any(row[5] == interface and not int(row[4], 16) & IFA_F_TENTATIVE for row in rows)


def explain(error: OSError, binding: Binding) -> str:
    """The error as an operator would say it, with what to do where that is known."""
    what = binding.interface or binding.host
    if error.errno == errno.EADDRINUSE:
        return f"port {binding.port} of {binding.host} is taken: give each cluster on this host its own port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what} has no address" if binding.is_multicast else f"{what} is not an address of this host"
    if binding.is_multicast and (error.errno in (errno.ENODEV, errno.ENXIO) or error.errno is None):
        return f"there is no interface {what}"
    return f"{what}: {error.strerror or error}"
