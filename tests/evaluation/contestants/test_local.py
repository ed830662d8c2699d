"""Other servers of this machine: how they are named, what they say of themselves, what they are asked."""

import json

import pytest

from ouvert import TextDelta, load
from ouvert.evaluation import EvaluationError, Likelihood, Text
from ouvert.evaluation.contestants.local import open_local

from .conftest import AFTER_A_CALL, SHORT, WEATHER, chat, events, item_of, lines, whole

TAGS = {"models": [{"name": "tiny:latest", "model": "tiny:latest", "digest": "ab12", "size": 98}]}
SHOW = {
    "license": "Apache-2.0\nand so on",
    "template": "{{ .Prompt }}",
    "details": {"parameter_size": "135M", "quantization_level": "Q4_1"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 2048},
    "capabilities": ["completion", "tools"],
}
DONE = {"model": "tiny", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
        "prompt_eval_count": 26, "eval_count": 4}  # fmt: skip


def says(text, **more):
    return {"model": "tiny", "message": {"role": "assistant", "content": text, **more}, "done": False}


@pytest.fixture
def ollama(stub):
    """A stub that describes itself as Ollama does, with one model, and answers "4."."""
    stub.says("/api/tags", whole(TAGS))
    stub.says("/api/show", whole(SHOW))
    stub.says("/api/version", whole({"version": "0.12.11"}))
    stub.says("/api/chat", lines(says("4"), says("."), DONE))
    return stub


def opened(stub, dialect="ollama", model="tiny", **settings):
    return open_local(f"{dialect}:{stub.base}/{model}", patience=SHORT, **settings)


# --- Ollama ---


def test_ollama_is_known_by_what_it_says_of_itself(ollama):
    facts = opened(ollama).facts
    assert facts.where == "local"
    assert facts.host == f"127.0.0.1:{ollama.port}"
    assert facts.asks == {"chat"}
    assert not facts.replays
    assert facts.identity["said"].keys() == {"digest", "version", "template"}
    assert facts.identity["said"]["digest"] == "ab12"
    assert facts.about == {"licence": "Apache-2.0", "parameters": "135M", "precision": "Q4_1", "bytes": 98,
                           "context": 2048}  # fmt: skip


def test_another_digest_there_is_another_contestant(ollama):
    before = opened(ollama).facts.digest
    assert opened(ollama).facts.digest == before
    ollama.says("/api/tags", whole({"models": [TAGS["models"][0] | {"digest": "cd34"}]}))
    assert opened(ollama).facts.digest != before


def test_ollama_answers_with_text_thoughts_counts_and_times(ollama):
    ollama.says("/api/chat", lines(says("", thinking="Two and two"), says("4"), DONE))
    answered = opened(ollama).ask(chat(), 0, 7)
    assert answered.outcome.text == "4"
    assert answered.outcome.thoughts == "Two and two"
    assert answered.outcome.reason == "stop"
    assert (answered.cost.prompt_tokens, answered.cost.output_tokens) == (26, 4)
    assert 0 < answered.cost.first <= answered.cost.visible <= answered.cost.whole
    assert answered.receipt["server"] == f"127.0.0.1:{ollama.port}"


def test_ollama_is_told_not_to_cut_a_prompt(ollama):
    opened(ollama).ask(chat(), 0, 7)
    (body,) = ollama.bodies("/api/chat")
    assert body["truncate"] is False
    assert body["shift"] is False
    assert body["options"] == {"num_predict": 16, "temperature": 0.0, "seed": 7, "num_ctx": 2048}


def test_ollama_takes_tools_results_and_a_schema_in_its_own_shape(ollama):
    call = {"function": {"name": "get_weather", "arguments": {"town": "Lyon"}}}
    ollama.says("/api/chat", lines(says("", tool_calls=[call, call]), DONE))
    answered = opened(ollama).ask(chat(messages=AFTER_A_CALL, tools=(WEATHER,), schema={"type": "object"}), 0, 0)
    (body,) = ollama.bodies("/api/chat")
    assert body["tools"] == [WEATHER]
    assert body["format"] == {"type": "object"}
    assert body["messages"][2]["tool_calls"][1] == {"function": {"name": "get_weather", "arguments": {"town": "Nice"}}}
    assert body["messages"][3] == {"role": "tool", "content": "rain", "tool_name": "get_weather"}
    assert [(each.name, json.loads(each.arguments)) for each in answered.outcome.calls] == [
        ("get_weather", {"town": "Lyon"})
    ] * 2
    assert answered.outcome.reason == "tool_calls"


