"""POST /inference/v1/generate: what the engine writes over HTTP is, bit for bit, what it writes here."""

import json
import threading

import pytest

from ouvert import Sampling, load
from ouvert.engine import Grammar
from ouvert.serving import ENGINE_ENDPOINTS

PROMPT = [104, 101, 108, 108, 111]
SAMPLED = {"temperature": 1.0, "seed": 5, "max_tokens": 24, "ignore_eos": True}
SAMPLED_HERE = {name: value for name, value in SAMPLED.items() if name != "ignore_eos"}


@pytest.fixture(scope="module")
def member(start_server, tiny_gpt_oss):
    """Nothing but the engine of a model of random weights."""
    return start_server(models=(str(tiny_gpt_oss),), only_these=True, endpoints=ENGINE_ENDPOINTS)


@pytest.fixture(scope="module")
def model(tiny_gpt_oss):
    """The same model in this process."""
    with load(tiny_gpt_oss, receipts=False, prefixes=False, threads=1) as model:
        yield model


def asked(params, **more):
    return {"token_ids": PROMPT, "sampling_params": params, **more}


def post(member, body, path="/inference/v1/generate"):
    with member.client() as client:
        return client.post(path, json=body)


def events(member, body):
    """The events of a stream; its last line says that it is over."""
    with (
        member.client() as client,
        client.stream("POST", "/inference/v1/generate", json=body | {"stream": True}) as got,
    ):
        assert got.status_code == 200, got.read()
        data = [line.removeprefix("data: ") for line in got.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(each) for each in data]


def tokens_in(events):
    return [token for event in events for choice in event["choices"] for token in choice["token_ids"]]


def here(model, **sampling):
    generation = model.engine.generate(PROMPT, Sampling(**sampling))
    return list(generation), generation.stopped


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0, "max_tokens": 8},
        SAMPLED,
        {**SAMPLED, "top_k": 9, "top_p": 0.8, "min_p": 0.01},
        {**SAMPLED, "repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": -0.3},
        {**SAMPLED, "logit_bias": {"7": 50.0, "8": 49.5}},
        {**SAMPLED, "logprobs": 0},
        {**SAMPLED, "logprobs": 4},
    ],
)
def test_the_tokens_are_those_that_are_written_here(member, model, params):
    ours = {name: value for name, value in params.items() if name != "ignore_eos"}
    if "logit_bias" in ours:
        ours["logit_bias"] = {int(token): bias for token, bias in ours["logit_bias"].items()}
    tokens, stopped = here(model, **ours)
    body = asked(params | {"ignore_eos": True}, request_id="mine")
    whole = post(member, body).json()
    assert (whole["request_id"], whole["output_mode"]) == ("mine", "tokens")
    [choice] = whole["choices"]
    assert choice["token_ids"] == [token.id for token in tokens]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", None)
    assert whole["usage"]["completion_tokens"] == len(tokens) == stopped.output_tokens
    streamed = events(member, body)
    assert tokens_in(streamed) == choice["token_ids"]
    assert streamed[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert [each["choices"][0]["finish_reason"] for each in streamed if each["choices"]][-1] == "length"
    if params.get("logprobs") is not None:
        stated = [each["choices"][0]["logprobs"]["content"][0] for each in streamed if tokens_in([each])]
        assert stated == choice["logprobs"]["content"]
        for token, content in zip(tokens, stated, strict=True):
            assert (content["token_id"], content["logprob"]) == (token.id, token.logprob)
            first, *others = [(each["token_id"], each["logprob"]) for each in content["top_logprobs"]]
            assert first == (token.id, token.logprob)
            assert others == [each for each in token.top if each[0] != token.id]


def test_an_answer_ends_at_the_ids_that_were_named_and_at_the_models_own(member, model):
    whole = [token.id for token in here(model, **SAMPLED_HERE)[0]]
    [stopped] = post(member, asked(SAMPLED | {"stop_token_ids": [whole[6]]})).json()["choices"]
    at = whole.index(whole[6])
    assert stopped["token_ids"] == whole[: at + 1]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", whole[6])
    end = min(model.tokenizer.end_ids)
    forced = {"temperature": 0, "max_tokens": 4, "logit_bias": {str(end): 1e6}}
    [own] = post(member, asked(forced)).json()["choices"]
    assert (own["token_ids"], own["finish_reason"], own["stop_reason"]) == ([end], "stop", None)
    [goes_on] = post(member, asked(forced | {"ignore_eos": True})).json()["choices"]
    assert goes_on["token_ids"] == [end] * 4


def test_an_answer_that_began_elsewhere_goes_on(member, model):
    tokens, _ = here(model, **SAMPLED_HERE, logprobs=1)
    ids = [token.id for token in tokens]
    for cut in (1, 11, 23, 24):
        rest = events(member, asked(SAMPLED, ouvert={"written": ids[:cut]}))
        assert tokens_in(rest) == ids[cut:]
        assert rest[-1]["usage"]["completion_tokens"] == 24
        assert rest[-1]["ouvert"]["stopped"]["reason"] == "length"


def test_forms_are_kept_in_vllms_words_and_in_ours(member, model):
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 22]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    for stated, source in (
        ({"json": schema}, Grammar.json_schema(schema)),
        ({"json": json.dumps(schema)}, Grammar.json_schema(schema)),
        ({"regex": "(ab|cd){3}"}, Grammar.regex("(ab|cd){3}")),
        ({"choice": ["yes", "no"]}, Grammar.one_of(["yes", "no"])),
        ({"grammar": 'start: "x" "y"+ "z"'}, Grammar.lark('start: "x" "y"+ "z"')),
    ):
        held = [token.id for token in here(model, **SAMPLED_HERE, constraint=model.constraint(source))[0]]
        theirs = post(member, asked({**SAMPLED, "structured_outputs": stated})).json()["choices"][0]["token_ids"]
        ours = post(member, asked(SAMPLED, ouvert={"constraint": source.source})).json()["choices"][0]["token_ids"]
        assert theirs == ours == held


