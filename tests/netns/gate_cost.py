"""What opening, renewing and shutting cost on this kernel: microseconds, hot and from cold. Run on a host of a lab."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address

from haagent.gate import encoding, ruleset
from haagent.gate.channel import Channel
from haagent.gate.elements import Elements

PAIR = [ip_address(text).packed for text in ("10.20.1.100", "fd00:20::100")]
MANY = [ip_address(f"10.20.2.{number}").packed for number in range(16)]


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def spread(act: Callable[[], object], *, count: int, pause_s: float = 0.0) -> str:
    took = []
    for _ in range(count):
        time.sleep(pause_s) if pause_s else None
        began = time.perf_counter_ns()
        act()
        took.append((time.perf_counter_ns() - began) / 1000)
    took.sort()
    return f"{took[count // 2]:.0f} / {took[count * 99 // 100]:.0f} us (p50, p99)"


def main() -> None:
    channel = Channel()
    flags = encoding.OWNED | encoding.PERSISTENT
    channel.build([*ruleset.permanent([*PAIR, *MANY], flags=flags), *ruleset.owned()])
    elements = Elements(channel, now)
    elements.prepare([*PAIR, *MANY])

    def ends(addresses: list[bytes]) -> dict[bytes, float]:
        return dict.fromkeys(addresses, now() + 5)

    def shut_and_open() -> None:
        elements.close(PAIR)
        elements.open(ends(PAIR))

    elements.open(ends([*PAIR, *MANY]))
    print("renewing IPv4 and IPv6, hot:", spread(lambda: elements.extend(ends(PAIR)), count=1000))
    print("renewing IPv4 and IPv6, cold:", spread(lambda: elements.extend(ends(PAIR)), count=40, pause_s=0.02))
    print("renewing 16 IPv4 at once, hot:", spread(lambda: elements.extend(ends(MANY)), count=300))
    print("shutting and opening, hot:", spread(shut_and_open, count=500))
    print("shutting and opening, cold:", spread(shut_and_open, count=40, pause_s=0.02))


if __name__ == "__main__":
    main()
