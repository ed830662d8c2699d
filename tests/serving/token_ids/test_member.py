"""Our engine behind HTTP, as a member of a pool: whatever it is asked for is, bit for bit, what it gives here."""

import json
from dataclasses import replace

import pytest

from ouvert import Sampling, Tool, load
from ouvert.assistant import ChatRequest, Demands, as_conversation
from ouvert.engine import EngineError, EngineUnreachableError, Grammar
from ouvert.engine.remote.connection import Address, Connection
from ouvert.engine.remote.member import MemberEngine
from ouvert.engine.remote.scoring import PIECE_TOKENS
from ouvert.serving import ENGINE_ENDPOINTS

PROMPT = [104, 101, 108, 108, 111]
SAMPLED = Sampling(temperature=1.0, seed=5, max_tokens=24)
TOOLS = (Tool(name="weather", parameters={"type": "object", "properties": {"days": {"type": "integer"}}}),)


@pytest.fixture(scope="module")
def server(start_server, tiny_gpt_oss):
    return start_server(models=(str(tiny_gpt_oss),), only_these=True, endpoints=ENGINE_ENDPOINTS)


@pytest.fixture
def member(server):
    engine = MemberEngine(Connection(Address.of(server.base)))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(tiny_gpt_oss):
    with load(tiny_gpt_oss, receipts=False, prefixes=False, threads=1) as model:
        yield model


def both(member, model, sampling, ids=PROMPT, **more):
    """The tokens of both, which are the same, and how both ended."""
    there, here = member.generate(ids, sampling, **more), model.engine.generate(ids, sampling, **more)
    tokens = list(there)
    assert tokens == list(here)
    assert (there.stopped.reason, there.stopped.seed) == (here.stopped.reason, here.stopped.seed)
    assert there.stopped.output_tokens == here.stopped.output_tokens
    assert there.stopped.prompt_tokens == here.stopped.prompt_tokens
    return tokens


