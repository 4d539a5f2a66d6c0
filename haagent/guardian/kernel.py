"""Removing addresses with the standard library alone: list what is there, and strike what must not be.

A removal is the kernel's own report of the address sent back with another type, as in `haagent.kernel`: it is exact
whatever the prefix, and needs no configuration. The list is asked for before, not after: what it shows is removed, each
with the kernel's word for it, and the agent, which alone would add one, is dead. So the acknowledgements prove that
none is left, and the time between the removal and the last words is as short as it can be.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from errno import EADDRNOTAVAIL, ENODEV, ENXIO

from haagent.kernel.netlink import ACK, HEADER, Inquirer, Refused, attributes, message

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
IFA_ADDRESS, IFA_LOCAL = 1, 2

_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index


class Kernel(Inquirer):
    def __init__(self) -> None:
        super().__init__(answer_s=0.2)
        self.open()

    def strike(self, unwanted: Sequence[bytes]) -> int:
        """Afterwards no interface has any of these addresses. How many there were; Refused when that is not so."""
        listed = self.listed(RTM_GETADDR, bytes(_ADDRESS.size), wanted=RTM_NEWADDR)
        found = [each for each in listed if _is_among(each, unwanted)]
        answers = self.exchange([message(RTM_DELADDR, each[HEADER.size :], flags=ACK) for each in found])
        faults = [
            f"cannot remove {_text(each)}: {os.strerror(code)}"
            for each, (code, _) in zip(found, answers, strict=True)
            if code not in (0, EADDRNOTAVAIL, ENODEV, ENXIO)
        ]
        if faults:
            raise Refused("; ".join(faults))
        return len(found)


def _is_among(found: bytes, unwanted: Sequence[bytes]) -> bool:
    # Searching is cheaper than reading, and almost no address of a host is one of these.
    return any(packed in found for packed in unwanted) and _local(found) in unwanted


def _local(found: bytes) -> bytes:
    """The address itself. (`IFA_ADDRESS` is the other end, where an interface has one.)"""
    known = dict(attributes(found, HEADER.size + _ADDRESS.size))
    return known.get(IFA_LOCAL) or known.get(IFA_ADDRESS, b"")


def _text(found: bytes) -> str:
    packed, prefix = _local(found), found[HEADER.size + 1]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, packed)}/{prefix}"
