"""A remote engine: what it asks, what it takes from answers, and what it says of those that are none."""

import gc
import socket
import threading

import numpy as np
import pytest

from ouvert.arithmetic import LowRank
from ouvert.engine import (
    EngineBusyError,
    EngineError,
    EngineUnreachableError,
    Grammar,
    Sampling,
    ScaledAdapter,
    Variant,
)
from ouvert.engine.remote.connection import Lines, NothingThereError, Timeouts
from ouvert.packed import Adapter

from ..asking import eventually, greedy, ids_of

PROMPT = [5, 60, 7, 8]


def test_a_request_says_all_that_decides_the_tokens(server, engine):
    sampling = Sampling(
        temperature=0.5, top_k=7, top_p=0.9, min_p=0.01, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, logit_bias={9: 1.5}, seed=4, max_tokens=3, logprobs=2,
        stop_ids=frozenset({261, 257, 999}),
    )  # fmt: skip
    ids_of(engine.generate(PROMPT, sampling))
    [body] = server.asked()
    salt = body.pop("cache_salt")
    assert len(salt) == 43
    assert body == {
        "token_ids": PROMPT,
        "model": "tiny",
        "stream": True,
        "stream_options": {"include_usage": True},
        "output_mode": "tokens",
        "sampling_params": {
            "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1,
            "presence_penalty": 0.2, "frequency_penalty": 0.3, "logit_bias": {"9": 1.5}, "seed": 4, "max_tokens": 3,
            "stop_token_ids": [257, 261], "logprobs": 3, "ignore_eos": True, "detokenize": False,
        },
    }  # fmt: skip


def test_a_seed_is_drawn_and_said_where_none_is_asked_for(server, engine):
    generation = engine.generate(PROMPT, Sampling(max_tokens=1))
    ids_of(generation)
    assert server.asked()[0]["sampling_params"]["seed"] == generation.stopped.seed


def test_each_owner_has_a_salt_of_its_own_and_a_new_one_when_it_forgets(server, engine):
    def salt(owner):
        ids_of(engine.generate(PROMPT, greedy(max_tokens=1), owner=owner))
        return server.asked()[-1]["cache_salt"]

    alice, bob = salt("alice"), salt("bob")
    assert salt("alice") == alice != bob == salt("bob")
    engine.forget(lambda ids: True, "alice")
    assert salt("alice") not in (alice, bob)
    assert salt("bob") == bob
    engine.forget_all()
    assert salt("bob") != bob


def test_the_key_goes_with_every_request_and_a_wrong_one_is_said(server, connect):
    server.script.key = "sesame"
    ids_of(connect("sesame").generate(PROMPT, greedy(max_tokens=1)))
    with pytest.raises(EngineError, match=r"401.*its key"):
        connect("other").generate(PROMPT, greedy())
    with pytest.raises(EngineError, match="no header can hold"):
        connect("two\nlines")


def test_what_a_cache_gave_is_told(engine):
    generation = engine.generate(PROMPT, greedy(max_tokens=2))
    ids_of(generation)
    assert generation.stopped.reused_tokens == 2


def test_reading_ends_when_a_token_is_there(engine):
    generation = engine.generate(PROMPT, greedy(max_tokens=3))
    assert list(generation.reading()) == []
    assert len(ids_of(generation)) == 3


def test_an_engine_whose_context_is_shorter_ends_the_answer_where_it_is_full(server, engine):
    server.script.most = 2
    generation = engine.generate(PROMPT, greedy(max_tokens=3))
    assert len(ids_of(generation)) == 2
    assert generation.stopped.reason == "length"


def test_an_engine_that_goes_on_behind_the_end_is_not_listened_to(server, engine):
    server.script.event = lambda event: with_token(event, 65) if event["choices"][0]["finish_reason"] is None else event
    assert ids_of(engine.generate(PROMPT, greedy(max_tokens=9, stop_ids=frozenset({65})))) == [65]


# --- forms ------------------------------------------------------------------------------------------------------------


def test_a_form_that_the_other_server_knows_is_passed_on_and_asked_for_once(server, engine, vocabulary):
    constraint = vocabulary.compile(Grammar.regex("[a-z]{5}"))
    ids_of(engine.generate(PROMPT, greedy(constraint=constraint, stop_ids=frozenset({263}))))
    [body] = server.asked()
    assert body["sampling_params"]["structured_outputs"] == {"regex": "[a-z]{5}"}


def test_what_may_come_only_once_is_asked_of_nobody(server, engine, vocabulary):
    constraint = vocabulary.compile(Grammar.one_of(["fixed"]))
    assert bytes(ids_of(engine.generate(PROMPT, greedy(constraint=constraint)))) == b"fixed"
    assert server.asked() == []


