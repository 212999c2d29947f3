"""What a source's thread and the loop see of the mailbox between them."""

import threading

import pytest

from aam_edge.sources.mailbox import Ended, Mailbox

DEADLINE_S = 5.0


def test_newest_item_wins_and_the_lost_one_is_counted() -> None:
    mailbox = Mailbox[int]()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(0) == 3
    assert mailbox.dropped == 2


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