def test_a_choice_of_tools_that_ollama_has_no_word_for_is_refused(ollama):
    answered = opened(ollama).ask(chat(tools=(WEATHER,), tool_choice="required"), 0, 0)
    assert "required" in answered.outcome.refused
    assert not ollama.bodies("/api/chat")


def test_a_model_that_thinks_has_room_for_it(ollama):
    ollama.says("/api/show", whole(SHOW | {"capabilities": ["completion", "thinking"]}))
    opened(ollama, model="tiny:low").ask(chat(), 0, 0)
    (body,) = ollama.bodies("/api/chat")
    assert body["think"] == "low"
    assert body["options"]["num_predict"] == 16 + 1024


def test_an_effort_of_a_model_that_does_not_think_is_refused(ollama):
    with pytest.raises(EvaluationError, match="does not think"):
        opened(ollama, model="tiny:high")


@pytest.mark.parametrize("field", ["remote_host", "remote_model"])
@pytest.mark.parametrize("where", ["listed", "shown"])
def test_a_model_that_ollama_computes_elsewhere_is_no_local_contestant(ollama, field, where):
    if where == "listed":
        ollama.says("/api/tags", whole({"models": [TAGS["models"][0] | {field: "https://ollama.com:443"}]}))
    else:
        ollama.says("/api/show", whole(SHOW | {field: "https://ollama.com:443"}))
    with pytest.raises(EvaluationError, match="would leave this machine"):
        opened(ollama)
    assert not ollama.bodies("/api/chat")


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are(ollama):
    with pytest.raises(EvaluationError, match=r"no model 'other'.*tiny:latest"):
        opened(ollama, model="other")


# --- OpenAI's dialect ---


