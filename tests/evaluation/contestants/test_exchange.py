"""What goes wrong between a question and its answer: what is asked again, what is refused, what ends the run."""

import threading
import time

import pytest

from ouvert.evaluation import EvaluationError
from ouvert.evaluation.contestants import exchange, pieces
from ouvert.evaluation.contestants.exchange import Patience
from ouvert.evaluation.contestants.local import open_local
from ouvert.store import as_toml

from .conftest import SHORT, Reply, chat, events, whole

ANSWERS = "/v1/chat/completions"
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def words(text):
    return {"choices": [{"delta": {"content": text}, "finish_reason": None}]}


GOOD = events(words("4"), END, b"[DONE]")


@pytest.fixture
def contestant(stub):
    stub.says("/v1/models", whole({"data": [{"id": "m"}]}))
    stub.says(ANSWERS, GOOD)
    made = open_local(f"openai:{stub.base}/m", key="sk-secret", patience=SHORT)
    yield made
    made.close()


def error(status, said="it says no", **headers):
    return whole({"error": {"message": said}}, status, **headers)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_server_that_is_busy_or_fails_once_is_asked_again(stub, contestant, status):
    stub.says(ANSWERS, error(status), GOOD)
    answered = contestant.ask(chat(), 0, 0)
    assert answered.outcome.text == "4"
    assert answered.receipt["attempts"] == 2


def test_a_connection_that_is_cut_in_the_middle_is_asked_again_and_nothing_is_kept_of_it(stub, contestant):
    cut = events(words("half an ans"))
    cut.cut = True
    stub.says(ANSWERS, cut, GOOD)
    assert contestant.ask(chat(), 0, 0).outcome.text == "4"


def test_an_answer_without_an_end_is_asked_again(stub, contestant):
    stub.says(ANSWERS, events(words("half")), GOOD)
    assert contestant.ask(chat(), 0, 0).outcome.text == "4"


def test_a_page_in_the_place_of_an_answer_is_said_at_once(stub, contestant):
    page = Reply([b"<!doctype html><title>Welcome</title>"], headers={"content-type": "text/html; charset=utf-8"})
    stub.says(ANSWERS, page, GOOD)
    with pytest.raises(EvaluationError, match=r"a web page\. Is this a server that speaks openai"):
        contestant.ask(chat(), 0, 0)


def test_retry_after_is_honoured(stub, contestant, monkeypatch):
    waited = []
    monkeypatch.setattr(exchange.Exchange, "_pause", lambda self, attempt, problem: waited.append(problem.after) or 0)
    stub.says(ANSWERS, error(429, retry_after="7"), error(429), GOOD)
    contestant.ask(chat(), 0, 0)
    assert waited == [7.0, None]


def test_waiting_grows_and_has_a_bound():
    patient = exchange.Exchange(None, "who", secret=None, patience=Patience(first=1.0, most=60.0))
    pauses = [patient._pause(attempt, exchange.BusyError("")) for attempt in range(1, 12)]
    assert 1 <= pauses[0] <= 1.25
    assert 4 <= pauses[2] <= 5
    assert pauses[-1] == 60
    assert patient._pause(1, exchange.BusyError("", after=1e9)) == 60


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_ends_the_run_which_can_be_resumed(stub, contestant, status):
    stub.says(ANSWERS, error(status))
    with pytest.raises(EvaluationError, match=r"asked 3 times: .*it says no.*resume"):
        contestant.ask(chat(), 0, 0)
    assert len(stub.bodies(ANSWERS)) == 3


def test_a_server_that_died_ends_the_run_which_can_be_resumed(stub, contestant):
    stub.close()
    with pytest.raises(EvaluationError, match=r"resume` goes on at this question"):
        contestant.ask(chat(), 0, 0)


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_question_that_a_server_cannot_be_asked_is_refused_in_its_words(stub, contestant, status):
    stub.says(ANSWERS, error(status, "the prompt is too long"))
    answered = contestant.ask(chat(), 0, 0)
    assert "the prompt is too long" in answered.outcome.refused
    assert answered.outcome.text == ""


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_ends_the_run_and_is_not_shown(stub, contestant, status):
    stub.says(ANSWERS, error(status, "bad key: sk-secret"))
    with pytest.raises(EvaluationError, match=r"\(the key\)") as raised:
        contestant.ask(chat(), 0, 0)
    assert "sk-secret" not in str(raised.value)
    assert len(stub.bodies(ANSWERS)) == 1


def test_a_server_that_repeats_the_key_in_a_refusal_does_not_bring_it_into_the_evidence(stub, contestant):
    stub.says(ANSWERS, error(400, "you sent sk-secret"))
    assert "sk-secret" not in repr(contestant.ask(chat(), 0, 0))


