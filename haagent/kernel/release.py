"""Remove everything of ours from this host, without the daemon: `haagent release`, also run by systemd after a
crash.

Needs no loop and not pyroute2: a removal repeats the kernel's own words. Running it twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import AddressError, IpInterface, Seen


def release_all(addresses: Iterable[IpInterface], tell: Callable[[str], None] = print) -> bool:
    """All of these, and everything with our tag, on all interfaces. True: nothing is left."""
    unwanted = {address.ip.packed for address in addresses}
    is_clean = True
    with closing(Kernel()) as kernel:
        kernel.open()
        kernel.load_links()
        found = [seen for seen in kernel.seen() if seen.packed in unwanted or seen.is_ours]
        _protect_siblings(kernel, found, tell)
        for seen in found:
            try:
                kernel.strike(seen)
                tell(f"removed {seen} from {kernel.links.name_of(seen.index)}")
            except AddressError as error:
                is_clean = False
                tell(str(error))
        if not found:
            tell("nothing to remove")
    return is_clean


def _protect_siblings(kernel: Kernel, found: Iterable[Seen], tell: Callable[[str], None]) -> None:
    """A removed primary must not take the host's own addresses of the same subnet along."""
    for index in sorted({seen.index for seen in found if len(seen.packed) == 4}):
        link = kernel.links.get(kernel.links.name_of(index))
        try:
            if link is not None:
                kernel.promote_secondaries(link)
        except AddressError as error:
            tell(str(error))
