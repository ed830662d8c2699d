"""A llama in vLLM keeps to what every engine keeps to, and gives our numbers; and what a client sees of it."""

import json
import subprocess
import sys
import time

import pytest

import ouvert
from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.engine import EngineError, Grammar, Sampling

from ..engine.asking import greedy, ids_of
from ..engine.conformance import Conformance, Subject
from .conftest import KEY
from .likeness import TOLERANCE, compare

SERVES = ("llama",)
PROMPT = [5, 60, 7, 8]
RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def model(vllm):
    with ouvert.load(vllm.folder, elsewhere=ouvert.vllm(vllm.url, key=KEY), receipts=False) as loaded:
        yield loaded


class TestVllm(Conformance):
    @pytest.fixture
    def subject(self, vllm, model):
        vocabulary = vocabulary_of(model.tokenizer, model.engine.vocabulary_size)
        written = lambda: vllm.counted("generation_tokens_total")  # noqa: E731
        return Subject(model.engine, vocabulary, written, TOLERANCE, exact=False)


def test_its_numbers_are_ours_within_its_own_rounding(vllm):
    assert compare(vllm, KEY) > 40  # of 96 tokens


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.regex("[a-f]{3}-[0-9]{2}"),
        Grammar.one_of(["left", "right"]),
        Grammar.lark('start: "a" | "b" start'),
        Grammar.gbnf('root ::= "yes" | "no"'),
        Grammar.json_schema({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}),
    ],
    ids=lambda grammar: grammar.kind,
)
def test_a_form_is_passed_on_and_kept(model, grammar):
    constraint = model.constraint(grammar)
    sampling = Sampling(temperature=1.0, seed=7, max_tokens=60, constraint=constraint, stop_ids=model.tokenizer.end_ids)
    generation = model.engine.generate(PROMPT, sampling)
    state = constraint.begin()
    for token in ids_of(generation):
        if token not in sampling.stop_ids:
            assert token in state.allowed()
            state.advance(token)
    assert state.accepting or generation.stopped.reason == "length"


def test_cancelled_answers_are_no_longer_computed(vllm, model):
    before = vllm.counted("generation_tokens_total")
    generations = [model.engine.generate([*PROMPT, n], greedy()) for n in range(8)]
    for generation in generations:
        next(iter(generation))
        generation.cancel()
    until = time.monotonic() + 60
    while vllm.counted("num_requests_running"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert vllm.counted("generation_tokens_total") - before < 8 * 508 / 2


def test_a_prompt_seen_before_comes_from_its_cache_for_its_owner_alone(model):
    prompt = list(range(200)) * 2

    def reused(owner):
        generation = model.engine.generate(prompt, greedy(max_tokens=2), owner=owner)
        ids_of(generation)
        return generation.stopped.reused_tokens

    assert reused("alice") == 0
    assert reused("alice") >= 256
    assert reused("bob") == 0
    model.engine.forget(lambda ids: True, "alice")
    assert reused("alice") == 0


def test_a_conversation_with_a_schema_and_its_receipt(model):
    schema = {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}
    answer = model.chat("Hello", temperature=0, max_tokens=80, response_schema=schema | {"additionalProperties": False})
    *texts, finished = answer
    assert json.loads("".join(each.text for each in texts)).keys() == {"x"}
    assert finished.receipt["engine"]["name"] == "vllm"
    assert finished.receipt["engine"]["replay"] == "not promised"
    assert finished.receipt["model"]["weights_named"].endswith("llama")


def test_it_is_refused_as_a_member_of_a_pool_with_how_it_is_asked(vllm, tmp_path):
    (tmp_path / "vllm.key").write_text(KEY)
    file = tmp_path / "pool.toml"
    file.write_text(f'[[member]]\nname = "vllm"\nurl = "{vllm.url}"\nkey_file = "vllm.key"')
    for words in (["pool", str(file)], ["serve", str(vllm.folder), "--pool", str(file), "--port", "0"]):
        command = [sys.executable, "-c", RUN, *words]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert refused.returncode == 1
        assert f"`ouvert serve MODEL --engine vllm --at {vllm.url}`" in refused.stdout + refused.stderr


def test_what_it_refuses_is_said_in_its_words(vllm, model):
    with pytest.raises(EngineError, match=r"temperature must be in \[0, 2\]"):
        model.engine.generate(PROMPT, Sampling(temperature=3.0))
    with pytest.raises(EngineError, match=r"logprobs"):
        ids_of(model.engine.generate(PROMPT, greedy(logprobs=100, max_tokens=2)))
    with pytest.raises(EngineError, match=r"401.*Give its key"):
        ouvert.load(vllm.folder, elsewhere=ouvert.vllm(vllm.url, key="other"), receipts=False)
    assert len(ids_of(model.engine.generate(PROMPT, greedy(max_tokens=2)))) == 2