def test_a_form_that_is_followed_here_gives_what_a_mask_gives(server, engine, vocabulary):
    constraint = vocabulary.compile(Grammar.regex("[a-e ]{12}"))
    masked = ids_of(server.engine.generate(PROMPT, greedy(constraint=constraint)))
    server.script.refuses = frozenset({"regex"})
    assert ids_of(engine.generate(PROMPT, greedy(constraint=constraint))) == masked


def test_a_request_that_goes_on_draws_other_chances(server, engine, vocabulary):
    server.script.refuses = frozenset({"regex"})
    constraint = vocabulary.compile(Grammar.regex("[a-e ]{12}"))
    ids_of(engine.generate(PROMPT, Sampling(seed=1, constraint=constraint)))
    seeds = {len(body["token_ids"]): body["sampling_params"]["seed"] for body in server.asked()}
    assert len(set(seeds.values())) == len(seeds) > 1
    assert seeds[len(PROMPT)] == 1


def test_an_engine_that_does_not_keep_to_the_tokens_asked_for_is_found_out(server, engine, vocabulary):
    server.script.refuses = frozenset({"regex"})
    server.script.event = lambda event: event if not event["choices"][0]["token_ids"] else with_token(event, 200)
    constraint = vocabulary.compile(Grammar.regex("[a-e]{3}"))
    with pytest.raises(EngineError, match=r"token 200.*allowed_token_ids"):
        ids_of(engine.generate(PROMPT, greedy(constraint=constraint)))


def test_an_engine_that_writes_nothing_is_found_out(server, engine, vocabulary):
    server.script.refuses = frozenset({"regex"})
    server.script.ends_with = "stop"
    server.script.event = lambda event: with_token(event, None)
    constraint = vocabulary.compile(Grammar.regex("[a-e]{3}"))
    with pytest.raises(EngineError, match=r"no token.*allowed_token_ids"):
        ids_of(engine.generate(PROMPT, greedy(constraint=constraint)))


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_penalties_that_are_counted_by_the_request_do_not_go_with_a_form(engine, vocabulary, penalty):
    constraint = vocabulary.compile(Grammar.regex("[a-e]{3}"))
    with pytest.raises(EngineError, match=f"{penalty}=0.5.*form"):
        engine.generate(PROMPT, greedy(constraint=constraint, **{penalty: 0.5}))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def with_token(event, token):
    event["choices"][0]["token_ids"] = [] if token is None else [token]
    return event


def test_variants_logits_and_vectors_are_refused_by_name(engine):
    variant = Variant((ScaledAdapter("sha256:" + "a" * 64),))
    for ask in (engine.score, engine.logits, lambda ids, variant: engine.generate(ids, greedy(), variant)):
        with pytest.raises(EngineError, match=r"adapter sha256:aaa|log-probabilities of tokens alone"):
            ask(PROMPT, variant=variant)
    with pytest.raises(EngineError, match="Load a model made for embeddings"):
        engine.embed([PROMPT])
    one = LowRank(np.ones((1, 4), np.float32), np.ones((4, 1), np.float32), 1.0)
    with pytest.raises(EngineError, match=r"adding the adapter sha256:\w+: another program computes this model"):
        engine.adapters.add(Adapter({"layers.0.q": one}))
    engine.adapters.remove(variant.adapters[0].digest)
    assert not engine.adapters.digests


def test_a_server_that_is_not_there_is_said_at_once(connect):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    engine = connect(url=url)
    for ask in (lambda: engine.generate(PROMPT, greedy()), lambda: engine.score(PROMPT)):
        with pytest.raises(EngineUnreachableError, match=f"{url}.*Is the engine running there"):
            ask()
    assert engine.load.running == 0


def test_a_server_that_dies_in_the_middle_ends_its_answers_with_an_error(server, engine):
    server.script.dies_after = 3
    generation, came = engine.generate(PROMPT, greedy(max_tokens=20)), []
    with pytest.raises(EngineUnreachableError, match=r"reaching|ended before"):
        came.extend(token.id for token in generation)
    assert len(came) <= 3
    assert engine.load.running == 0


def test_a_server_that_falls_silent_is_given_up_where_a_limit_is_set(server, connect):
    server.script.hangs_after = 2
    engine = connect(timeouts=Timeouts(silence=0.2))
    with pytest.raises(EngineUnreachableError, match="nothing came for too long"):
        ids_of(engine.generate(PROMPT, greedy(max_tokens=20)))


