"""One fault, once: what a client saw of it, and what became of the address on the node that had it."""

from __future__ import annotations

import time

import msgspec

from haagent.lab import Measurement
from haagent.lab.answers import Trace, overlaps, spans
from haagent.lab.outage import measure
from haagent.lab.plan import CLIENT, VIP4
from trials.bench.faults import BESIDE_S, Fault
from trials.bench.products import Product, renew
from trials.chaos.cluster import addresses
from trials.chaos.history import outages

QUIET_S = 0.3
AFTER_S = 0.3
END_S = 0.05  # an answer so shortly before the mending counts as "still answers"


class Sample(msgspec.Struct, frozen=True):
    """Milliseconds."""

    outage: float  # longest gap from the fault to its mending
    taken: float | None  # from the fault to another node's first answer; None: there was none
    after: float  # longest gap from the mending until all was well again
    dual: float  # two nodes answered for the address at once, all in all
    is_dual_at_end: bool  # they still did when the fault was mended
    still_answers: bool  # the old node, when the fault was mended
    still_has_it: bool  # the old node's kernel has the address
    noise: float  # longest gap before the fault
    stall: float  # how late the prober itself was


def measurement(product: Product) -> Measurement:
    """Of the IPv4 address, so that the prober is the same size for everybody."""
    lab = product.lab
    plan = msgspec.structs.replace(lab.state().plan, vips=(VIP4,))
    return Measurement(plan, lambda words: lab.start_on(CLIENT, words))


def run(product: Product, fault: Fault) -> Sample:
    holder = product.settle()
    with measurement(product) as probe:
        probe.wait_answer(by=holder)
        quiet_s = time.monotonic()
        time.sleep(QUIET_S)
        struck_s = fault.strike(product, holder)
        lasts_s = fault.lasts_s or product.takeover_s + BESIDE_S
        time.sleep(max(0.0, struck_s + lasts_s - time.monotonic()))
        has_it = VIP4 in addresses(product.lab, holder)
        mended_s = time.monotonic()
        fault.mend(product, holder)
        product.settle(probe)
        time.sleep(AFTER_S)
        ended_s = time.monotonic()
    if fault.renews:
        renew(product, holder)
    trace = probe.stop()[0]
    return _sample(trace, holder, has_it=has_it, instants=(quiet_s, struck_s, mended_s, ended_s))


def _sample(trace: Trace, holder: str, *, has_it: bool, instants: tuple[float, float, float, float]) -> Sample:
    quiet_s, struck_s, mended_s, ended_s = instants
    twice = overlaps(trace)
    others = [span.since_s for span in spans(trace) if span.node != holder and struck_s < span.since_s < mended_s]
    seen = measure(trace, start_s=struck_s, end_s=mended_s)
    # A gap that begins under the fault and ends after it belongs to the fault, all of it.
    gaps = outages(trace, start_s=struck_s, end_s=ended_s)
    return Sample(
        outage=max((gap.ms for gap in gaps if gap.start_s < mended_s), default=0.0),
        after=max((gap.ms for gap in gaps if gap.start_s >= mended_s), default=0.0),
        taken=(min(others) - struck_s) * 1e3 if others else None,
        dual=sum(overlap.ms for overlap in twice),
        is_dual_at_end=any(one.start_s < mended_s and one.end_s > mended_s - END_S for one in twice),
        still_answers=any(
            span.node == holder and span.since_s < mended_s and span.until_s > mended_s - END_S for span in spans(trace)
        ),
        still_has_it=has_it,
        noise=measure(trace, start_s=quiet_s, end_s=struck_s).worst_ms,
        stall=seen.stall_ms,
    )
