"""Operators' orders: the newest word wins, on every node."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.messages import Ballot, Order
from haagent.core.registers import MAINTENANCE, Orders
from haagent.core.settings import GroupSettings, NodeSettings, Settings

SETTINGS = Settings(
    cluster="c",
    me="A",
    nodes=tuple(NodeSettings(name) for name in "AB"),
    groups=(GroupSettings("leader"), GroupSettings("web")),
    interval_s=0.1,
    lease_s=0.35,
    alone_after_s=5.0,
    start_grace_s=1.0,
    failure_expiry_s=600.0,
)


def test_an_order_given_is_in_force_and_counted_up() -> None:
    orders = Orders(SETTINGS)
    assert not orders.is_standby("B")
    orders.give(0.0, "standby/B")
    assert orders.is_standby("B")
    orders.give(1.0, "standby/B", on=False)
    assert not orders.is_standby("B")
    assert [(order.version, order.writer) for order in orders.to_send(0.0)] == [(2, "A")]


def test_what_is_newer_is_taken_over_and_told() -> None:
    orders = Orders(SETTINGS)
    orders.give(0.0, MAINTENANCE)
    newer, older = Order(MAINTENANCE, 2, "B", on=False), Order(MAINTENANCE, 1, "A", on=False)
    assert orders.merge(0.0, [older]) == []
    assert orders.in_maintenance
    assert orders.merge(0.0, [newer]) == [newer]
    assert not orders.in_maintenance
    assert orders.merge(0.0, [newer]) == []


def test_of_two_given_at_once_the_writer_decides() -> None:
    orders = Orders(SETTINGS)
    orders.give(0.0, MAINTENANCE)
    assert orders.merge(0.0, [Order(MAINTENANCE, 1, "B", on=False)])


def test_only_what_is_configured_can_be_spoken_of() -> None:
    strange = [Order(key, 9, "B") for key in ("standby/Z", "clear/mail", "move/mail", "shutdown", "", "maintenance/A")]
    assert Orders(SETTINGS).merge(0.0, strange) == []
    assert Orders.remembered(SETTINGS, strange).to_send(0.0) == ()


def test_states_outlive_a_restart_and_acts_do_not() -> None:
    orders = Orders(SETTINGS)
    for key in ("standby/B", MAINTENANCE, "clear/web", "move/web"):
        orders.give(0.0, key)
    assert [order.key for order in orders.lasting] == [MAINTENANCE, "standby/B"]
    again = Orders.remembered(SETTINGS, orders.lasting)
    assert again.in_maintenance
    assert again.is_standby("B")


def test_a_reload_forgets_orders_for_what_is_gone() -> None:
    orders = Orders(SETTINGS)
    orders.give(0.0, "clear/web")
    orders.give(0.0, MAINTENANCE)
    orders.reconfigure(msgspec.structs.replace(SETTINGS, groups=()))
    assert [order.key for order in orders.to_send(0.0)] == [MAINTENANCE]


def test_an_order_of_a_node_that_knows_of_no_earlier_one_is_not_lost() -> None:
    """It has just started and has heard nobody: the wall clock makes its order the newest."""
    others, fresh = Orders(SETTINGS), Orders(SETTINGS)
    for hour in range(5):
        others.give(0.0, MAINTENANCE, wall=3600.0 * hour, on=False)
    fresh.give(0.0, MAINTENANCE, wall=5 * 3600.0)
    others.merge(0.0, fresh.to_send(0.0))
    assert others.in_maintenance
    others.give(0.0, MAINTENANCE, wall=1.0, on=False)
    assert others.to_send(0.0)[0].version > fresh.to_send(0.0)[0].version, "a clock that went back loses nothing"


def test_clearing_is_counted() -> None:
    orders = Orders(SETTINGS)
    assert orders.cleared("web") == 0
    orders.give(0.0, "clear/web")
    assert orders.cleared("web") == 1


def test_a_move_goes_stale_counted_from_when_this_node_saw_it() -> None:
    orders = Orders(SETTINGS)
    assert orders.move(0.0, "web") is None
    moved = Order("move/web", 1, "B", target="B", ballot=Ballot(1, "A"), ttl_ms=10_000)
    orders.merge(100.0, [moved])
    assert orders.move(109.9, "web") == moved
    assert orders.move(110.0, "web") is None
    orders.give(101.0, "move/web", on=False)
    assert orders.move(101.0, "web") is None


def test_a_move_that_was_remembered_means_nothing() -> None:
    assert Orders.remembered(SETTINGS, [Order("move/web", 1, "B", target="B", ttl_ms=10_000)]).move(0.0, "web") is None


keys = st.sampled_from(["standby/A", "standby/B", MAINTENANCE, "clear/web", "move/web"])
some = st.lists(st.builds(Order, keys, st.integers(1, 3), st.sampled_from("AB"), st.booleans()), max_size=12)


@given(some, st.randoms())
def test_in_whatever_order_they_arrive_all_nodes_end_with_the_same(given_: list[Order], rng: object) -> None:
    unique = list({(order.key, order.version, order.writer): order for order in given_}.values())
    shuffled = list(unique)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Orders(SETTINGS), Orders(SETTINGS)
    one.merge(0.0, unique)
    for order in [*shuffled, *shuffled]:
        other.merge(0.0, [order])
    assert one.to_send(0.0) == other.to_send(0.0)


def test_a_move_travels_with_what_is_left_of_its_time() -> None:
    orders = Orders(SETTINGS)
    orders.give(100.0, "move/web", target="B", ttl_s=10.0)
    assert [order.ttl_ms for order in orders.to_send(104.0)] == [6_000]
    assert [order.ttl_ms for order in orders.to_send(200.0)] == [0]


def test_a_remembered_order_with_a_time_can_be_sent() -> None:
    """Nobody gives one, but a peer may send it, and it is then kept over a restart like any other."""
    orders = Orders.remembered(SETTINGS, [Order("standby/B", 1, "A", ttl_ms=5), Order("move/web", 1, "A", ttl_ms=5)])
    assert [order.ttl_ms for order in orders.to_send(7.0)] == [0, 0]
