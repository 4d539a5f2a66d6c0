"""What the gate says of a group's addresses, for `status`."""

from __future__ import annotations

import enum


class GateState(enum.StrEnum):
    OPEN = "open"
    SHUT = "shut"
    OFF = "off"  # the configuration says so
    UNAVAILABLE = "unavailable"  # this host cannot, and the reason is told
