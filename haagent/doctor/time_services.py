"""How far time services are told to steer this host's clock (`core.clocks` says how far they may).

chrony is told so. The others leave it to the kernel, which makes up for a part of what the clock is off each second:
of timesyncd, which steps the clock if it is off by 0.4 s, a fourth at a poll interval of 16 s and an eighth at one of
32 s; of ntpd, whatever it is told, at most 0.5 s by a 32th.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from haagent.core.settings import SLEW
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, ok, warning

CHRONY = ("/etc/chrony.conf", "/etc/chrony/chrony.conf", "/etc/chrony.d/*.conf", "/etc/chrony/conf.d/*.conf")
TIMESYNCD = ("/etc/systemd/timesyncd.conf", *(f"{at}/systemd/timesyncd.conf.d/*.conf" for at in ("/usr/lib", "/etc")))
NTPD = ("/etc/ntp.conf", "/etc/ntpsec/ntp.conf")
CRYSTAL = 0.0005  # what the kernel allows on top, for a crystal that is wrong
CHRONY_USUAL = 1 / 12
TIMESYNCD_USUAL_S, TIMESYNCD_STEPS_S = 32.0, 0.4
NTPD_MOST = 0.5 / 32
UNITS_S = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60}


def time_services(subject: Subject) -> Iterator[Finding]:
    found = {
        "chrony": (CHRONY, _chrony, f"write `maxslewrate {1e6 * CHRONY_USUAL:.0f}`, which is its default"),
        "timesyncd": (TIMESYNCD, _timesyncd, f"write `PollIntervalMinSec={TIMESYNCD_USUAL_S:.0f}`, its default"),
        "ntpd": (NTPD, lambda _: NTPD_MOST, ""),
    }
    told = {}
    for name, (files, slew, mend) in found.items():
        texts = [text for pattern in files for text in subject.read_all(pattern)]
        if not texts:
            continue
        most = slew("\n".join(texts)) + CRYSTAL
        told[name] = f"{name} by {100 * most:.1f} %"
        if most > SLEW:
            yield warning(
                f"{name} may steer this host's clock by {100 * most:.1f} %",
                why=f"With more than {100 * SLEW:.0f} % an agent releases what it holds and gives no vote.",
                mend=f"{mend}, and restart it",
            )
            return
    if told:
        yield ok(f"time services steer this host's clock at most: {', '.join(told.values())}")
    else:
        yield ok("no time service is configured here that could steer this host's clock too far")


def _chrony(text: str) -> float:
    """What stands last counts."""
    said = re.findall(r"^\s*maxslewrate\s+([\d.eE+]+)", text, re.MULTILINE | re.IGNORECASE)
    return float(said[-1]) / 1e6 if said else CHRONY_USUAL - CRYSTAL


def _timesyncd(text: str) -> float:
    said = re.findall(r"^\s*PollIntervalMinSec\s*=\s*([\d.]+)\s*([a-z]*)\s*$", text, re.MULTILINE)
    number, unit = said[-1] if said else (str(TIMESYNCD_USUAL_S), "")
    poll_s = max(16.0, float(number) * UNITS_S.get(unit, 1))
    return TIMESYNCD_STEPS_S / 2.0 ** (math.floor(math.log2(poll_s)) - 2)
