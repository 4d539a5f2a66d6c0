"""What a store answers when one operation comes after the other: the few commands that the workloads send.

A state is a mapping from keys to texts. Only what two clients could disagree about is modelled: there is no expiry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trials.linear.history import Operation

State = dict[str, str]
Step = Callable[[State, Operation], tuple[State, Any]]


def _get(state: State, operation: Operation) -> tuple[State, Any]:
    return state, state.get(operation.keys[0])


def _set(state: State, operation: Operation) -> tuple[State, Any]:
    return state | {operation.keys[0]: operation.arguments[0]}, "OK"


def _delete(state: State, operation: Operation) -> tuple[State, Any]:
    (key,) = operation.keys
    return {name: text for name, text in state.items() if name != key}, int(key in state)


def _append(state: State, operation: Operation) -> tuple[State, Any]:
    text = state.get(operation.keys[0], "") + operation.arguments[0]
    return state | {operation.keys[0]: text}, len(text)


def _increment(state: State, operation: Operation) -> tuple[State, Any]:
    number = int(state.get(operation.keys[0], "0")) + 1
    return state | {operation.keys[0]: str(number)}, number


def _set_if_absent(state: State, operation: Operation) -> tuple[State, Any]:
    """SET NX: a lock is taken."""
    return (state, None) if operation.keys[0] in state else _set(state, operation)


def _compare_and_set(state: State, operation: Operation) -> tuple[State, Any]:
    """WATCH, GET, MULTI, SET, EXEC."""
    before, after = operation.arguments
    if state.get(operation.keys[0]) != before:
        return state, False
    return state | {operation.keys[0]: after}, True


def _compare_and_delete(state: State, operation: Operation) -> tuple[State, Any]:
    """A lock is given back by whoever has it."""
    return _delete(state, operation) if state.get(operation.keys[0]) == operation.arguments[0] else (state, 0)


def _set_all(state: State, operation: Operation) -> tuple[State, Any]:
    """MULTI with one SET a key: all of them, or none."""
    return state | dict(zip(operation.keys, operation.arguments, strict=True)), "OK"


def _get_all(state: State, operation: Operation) -> tuple[State, Any]:
    return state, [state.get(key) for key in operation.keys]


STEPS: dict[str, Step] = {
    "get": _get,
    "set": _set,
    "delete": _delete,
    "append": _append,
    "increment": _increment,
    "set-if-absent": _set_if_absent,
    "compare-and-set": _compare_and_set,
    "compare-and-delete": _compare_and_delete,
    "set-all": _set_all,
    "get-all": _get_all,
}
