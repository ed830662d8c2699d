"""Opening a vLLM: it has to be the one that is meant, and says what it is."""

import pytest

from ouvert.engine import EngineError, EngineUnreachableError, MemberEngine
from ouvert.engine.remote.connection import Address, Connection
from ouvert.engine.remote.endpoint import TokenEndpoint
from ouvert.engine.remote.vllm import TEXT, Vllm

from ..asking import greedy, ids_of

SIZE = 264


def encode(text):
    return list(text.encode())


@pytest.fixture
def open_there(server):
    """open_there(url=None, key=None, tokenize=..., **of Vllm): the engine."""

    def make(url=None, key=None, tokenize=encode, **settings):
        connection = Connection(Address.of(url or server.url), key=key)
        return Vllm(endpoint=TokenEndpoint(connection), **settings).open(SIZE, tokenize)

    return make


def test_a_vllm_that_is_what_is_meant_is_opened_and_named_in_every_request(server, open_there):
    engine = open_there()
    assert (engine.context, engine.vocabulary_size) == (2048, SIZE)
    assert len(ids_of(engine.generate([1, 2], greedy(max_tokens=2)))) == 2
    assert {body["model"] for body in server.asked()} == {"tiny"}
    assert server.asked("/tokenize") == [{"model": "tiny", "prompt": TEXT, "add_special_tokens": False}]


def test_it_is_no_member_of_a_pool_and_the_refusal_says_how_it_is_asked(server):
    server.script.status["/inference/v1/facts"] = (404, "Not Found")
    with pytest.raises(EngineError, match=f"--engine-only` there.*serve MODEL --engine vllm --at {server.url}`"):
        MemberEngine(Connection(Address.of(server.url)))


def test_it_says_what_it_is_and_that_nobody_here_has_checked_it(open_there):
    facts = open_there(parallel="tensor parallel 2").facts
    assert (facts.version, facts.threads, facts.weights_checked) == ("0.32.0", 0, False)
    assert (facts.other.name, facts.other.weights, facts.other.parallel) == ("vllm", "files/tiny", "tensor parallel 2")
    assert facts.identity.digest != open_there().facts.identity.digest


def test_weights_that_are_exchanged_over_there_are_another_identity(server, open_there):
    engine = open_there()
    before = engine.facts
    server.script.weights_version = "step-7"
    ids_of(engine.generate([1, 2], greedy(max_tokens=2)))
    assert engine.facts.other.weights_version == "step-7"
    assert engine.facts.identity.digest != before.identity.digest


def test_another_tokenizer_is_refused_with_the_place_where_they_differ(open_there):
    def other(text):
        return [*encode(text)[:5], 7, *encode(text)[6:]]

    with pytest.raises(EngineError, match=r"tiny cuts a text into other tokens.*the first that differs is number 5"):
        open_there(tokenize=other)
    with pytest.raises(EngineError, match=r"number 3: .*Name the same model here and there"):
        open_there(tokenize=lambda text: encode(text)[:3])


@pytest.mark.parametrize("version", ["0.29.1", "0.8"])
def test_a_vllm_from_before_the_endpoint_is_refused(server, open_there, version):
    server.script.json["/version"] = {"version": version}
    with pytest.raises(EngineError, match=f"version {version}, expected 0.30 or newer"):
        open_there()


def test_a_model_that_it_has_not_is_refused_with_those_it_has(server, open_there):
    with pytest.raises(EngineError, match=r"it serves tiny, and large was named.*--engine-model"):
        open_there(model="large")
    two = [{"id": name, "root": name, "max_model_len": 64} for name in ("tiny", "large")]
    server.script.json["/v1/models"] = {"data": two}
    with pytest.raises(EngineError, match="it serves tiny, large, and none was named"):
        open_there()
    assert open_there(model="large").context == 64


def test_a_vllm_that_does_not_keep_to_allowed_tokens_is_refused(server, open_there):
    def other(event):
        if event["choices"][0]["token_ids"]:
            event["choices"][0]["token_ids"] = [3]
        return event

    server.script.event = other
    with pytest.raises(EngineError, match=r"asked for token 132 alone, it wrote \[3\]"):
        open_there()


def test_a_vllm_without_the_endpoint_or_with_another_key_is_refused_with_the_remedy(server, open_there):
    server.script.status["/inference/v1/generate"] = (403, "Scale-out endpoints are disabled.")
    with pytest.raises(EngineError, match="Start vLLM with --enable-scale-out"):
        open_there()
    server.script.key = "sesame"
    with pytest.raises(EngineError, match=r"401.*its key"):
        open_there()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/version", []),
        ("/v1/models", {"data": [{"id": "tiny"}]}),
        ("/v1/models", {"data": 3}),
        ("/v1/models", []),
        ("/tokenize", {"tokens": ["a"]}),
        ("/tokenize", {}),
    ],
)
def test_what_is_no_vllm_is_found_out_by_its_answers(server, open_there, path, answer):
    server.script.json[path] = answer
    with pytest.raises(EngineError, match=r"expected .*Is this the server of a model"):
        open_there()


def test_nobody_there_is_said_at_once(open_there):
    with pytest.raises(EngineUnreachableError, match="Is the engine running there"):
        open_there(url="http://127.0.0.1:9")