@pytest.mark.parametrize(
    "sampling",
    [
        replace(SAMPLED, temperature=0.0),
        replace(SAMPLED, temperature=0.37, top_k=9, top_p=0.83, min_p=0.013, logprobs=3),
        replace(SAMPLED, repetition_penalty=1.3, presence_penalty=0.1, frequency_penalty=0.7, logprobs=0),
        replace(SAMPLED, logit_bias={65: 100.0}, repetition_guard=8, max_tokens=200),
        replace(SAMPLED, logit_bias={65: 8.0}, stop_ids=frozenset({65})),
        replace(SAMPLED, max_tokens=500),
    ],
)
def test_an_answer_is_the_one_that_is_written_here(member, model, sampling):
    tokens = both(member, model, sampling)
    ids = [token.id for token in tokens]
    for cut in {1, len(ids) // 2, len(ids)}:
        assert both(member, model, sampling, written=ids[:cut]) == tokens[cut:]


def test_it_is_held_to_forms_and_to_the_outline_of_a_chat_format(member, model):
    both(member, model, replace(SAMPLED, constraint=model.constraint(Grammar.regex("(ab|cd){2,5}"))))
    for demands in (Demands(calls="required"), Demands(think_budget=6)):
        request = ChatRequest(
            conversation=as_conversation("Well?", TOOLS),
            demands=demands,
            sampling={"temperature": 1.0, "seed": 3, "max_tokens": 120},
        )
        plan = model.assistant.plan(request)
        tokens = both(member, model, plan.sampling, plan.rendered.ids)
        if demands.think_budget is not None:
            assert plan.outcome.thinking_cut
        assert tokens


def test_what_it_is_and_what_a_text_scores(member, model):
    assert (member.context, member.vocabulary_size) == (model.engine.context, model.engine.vocabulary_size)
    assert member.facts.identity == model.engine.facts.identity
    assert member.score(PROMPT, 2) == model.engine.score(PROMPT, 2)
    assert member.score(PROMPT[:1]) == []
    texts = [[*PROMPT, *(range(n, n + 40))] for n in range(60, 110)]
    starts = [5 + n % 20 for n in range(50)]
    assert member.score_all(texts, 2, starts=starts) == model.engine.score_all(texts, 2, starts=starts)


def test_scores_over_http_are_cut_into_requests_and_refused_in_words(member, model, server):
    texts = [[*(range(n, n + 180))] for n in range(60)]
    assert sum(map(len, texts)) > PIECE_TOKENS
    assert member.score_all(texts) == model.engine.score_all(texts)
    with server.client() as client:
        refused = client.post("/inference/v1/score", json={"token_ids": [[1, 2]], "starts": [0]})
        assert refused.status_code == 400
        assert "starts=" in refused.json()["error"]["message"]
        other = client.post("/inference/v1/score", json={"token_ids": [[1, 2]], "identity": "sha256:another"})
        assert other.status_code == 409


def test_an_engine_that_was_started_anew_as_another_does_not_answer(member):
    """Whoever opened it has to look at it again."""
    other = replace(member.facts.identity, weights="sha256:" + "1" * 64)
    member.statement = replace(member.statement, facts=replace(member.facts, identity=other))
    with pytest.raises(EngineUnreachableError, match="another engine is there"):
        member.generate(PROMPT, SAMPLED)


def test_what_is_wrong_is_said_by_the_side_that_knows(member, model):
    with pytest.raises(EngineError, match="5000 tokens"):
        member.generate([1] * 5000, SAMPLED)
    with pytest.raises(EngineError, match="temperature"):
        member.generate(PROMPT, replace(SAMPLED, temperature=-1.0))
    with pytest.raises(EngineError, match="max_tokens=2"):
        member.generate(PROMPT, replace(SAMPLED, max_tokens=2), written=[1, 2, 3])
    with pytest.raises(EngineUnreachableError, match="refused"):
        MemberEngine(Connection(Address.of("http://127.0.0.1:9")))


def test_a_cancelled_answer_and_a_dropped_one_end_over_there(member, server):
    endless = replace(SAMPLED, max_tokens=None)
    generation = member.generate(PROMPT, endless)
    begun = iter(generation)
    next(begun)
    generation.cancel()
    assert list(begun) == []
    assert generation.stopped.reason == "cancelled"
    dropped = member.generate(PROMPT, endless)
    next(iter(dropped))
    del dropped, begun, generation
    server.idle()


def test_how_far_a_prompt_is_read_comes_before_its_tokens(member):
    generation = member.generate(PROMPT * 30, SAMPLED)
    readings = list(generation.reading())
    assert readings[-1].total == 150
    assert len(list(generation)) == 24


def test_owners_have_prefixes_of_their_own_that_can_be_forgotten(member):
    def reused(owner):
        generation = member.generate([*range(90, 122)] * 6, SAMPLED, owner=owner)
        list(generation)
        return generation.stopped.reused_tokens

    assert reused("me") == 0
    assert reused("me") > 0
    assert reused("you") == 0
    member.forget(lambda ids: True, "me")
    assert reused("me") == 0
    assert json.dumps("me") not in json.dumps(str(member.statement))


WELL = {"reason": "stop", "seed": 1, "seconds_queued": 0, "seconds_prefill": 0, "seconds_decode": 0, "joules": None}
ENDED = [
    {"choices": [{"index": 0, "token_ids": [1], "finish_reason": "stop"}]},
    {"choices": [], "ouvert": {"stopped": WELL}},
]


@pytest.mark.parametrize(
    "event",
    [
        *(
            {"choices": [], "ouvert": {"stopped": WELL | wrong}}
            for wrong in (
                {"reason": 7},
                {"reason": "tired"},
                {"seed": "x"},
                {"seconds_decode": None},
                {"parts": 3},
                {"joules": "x"},
            )
        ),
        {"choices": [], "ouvert": {"stopped": WELL}, "usage": {"prompt_tokens_details": {"cached_tokens": "x"}}},
        {"choices": [], "ouvert": {"reading": {"done": "x", "total": 1, "reused": 0, "seconds": 0}}},
        {"choices": [{"index": 0, "token_ids": [1] * 25, "finish_reason": None}]},
        {"choices": [], "ouvert": {"stopped": {"reason": "stop", "strange": 1}}},
        {"choices": [], "ouvert": {"stopped": 3}},
        {"choices": [], "ouvert": {"reading": {"done": 1}}},
        {"choices": [], "ouvert": "nothing"},
        {"choices": [{"index": 0, "token_ids": [10**6], "finish_reason": None}]},
        {"choices": [{"index": 0, "token_ids": ["a"], "finish_reason": None}]},
        {"error": {"message": "no", "code": 500}},
        {"output_mode": "text", "choices": []},
    ],
)
def test_a_member_that_says_what_makes_no_sense_is_lost_and_no_fault_of_the_request(member, monkeypatch, event):
    """Another member can go on from there, and a face does not tell its client to change the request."""
    with pytest.raises(EngineUnreachableError):
        list(said_by(member, monkeypatch, event, *ENDED))


def test_what_a_member_says_rightly_is_understood(member, monkeypatch):
    generation = said_by(member, monkeypatch, *ENDED)
    assert [token.id for token in generation] == [1]
    assert generation.stopped.reason == "stop"


def said_by(member, monkeypatch, *events):
    """An answer of which these events come."""

    class Lines:
        closed = False

        def __init__(self):
            said = [json.dumps({"output_mode": "tokens", **event}) for event in events]
            self.lines = [*(f"data: {each}".encode() for each in said), b"data: [DONE]", None]

        def next(self):
            return self.lines.pop(0)

        def wait_at_most(self, seconds):
            pass

        def close(self):
            self.closed = True

    monkeypatch.setattr(member.connection, "stream", lambda path, body: Lines())
    return member.generate(PROMPT, SAMPLED)


@pytest.mark.parametrize("value", [None, [], {"a": []}, float("inf"), True])
@pytest.mark.parametrize("field", ["context", "vocabulary_size", "threads", "version", "tokenizer_digest", "layout"])
def test_facts_of_another_type_are_refused(member, monkeypatch, field, value):
    stated = member.connection.get("/inference/v1/facts")
    within = stated["identity"] if field == "layout" else stated
    within[field] = value
    monkeypatch.setattr(Connection, "get", lambda self, path: stated)
    with pytest.raises(EngineError, match="expected the facts of an engine"):
        MemberEngine(member.connection)


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"format": 2}, {"format": 1, "identity": {"identity": 1, "weights": 3}}]
)
def test_facts_that_make_no_sense_are_refused(member, monkeypatch, answer):
    monkeypatch.setattr(Connection, "get", lambda self, path: answer)
    with pytest.raises(EngineError, match="expected the facts of an engine"):
        MemberEngine(member.connection)