def test_scores_of_a_prompt_are_those_of_the_engine(member, model):
    answer = post(member, asked({"max_tokens": 1, "temperature": 0, "prompt_logprobs": 2})).json()
    none, *stated = answer["prompt_logprobs"]
    assert none is None
    for token, entry in zip(model.engine.score(PROMPT, 2), stated, strict=True):
        assert {int(id_): each["logprob"] for id_, each in entry.items()} == dict(
            ((token.id, token.logprob), *token.top)
        )


def test_how_far_a_prompt_is_read_is_said_where_it_is_asked_for(member):
    first = events(member, asked(SAMPLED, ouvert={"reading": True}))[0]
    assert first["ouvert"]["reading"]["total"] == len(PROMPT)
    assert "reading" not in json.dumps(events(member, asked(SAMPLED)))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"token_ids": [], "sampling_params": {}}, "token_ids"),
        ({"token_ids": [-1], "sampling_params": {}}, "token_ids"),
        ({"token_ids": [10**6], "sampling_params": {}}, "token 1000000 is not in the vocabulary"),
        ({"token_ids": [1] * 5000, "sampling_params": {}}, "5000 tokens"),
        ({"token_ids": PROMPT}, "sampling_params"),
        (asked({"n": 2}), "n is not supported"),
        (asked({"stop": ["a"]}), "stop is not supported"),
        (asked({"temperature": -1}), "temperature"),
        (asked({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "states 2 forms"),
        (asked({"structured_outputs": {"regex": "("}}), "compiling a constraint"),
        (asked({}, output_mode="text"), "output_mode"),
        (asked({}, features={"mm_hashes": {}}), "features"),
        (asked({"temperature": 1}, ouvert={"written": [3]}), "seed is None"),
        (asked({}, ouvert={"constraint": {"outline": {}}}), "segments"),
        (asked({"prompt_logprobs": 1}, stream=True), "not streamed"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(member, body, named):
    answer = post(member, body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


def test_an_answer_is_aborted_by_the_id_of_its_request(member):
    """The answer would fill the context; the first token says that it has begun."""
    endless = asked({"temperature": 1.0, "seed": 1, "ignore_eos": True}, request_id="long", stream=True)
    with member.client() as client, client.stream("POST", "/inference/v1/generate", json=endless) as got:
        lines = (json.loads(line[6:]) for line in got.iter_lines() if line.startswith("data: {"))
        assert next(lines)["choices"][0]["token_ids"]
        assert post(member, {"request_ids": ["another"]}, "/inference/v1/abort_requests").status_code == 200
        assert post(member, {"request_ids": ["long"]}, "/inference/v1/abort_requests").status_code == 200
        reasons = [choice["finish_reason"] for event in lines for choice in event["choices"]]
    assert reasons[-1] == "abort"
    member.idle()


def test_an_answer_whose_reader_goes_away_ends(member):
    endless = asked({"temperature": 1.0, "seed": 1, "ignore_eos": True}, stream=True)
    with member.client() as client, client.stream("POST", "/inference/v1/generate", json=endless) as got:
        next(got.iter_lines())
    member.idle()


def test_each_salt_has_its_own_kept_prefixes_until_they_are_forgotten(member):
    long = {"token_ids": [*range(97, 110)] * 10, "sampling_params": {"temperature": 0, "max_tokens": 1}}

    def reused(salt):
        usage = post(member, long | ({} if salt is None else {"cache_salt": salt})).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert reused("one") == 0
    assert reused("one") > 0
    assert reused("two") == 0
    assert post(member, {"cache_salt": "one"}, "/inference/v1/forget").status_code == 200
    assert reused("one") == 0
    assert reused("two") > 0


def test_eight_at_once_are_what_each_is_alone(member, model):
    alone = {seed: [t.id for t in here(model, temperature=1.0, seed=seed, max_tokens=16)[0]] for seed in range(8)}
    together = {}

    def ask(seed):
        params = {"temperature": 1.0, "seed": seed, "max_tokens": 16, "ignore_eos": True}
        together[seed] = tokens_in(events(member, asked(params)))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_members_say_what_they_are(member, model):
    with member.client() as client:
        facts = client.get("/inference/v1/facts").json()
        assert client.get("/load").json() == {"server_load": 0}
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/v1/models").json()["data"][0]["max_model_len"] == model.engine.context
        assert client.post("/tokenize", json={"prompt": "hello"}).json()["tokens"] == model.tokenize("hello")
        assert client.post("/v1/chat/completions", json={}).status_code == 404
    identity = model.engine.facts.identity
    assert facts["identity"] == identity.facts()
    assert facts["identity_digest"] == identity.digest
    assert (facts["context"], facts["vocabulary_size"]) == (model.engine.context, model.engine.vocabulary_size)
    assert facts["tokenizer_digest"] == model.tokenizer.digest
    assert facts["load"]["running"] == 0
