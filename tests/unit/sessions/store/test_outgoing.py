"""What waits for a peer has an end, whoever brings it about."""

from __future__ import annotations

import asyncio

from haagent.sessions.store.outgoing import MOST_FRAMES, MOST_QUESTIONS, Outgoing


def test_frames_go_in_order_as_far_as_there_is_room() -> None:
    taken: list[bytes] = []
    outgoing = Outgoing(lambda frame: len(taken) < 2 and not taken.append(frame))  # type: ignore[func-returns-value]
    outgoing.put([b"1", b"2", b"3"])
    assert taken == [b"1", b"2"]
    taken.clear()
    outgoing.put([b"4"])
    assert taken == [b"3", b"4"]


def test_many_small_frames_are_too_much() -> None:
    outgoing = Outgoing(lambda frame: False)
    outgoing.put([b""] * MOST_FRAMES)
    assert not outgoing.is_too_much
    outgoing.put([b""])
    assert outgoing.is_too_much


def test_a_question_is_under_way_until_its_answer_has_gone_and_the_turn_is_over() -> None:
    async def story() -> None:
        has_room = True
        outgoing = Outgoing(lambda frame: has_room)
        for _ in range(3):
            for _ in range(MOST_QUESTIONS):
                outgoing.put([b"answer"])
                outgoing.answered()
            assert not outgoing.is_too_much
            await asyncio.sleep(0)
        has_room = False
        for _ in range(MOST_QUESTIONS):
            outgoing.put([b"answer"])
            outgoing.answered()
            await asyncio.sleep(0)
        assert not outgoing.is_too_much
        outgoing.answered()
        assert outgoing.is_too_much
        has_room = True
        outgoing.flush()
        await asyncio.sleep(0)
        assert not outgoing.is_too_much

    asyncio.run(story())
