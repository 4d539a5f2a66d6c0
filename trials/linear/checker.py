"""The search for one order of all operations that explains every answer.

After Wing and Gong, with the memory of Lowe: operations are put in order one by one. Next may come each that was called
before the first return of those that are still to be ordered, if the model gives its answer. Where none fits, the last
choice is taken back. What has been ordered, as a set, and the state that it led to are remembered: the same set with
the same state has no better future another time.

The time it takes grows with what clients do at once and nobody looks at: texts of equal length that are appended at
once, for instance, answer the same in every order, until somebody reads them. So a workload reads often.

An operation without an answer may come at any place after its call. Whether it took effect at all is not decided: at
the very end nobody sees it.
"""

from __future__ import annotations

from collections.abc import Iterable

from trials.linear.history import FOREVER, UNKNOWN, Operation, apart
from trials.linear.model import STEPS, State

_Frozen = frozenset[tuple[str, str]]


def objection(operations: Iterable[Operation]) -> str:
    """Empty: there is such an order. Else where it ends: what cannot be explained after the longest order there is."""
    for part in apart(list(operations)):
        if found := _objection(sorted(part, key=lambda operation: operation.called_at)):
            return found
    return ""


def _objection(operations: list[Operation]) -> str:
    needed = sum(1 << index for index, operation in enumerate(operations) if operation.returned_at < FOREVER)
    seen: set[tuple[int, _Frozen]] = set()
    state: State = {}
    done, order = 0, []
    longest: list[int] = []
    trail: list[tuple[int, State, list[int]]] = []
    choices = _next(operations, done)
    while needed & ~done:
        if not choices:
            if not trail:
                return _words(operations, longest)
            done, state, choices = trail.pop()
            order.pop()
            continue
        index = choices.pop()
        after, result = STEPS[operations[index].name](state, operations[index])
        if operations[index].result is not UNKNOWN and operations[index].result != result:
            continue
        known = (done | 1 << index, frozenset(after.items()))
        if known in seen:
            continue
        seen.add(known)
        trail.append((done, state, choices))
        order.append(index)
        done, state = known[0], after
        choices = _next(operations, done)
        if len(order) > len(longest):
            longest = list(order)
    return ""


def _next(operations: list[Operation], done: int) -> list[int]:
    """Who may come next; tried from the last: first those that return soonest, and at last those without an answer."""
    left = []
    first_return = FOREVER
    first_left = (~done & done + 1).bit_length() - 1
    for index in range(first_left, len(operations)):
        operation = operations[index]
        if operation.called_at > first_return:
            break  # and so are all that follow
        if not done >> index & 1:
            left.append(index)
            first_return = min(first_return, operation.returned_at)
    fitting = [index for index in left if operations[index].called_at <= first_return]
    return sorted(fitting, key=lambda index: operations[index].returned_at, reverse=True)


def _words(operations: list[Operation], longest: list[int]) -> str:
    state: State = {}
    for index in longest:
        state, _ = STEPS[operations[index].name](state, operations[index])
    done = sum(1 << index for index in longest)
    before = "".join(f"\n    {operations[index]}" for index in longest[-5:])
    then = "".join(f"\n    {operations[index]}" for index in reversed(_next(operations, done)))
    return f"after {len(longest)} operations, the last of them{before}\n  with {state}, none of these fits:{then}"
