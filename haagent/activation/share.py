"""Which of a group's addresses are served here while it is held: all, but for those that the core withholds.

Another node may have them still, in another group: see `core.group.ownership`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from haagent.kernel.facts import Vip


class Share:
    def __init__(self, vips: Mapping[int, Vip]) -> None:
        """By the numbers that the core knows them by."""
        self.served: tuple[Vip, ...] = ()
        self._have(vips)

    def withhold(self, numbers: Collection[int]) -> bool:
        """Whether that changes anything."""
        before = self.served
        self.served = tuple(vip for number, vip in self._vips.items() if number not in numbers)
        self.withheld = tuple(vip for vip in self.every if vip not in self.served)
        self.served_packed, self.withheld_packed = _packed(self.served), _packed(self.withheld)
        return self.served != before

    def numbers(self, packed: Collection[bytes]) -> tuple[int, ...]:
        return tuple(number for number, vip in self._vips.items() if vip.packed in packed)

    def lose(self, packed: Collection[bytes]) -> None:
        """Another group of this node serves them: they are not for this one to let go of any more."""
        self._have({number: vip for number, vip in self._vips.items() if vip.packed not in packed})

    def _have(self, vips: Mapping[int, Vip]) -> None:
        self._vips = dict(vips)
        self.every = tuple(vips.values())
        self.every_packed = _packed(self.every)
        self.withhold(())

    def numbered_without(self, numbers: Collection[int]) -> tuple[bytes, ...]:
        return tuple(vip.packed for number, vip in self._vips.items() if number not in numbers)

    def follow(self, earlier: Share) -> None:
        """After a reload it serves no more than before, until the core says so."""
        served = set(earlier.served_packed)
        self.withhold([number for number, vip in self._vips.items() if vip.packed not in served])


def _packed(vips: Collection[Vip]) -> tuple[bytes, ...]:
    return tuple(vip.packed for vip in vips)