def test_an_account_without_money_is_not_asked_again(stub, contestant):
    stub.says(ANSWERS, whole({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, 429))
    with pytest.raises(EvaluationError, match="account"):
        contestant.ask(chat(), 0, 0)
    assert len(stub.bodies(ANSWERS)) == 1


def test_redirects_are_not_followed(stub, contestant):
    stub.says("/elsewhere", GOOD)
    stub.says(ANSWERS, Reply([b""], 307, {"location": f"{stub.base}/elsewhere"}))
    with pytest.raises(EvaluationError, match="Redirects are not followed"):
        contestant.ask(chat(), 0, 0)
    assert not stub.bodies("/elsewhere")


def test_the_systems_proxies_are_not_asked(stub, contestant, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert contestant.ask(chat(), 0, 0).outcome.text == "4"


@pytest.mark.parametrize(
    "data",
    [b"{not JSON", b"[1]", b'"text"', b'{"choices": 7}', b'{"choices": [{"delta": {"content": 7}}]}', b'{"other": 1}',
     b"[" * 5000, b"\xff\xfe", b'{"choices": [{"delta": "x"}]}', b'{"choices": [{"delta": {"tool_calls": [3]}}]}',
     b'{"choices": [{"delta": {}, "finish_reason": {}}]}', b'{"choices": [], "usage": [1]}'],
)  # fmt: skip
def test_what_is_no_answer_ends_the_run_in_a_sentence(stub, contestant, data):
    stub.says(ANSWERS, events(data, END))
    with pytest.raises(EvaluationError, match=r"cannot be read: .*Is this a server that speaks openai"):
        contestant.ask(chat(), 0, 0)


def test_an_error_in_the_middle_of_an_answer_is_no_answer(stub, contestant):
    stub.says(ANSWERS, events(words("par"), {"error": {"message": "out of memory", "code": 500}}))
    outcome = contestant.ask(chat(), 0, 0).outcome
    assert (outcome.text, outcome.refused) == ("", "out of memory")


def test_an_answer_that_does_not_end_is_given_up(stub, contestant, monkeypatch):
    monkeypatch.setattr(pieces, "MOST_TEXT", 1000)
    stub.says(ANSWERS, events(*[words("x" * 100)] * 11, END))
    with pytest.raises(EvaluationError, match="more than 1000 characters"):
        contestant.ask(chat(), 0, 0)


def test_an_answer_that_takes_too_long_is_given_up(stub):
    stub.says("/v1/models", whole({"data": [{"id": "m"}]}))
    hanging = threading.Event()
    stub.says(ANSWERS, Reply([b"data: "], wait=hanging))
    slow = open_local(f"openai:{stub.base}/m", patience=Patience(attempts=1, answer=0.05))
    with pytest.raises(EvaluationError, match=r"was not over after 0 s"):
        slow.ask(chat(), 0, 0)
    hanging.set()


def test_closing_a_contestant_ends_its_waiting(stub):
    stub.says("/v1/models", whole({"data": [{"id": "m"}]}))
    stub.says(ANSWERS, error(429, retry_after="600"))
    waiting = open_local(f"openai:{stub.base}/m", patience=Patience(most=600.0))
    raised = []

    def ask():
        try:
            waiting.ask(chat(), 0, 0)
        except EvaluationError as problem:
            raised.append(str(problem))

    thread = threading.Thread(target=ask)
    thread.start()
    until = time.monotonic() + 10
    while not stub.bodies(ANSWERS) and time.monotonic() < until:
        time.sleep(0.005)
    waiting.close()
    waiting.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "given up while it waited" in raised[0]


def test_several_threads_get_their_own_answers(stub, contestant):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(contestant.ask(chat(), 0, 0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [each.outcome.text for each in answers] == ["4"] * 8


# --- hostile ---


def test_half_a_character_in_each_of_two_pieces_is_one_and_one_alone_is_replaced(stub, contestant):
    stub.says(ANSWERS, events(words("\ud83d"), words("\ude00 and \ud800."), END))
    text = contestant.ask(chat(), 0, 0).outcome.text
    assert text == "\U0001f600 and \ufffd."


def test_what_a_server_says_of_itself_is_short_plain_and_of_one_line(stub):
    hostile = {"id": "m", "owned_by": "a\nb\x1b[31m" + "x" * 10_000, "root": {"deep": [1e999, None, "\ud800"]},
               "max_model_len": 10**400, "meta": {"n_params": [], "size": {"a": None}}}  # fmt: skip
    stub.says("/v1/models", whole({"data": [hostile, "no model", None]}))
    facts = open_local(f"openai:{stub.base}/m", patience=SHORT).facts
    said = facts.identity["said"]["owned_by"]
    assert said.startswith("a b [31m")
    assert len(said) == 200
    as_toml({"about": dict(facts.about), "identity": dict(facts.identity)}).encode()


@pytest.mark.parametrize(
    "listed", [None, [], {}, {"data": None}, {"data": 7}, {"data": [[]]}, {"data": [{"id": 7}]}, "text", {"data": {}}]
)
def test_a_list_of_models_that_is_none_is_an_error_and_no_crash(stub, listed):
    stub.says("/v1/models", whole(listed))
    stub.says("/api/tags", whole(listed))
    for dialect in ("openai", "ollama"):
        with pytest.raises(EvaluationError, match="it lists none"):
            open_local(f"{dialect}:{stub.base}/m", patience=SHORT)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"text_offset": [0, 4, 8], "token_logprobs": [None, float("nan"), -1.0]},
        {"text_offset": [0, 4, 8], "token_logprobs": [None, 2.0, -1.0]},
        {"text_offset": [0, 4, 8], "token_logprobs": [None, "x", -1.0]},
        {"text_offset": [8, 4, 0], "token_logprobs": [None, -1.0, -1.0]},
        {"text_offset": [0, 4, 99], "token_logprobs": [None, -1.0, -1.0]},
        {"text_offset": [5, 9, 13], "token_logprobs": [None, -1.0, -1.0]},
        {"text_offset": [0, 4], "token_logprobs": [None, -1.0, -1.0]},
    ],
)
def test_a_reading_that_does_not_fit_its_text_is_no_reading(stub, logprobs):
    stub.says("/v1/models", whole({"data": [{"id": "m"}]}))
    stub.says("/v1/completions", whole({"choices": [{"logprobs": logprobs}]}))
    assert open_local(f"openai:{stub.base}/m", patience=SHORT).facts.asks == {"chat"}
