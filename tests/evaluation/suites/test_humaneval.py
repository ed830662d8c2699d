"""Programs that a model wrote do not run here."""

import pytest

from ouvert.evaluation import Chat, EvaluationError, Item, Outcome, open_suite


def test_humaneval_is_refused_with_the_reason_and_with_what_it_waits_for():
    with pytest.raises(EvaluationError, match=r"humaneval.*sandbox.*agents"):
        open_suite("humaneval").items("en", 1, 0)


def test_no_answer_to_it_counts_as_right():
    item = Item(suite="humaneval", id="0", language="en", ask=Chat(messages=(), max_tokens=1), expected={})
    score = open_suite("humaneval").score(item, Outcome(text="def f(): return 1"))
    assert (score.value, score.right, score.malformed) == (0.0, False, True)