@pytest.fixture
def llama_cpp(stub):
    """A stub that describes itself as llama.cpp's server does."""
    meta = {"n_params": 134515008, "size": 98000000, "n_ctx_train": 2048}
    stub.says(
        "/v1/models",
        whole({"object": "list", "data": [{"id": "/home/me/smol.gguf", "owned_by": "llamacpp", "meta": meta}]}),
    )
    stub.says("/props", whole({"build_info": "b10172", "model_path": "/home/me/smol.gguf", "chat_template": "{{ x }}"}))
    stub.says("/v1/completions", whole({"error": {"code": 500, "message": "Only no echo is supported"}}, 500))
    delta = {"choices": [{"index": 0, "delta": {"reasoning_content": "Two."}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "system_fingerprint": "b10172"}
    last["model"] = "/home/me/smol.gguf"
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    words = {"choices": [{"index": 0, "delta": {"content": "4"}}]}
    stub.says("/v1/chat/completions", events(delta, words, last, usage, b"[DONE]"))
    return stub


def test_llama_cpp_is_known_by_its_build_file_and_template_and_by_no_folder(llama_cpp):
    contestant = opened(llama_cpp, "openai", "smol.gguf")
    facts = contestant.facts
    assert contestant.ask(chat(), 0, 0).receipt["said"] == {"model": "smol.gguf", "system_fingerprint": "b10172"}
    assert llama_cpp.bodies("/v1/chat/completions")[0]["model"] == "/home/me/smol.gguf"
    assert facts.name == "smol.gguf"
    assert facts.identity["said"]["build"] == "b10172"
    assert facts.identity["said"]["file"] == "smol.gguf"
    assert "/home/me" not in repr(facts)
    assert facts.about == {"parameters": 134515008, "bytes": 98000000, "context": 2048}


def test_a_server_that_cannot_echo_is_asked_chats_alone_and_says_so(llama_cpp):
    contestant = opened(llama_cpp, "openai", "")
    assert contestant.facts.asks == {"chat"}
    answered = contestant.ask(item_of(Text(text="Hello there")), 0, 0)
    assert "cannot be asked for a text" in answered.outcome.refused
    assert answered.outcome.logprobs == ()


def test_thoughts_words_and_counts_are_told_apart(llama_cpp):
    answered = opened(llama_cpp, "openai", "").ask(chat(), 0, 3)
    assert (answered.outcome.thoughts, answered.outcome.text) == ("Two.", "4")
    assert (answered.cost.prompt_tokens, answered.cost.output_tokens) == (9, 3)
    (body,) = llama_cpp.bodies("/v1/chat/completions")
    assert body["max_tokens"] == 16
    assert body["temperature"] == 0
    assert body["seed"] == 3
    assert "store" not in body


def test_a_call_in_pieces_is_put_together(llama_cpp):
    def call(**function):
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    llama_cpp.says(
        "/v1/chat/completions",
        events(call(name="get_weather", arguments=""), call(arguments='{"town"'), call(arguments=': "Lyon"}'), end),
    )
    outcome = opened(llama_cpp, "openai", "").ask(chat(tools=(WEATHER,), tool_choice="get_weather"), 0, 0).outcome
    assert [(each.name, each.arguments) for each in outcome.calls] == [("get_weather", '{"town": "Lyon"}')]
    (body,) = llama_cpp.bodies("/v1/chat/completions")
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


def test_a_key_is_sent_and_stands_in_no_fact(llama_cpp):
    contestant = opened(llama_cpp, "openai", "", key="sk-very-secret")
    answered = contestant.ask(chat(), 0, 0)
    assert all(each.headers["authorization"] == "Bearer sk-very-secret" for each in llama_cpp.asked)
    assert "sk-very-secret" not in repr(contestant.facts) + repr(answered)


# --- names ---


@pytest.mark.parametrize(
    "name", ["openai:http://192.168.1.7:8080/m", "ollama:http://example.org/m", "openai:gpt-5", "anthropic:claude-x"]
)
def test_another_machine_is_no_local_contestant(name, monkeypatch):
    def nobody(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", nobody)
    monkeypatch.setattr("socket.getaddrinfo", nobody)
    with pytest.raises(EvaluationError, match="opening the contestant"):
        open_local(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tiny",
        "openai:",
        "ollama:tiny",
        "http://127.0.0.1:1/m",
        "openai:http:///m",
        "openai:http://me:pw@127.0.0.1/m",
    ],
)
def test_what_names_no_server_is_refused_with_an_example(name):
    with pytest.raises(EvaluationError, match=r"127\.0\.0\.1|HOST:PORT"):
        open_local(name)


def test_a_server_that_is_not_there_is_an_error_that_says_where(stub):
    stub.close()
    with pytest.raises(EvaluationError, match=rf"127\.0\.0\.1:{stub.port}.*Start the server"):
        opened(stub)


# --- our own server, with a real model ---


@pytest.fixture(scope="module")
def serving_smollm2(start_server, smollm2, tmp_path_factory):
    return start_server(models=(str(smollm2),), state=tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def directly(smollm2):
    with load(str(smollm2), threads=1, receipts=False) as model:
        yield model


QUESTIONS = ["What is the capital of France?", "Écris une phrase sur la mer.", "Name three colours."]


@pytest.mark.parametrize("dialect", ["ollama", "openai"])
def test_a_model_asked_through_http_says_what_it_says_directly(serving_smollm2, directly, dialect):
    contestant = open_local(f"{dialect}:{serving_smollm2.base}/", patience=SHORT)
    for question in QUESTIONS:
        answered = contestant.ask(chat(question, max_tokens=24), 0, 0)
        events = directly.chat(question, max_tokens=24, temperature=0)
        assert answered.outcome.text == "".join(each.text for each in events if isinstance(each, TextDelta))
        assert answered.outcome.text
        assert answered.cost.output_tokens == 24 or answered.outcome.reason == "stop"


def test_a_text_and_choices_read_through_http_are_as_likely_as_directly(serving_smollm2, directly):
    contestant = open_local(f"openai:{serving_smollm2.base}/", patience=SHORT)
    assert contestant.facts.asks == {"chat", "likelihood", "text"}
    ids = directly.text_ids("Les chats noirs mangent.")
    answered = contestant.ask(item_of(Text(text="Les chats noirs mangent.")), 0, 0)
    assert answered.outcome.logprobs == pytest.approx([each.logprob for each in directly.score(ids)][-len(ids) + 1 :])
    choices = Likelihood(context="The capital of France is", choices=(" Paris.", " Berlin.", " cheese."))
    found = contestant.ask(item_of(choices), 0, 0).outcome.logprobs
    assert found[0] == max(found)
    assert min(found) < -5


def test_choices_within_a_word_stay_comparable(serving_smollm2):
    """ "chats " + "mangent" has the token " mangent", which begins before the choice does."""
    contestant = open_local(f"openai:{serving_smollm2.base}/", patience=SHORT)
    apart = contestant.ask(item_of(Likelihood(context="The cats", choices=(" are", " is"))), 0, 0).outcome
    across = contestant.ask(item_of(Likelihood(context="The cats ", choices=("are", "is"))), 0, 0).outcome
    assert across.logprobs == pytest.approx(apart.logprobs)
