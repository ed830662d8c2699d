"""What other threads ask of the engine's thread."""

import threading

import pytest

from ouvert.engine import EngineBusyError, EngineError, EngineFailedError
from ouvert.engine.mailbox import EngineClosedError, Mailbox


@pytest.fixture
def mailbox():
    """Its thread does the tasks it is given."""

    def work():
        while not made.closing:
            if not made.do_tasks():
                made.wait(None)
        made.do_tasks()

    made = Mailbox(work)
    yield made
    made.close()
    if made.thread is not None:
        made.thread.join(30)


@pytest.fixture
def unattended():
    """Nobody takes what is in it."""
    return Mailbox(lambda: None)


def test_a_call_is_done_by_the_thread_and_its_result_handed_back(mailbox):
    assert mailbox.thread is None
    assert mailbox.call(threading.current_thread) is mailbox.thread


def test_what_a_call_raises_is_raised_where_it_was_called_and_the_thread_goes_on(mailbox):
    def fail():
        raise EngineError("no room")

    with pytest.raises(EngineError, match="no room"):
        mailbox.call(fail)
    assert mailbox.call(lambda: 7) == 7


def test_what_was_posted_before_the_end_is_done_and_who_posts_after_it_is_told(mailbox):
    done = []
    assert mailbox.call(lambda: None) is None
    assert mailbox.post(lambda: done.append(1))
    assert mailbox.close()
    assert not mailbox.close()
    assert not mailbox.post(lambda: done.append(2))
    mailbox.thread.join(30)
    mailbox.do_tasks()
    assert done == [1, 2]


def test_too_many_are_refused_with_their_number(unattended):
    unattended.submit("a request", 1, 3)
    unattended.submit("a request", 1, 3)
    with pytest.raises(EngineBusyError, match="7 wait already, and this engine lets 3 wait"):
        unattended.submit("a request", 5, 3)  # 5 wait that were taken, and 2 that were not
    with pytest.raises(EngineBusyError):
        unattended.submit("a request", 1, 3)
    assert list(unattended.take_requests()) == ["a request"] * 2


def test_after_the_end_everything_is_refused(unattended):
    unattended.close()
    with pytest.raises(EngineClosedError, match="it was closed"):
        unattended.submit("a request", 0, 9)
    with pytest.raises(EngineClosedError):
        unattended.call(lambda: None)


def test_after_a_failure_everybody_is_told_what_it_was(unattended):
    told = unattended.fail(OSError("the disk is gone"))
    assert isinstance(told, EngineFailedError)
    with pytest.raises(EngineFailedError, match="OSError: the disk is gone"):
        unattended.call(lambda: None)


def test_a_task_that_raises_leaves_those_after_it_where_they_are(unattended):
    def fail():
        raise OSError("once")

    done = []
    unattended.post(fail)
    unattended.post(lambda: done.append(1))
    with pytest.raises(OSError, match="once"):
        unattended.do_tasks()
    assert unattended.do_tasks()
    assert done == [1]