def test_cancelling_wakes_whoever_waits_for_a_token(server, engine):
    server.script.hangs_after = 2
    generation = engine.generate(PROMPT, greedy(max_tokens=20))
    came, two = [], threading.Event()

    def read():
        for token in generation:
            came.append(token.id)
            if len(came) == 2:
                two.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert two.wait(20)
    generation.cancel()
    reader.join(20)
    assert not reader.is_alive()
    assert (generation.stopped.reason, len(came)) == ("cancelled", 2)


def test_the_other_server_is_told_when_nobody_wants_the_rest(server, engine):
    generation = engine.generate(PROMPT, greedy())
    next(iter(generation))
    del generation
    gc.collect()
    eventually(lambda: server.left == 1 and server.engine.load.running == 0)


def test_an_answer_out_of_time_ends_as_it_is_while_the_server_is_silent(server, engine):
    server.script.hangs_after = 2
    generation = engine.generate(PROMPT, greedy(max_tokens=20), timeout=0.3)
    assert len(ids_of(generation)) <= 2
    assert generation.stopped.reason == "timeout"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, EngineError, "temperature must be.*Change what is named"),
        (403, EngineError, "--enable-scale-out"),
        (404, NothingThereError, "does it serve the one"),
        (429, EngineBusyError, "too much to do"),
        (500, EngineUnreachableError, "Its own log"),
        (503, EngineBusyError, "too much to do"),
    ],
)
def test_what_the_other_server_refuses_is_said_in_its_words(server, engine, status, kind, said):
    text = "Scale-out endpoints are disabled" if status == 403 else "temperature must be in [0, 2]"
    server.script.status["/inference/v1/generate"] = (status, text)
    with pytest.raises(EngineError, match=f"(?s){said}") as refused:
        engine.generate(PROMPT, greedy())
    assert type(refused.value) is kind
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b"not JSON", "expected JSON"),
        (b"[]", "expected choices"),
        ({"choices": []}, "output_mode=None"),
        ({"output_mode": "tokens"}, "expected choices"),
        ({"output_mode": "tokens", "choices": [{"token_ids": ["a"]}]}, "expected choices"),
        ({"output_mode": "tokens", "choices": [{"token_ids": [1.5]}]}, "expected choices"),
        ({"output_mode": "tokens", "choices": [{"token_ids": [999]}]}, "token 999, and the vocabulary has 264"),
        ({"output_mode": "tokens", "choices": [{"token_ids": [1], "logprobs": {"content": []}}]}, "expected choices"),
        ({"error": {"message": "out of vocabulary", "code": 400}}, "out of vocabulary. Change"),
        ({"error": {"message": "the engine died", "code": 500}}, "the engine died. Its own log"),
    ],
)
def test_an_event_that_is_none_is_an_error_that_shows_it(server, engine, event, said):
    server.script.event = lambda _: event
    with pytest.raises(EngineError, match=said):
        ids_of(engine.generate(PROMPT, greedy(max_tokens=3)))
    assert engine.load.running == 0


def test_an_answer_that_the_other_server_aborts_is_no_answer(server, engine):
    server.script.ends_with, server.script.most = "abort", 2
    with pytest.raises(EngineUnreachableError, match="abort"):
        ids_of(engine.generate(PROMPT, greedy(max_tokens=3)))


def test_an_answer_that_ends_in_the_middle_of_a_line_is_lost():
    """What a proxy hands on of a server that was killed: half an event, and a proper end."""

    class Half:
        status = 200

        def readline(self, most):
            return b'data: {"output_mode":"tok'

    with socket.socket() as unused, pytest.raises(EngineUnreachableError, match="in the middle of a line"):
        Lines("http://here", unused, Half()).next()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "ftp://a:1",
        "http://",
        "http://k@a:1",
        "http://a:1?b",
        "http://a:x",
        "http://a..b:1",
        f"http://{'x' * 64}.org:1",
        "http://[::1:1",
        "http://a b:1",
        "http://\u2028:1",
    ],
)
def test_what_is_no_address_is_refused(connect, url):
    with pytest.raises(EngineError, match="expected http://HOST:PORT"):
        connect(url=url or " ")


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"prompt_logprobs": None}, {"prompt_logprobs": [None]}, {"prompt_logprobs": [None, {}, {}, {}]}],
)
def test_scores_that_are_none_are_an_error_that_shows_them(server, engine, answer, monkeypatch):
    monkeypatch.setattr(type(engine.source.connection), "post", lambda *args, **more: answer)
    with pytest.raises(EngineError, match="expected"):
        engine.score(PROMPT)
