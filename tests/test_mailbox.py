"""What a source's thread and the loop see of the mailbox between them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.sources.mailbox import Ended, Mailbox, take_ready

DEADLINE_S = 5.0


def test_newest_item_wins_and_the_lost_one_is_counted() -> None:
    mailbox = Mailbox[int]()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(0) == 3
    assert mailbox.dropped == 2


@given(st.integers(1, 4), st.lists(st.sampled_from(["put", "take"]), max_size=20), st.booleans())
def test_mailbox_holds_the_newest_items_in_their_order(
    room: int, doings: list[str], ends: bool
) -> None:
    mailbox, held, lost = Mailbox[int](room), list[int](), 0
    for number, doing in enumerate(doings):
        if doing == "put":
            assert mailbox.put(number) is True
            held.append(number)
            lost += len(held) > room
            held = held[-room:]
        else:
            assert mailbox.take(0) == (held.pop(0) if held else None)
    if ends:
        mailbox.end()
    assert [mailbox.take(0) for _ in held] == held
    assert mailbox.dropped == lost


def test_empty_mailbox_gives_none_after_the_timeout() -> None:
    assert Mailbox[int]().take(0.001) is None


def test_item_before_the_end_can_still_be_taken() -> None:
    mailbox = Mailbox[int]()
    mailbox.put(1)
    mailbox.end()
    assert mailbox.take(0) == 1
    with pytest.raises(Ended):
        mailbox.take(0)


def test_item_after_the_end_is_refused() -> None:
    mailbox = Mailbox[int]()
    mailbox.end()
    assert mailbox.put(1) is False
    with pytest.raises(Ended):
        mailbox.take(0)


def test_waiting_mailbox_loses_nothing_between_threads() -> None:
    mailbox = Mailbox[int](room=2, wait=True)

    def write() -> None:
        for item in range(500):
            mailbox.put(item)
        mailbox.end()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    taken = [mailbox.take(DEADLINE_S) for _ in range(500)]
    with pytest.raises(Ended):
        mailbox.take(DEADLINE_S)
    writer.join(DEADLINE_S)
    assert taken == list(range(500))
    assert mailbox.dropped == 0


def test_end_wakes_a_source_that_waits_for_room() -> None:
    mailbox = Mailbox[int](wait=True)
    mailbox.put(1)
    answers: list[bool] = []
    writer = threading.Thread(target=lambda: answers.append(mailbox.put(2)), daemon=True)
    writer.start()
    mailbox.end()
    writer.join(DEADLINE_S)
    assert answers == [False]


def test_end_wakes_a_loop_that_waits_for_an_item() -> None:
    mailbox = Mailbox[int]()
    ended = threading.Event()

    def take() -> None:
        with pytest.raises(Ended):
            mailbox.take(60)
        ended.set()

    threading.Thread(target=take, daemon=True).start()
    mailbox.end()
    assert ended.wait(DEADLINE_S)


def test_item_wakes_a_loop_that_waits_for_it() -> None:
    mailbox, taken = Mailbox[int](), list[int | None]()
    loop = threading.Thread(target=lambda: taken.append(mailbox.take(60)), daemon=True)
    loop.start()
    mailbox.put(1)
    loop.join(DEADLINE_S)
    assert taken == [1]


def boxes_of(*items: int | None) -> list[Mailbox[int]]:
    """Boxes that are emptied together, each with its item or with none."""
    changed = threading.Condition()
    boxes = [Mailbox[int](changed=changed) for _ in items]
    for box, item in zip(boxes, items, strict=True):
        if item is not None:
            box.put(item)
    return boxes


def test_what_is_ready_in_any_box_is_taken_from_each_at_once() -> None:
    boxes = boxes_of(1, None, 3)
    assert take_ready(boxes, 60) == [1, 3]
    assert take_ready(boxes, 0) == []
    assert take_ready(boxes_of(7), 60) == [7]


def test_box_that_ended_does_not_end_the_others() -> None:
    boxes = boxes_of(1, None)
    boxes[0].end()
    assert take_ready(boxes, 60) == [1]
    assert take_ready(boxes, 0) == []
    boxes[1].put(2)
    boxes[1].end()
    assert take_ready(boxes, 60) == [2]
    with pytest.raises(Ended):
        take_ready(boxes, 60)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("other_ended", [True, False])
def test_loop_that_waits_for_several_boxes_is_woken_by_one(last: bool, other_ended: bool) -> None:
    boxes, taken = boxes_of(None, None), list[list[int]]()
    if other_ended:
        boxes[not last].end()
    loop = threading.Thread(target=lambda: taken.append(take_ready(boxes, 60)), daemon=True)
    loop.start()
    boxes[last].put(1)
    loop.join(DEADLINE_S)
    assert taken == [[1]]


def test_boxes_that_do_not_share_their_condition_are_a_defect() -> None:
    with pytest.raises(AssertionError, match="share one condition"):
        take_ready([Mailbox[int](), Mailbox[int]()], 0)
