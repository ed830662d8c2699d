"""An answer as another model reads it: held to the softmax of the logits, and aligned by bytes where tokens differ."""

import itertools
import json
import math

import numpy as np
import pytest

from ouvert.serving import Competitor, OpenComparison

SHORT = {"\n": "Hello", "Hello": " a", " a": " model", " model": ".", ".": "<|im_end|>"}
LONG = {"\n": "Hello", "Hello": " from", " from": " a", " a": " tiny", " tiny": " model", " model": ".",
        ".": "<|im_end|>"}  # fmt: skip
SAME = {word: word for word in (" from", " tiny")}  # so that both have the same tokens
OTHER = {"\n": "Hel", "Hel": "lo a", "lo a": " model", " model": ".", ".": "<|im_end|>"}
COMPETITORS = {"short": {**SAME, **SHORT}, "long": {**SAME, **LONG}, "other": OTHER}


@pytest.fixture(scope="module")
def server(start_server, speaking_model, tmp_path_factory):
    places = []
    for name, follows in COMPETITORS.items():
        (place := tmp_path_factory.mktemp("models") / name).symlink_to(speaking_model(follows))
        places.append(str(place))
    competitors = [Competitor(label=name, model=name, sampling={"temperature": 0.0}) for name in COMPETITORS]
    comparison = OpenComparison(competitors=competitors, questions=(), cast=lambda vote: True, standings=dict)
    return start_server(models=tuple(places), comparison=comparison)


@pytest.fixture
def revealed(server):
    """revealed(client) -> (its place, where each of them stands), with all three answers."""

    def make(client):
        with client.stream("POST", "/ouvert/comparison/rounds", json={"prompt": "Say it.", "columns": 3}) as stream:
            events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        place = f"/ouvert/comparison/rounds/{events[-1]['id']}"
        labels = client.post(f"{place}/reveal").json()["labels"]
        return place, {label: n for n, label in enumerate(labels)}

    return make


def loaded(server, name):
    return server.service.loaded_models.model_of(name)


def expected(model, prompt, ids):
    """log-probabilities of the ids behind the prompt, from all logits in float64."""
    logits = model.logits([*prompt, *ids]).astype(np.float64)[len(prompt) - 1 : -1]
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_each_token_has_both_models_numbers_the_likeliest_and_the_rest(server, revealed):
    with server.client() as client:
        place, at = revealed(client)
        read = client.post(f"{place}/reread", json={"side": at["long"], "by": at["short"]}).json()
    assert read["same_tokens"]
    tokens = read["tokens"]
    assert "".join(token["text"] for token in tokens) == "Hello from a tiny model.<|im_end|>"
    for n, name in enumerate(("long", "short")):
        model = loaded(server, name)
        prompt = model.render([{"role": "user", "content": "Say it."}]).ids
        logprobs = expected(model, prompt, [token["id"] for token in tokens])
        for row, token in zip(logprobs, tokens, strict=True):
            assert token["logprobs"][n] == pytest.approx(row[token["id"]], abs=2e-4)
            best = np.sort(row)[::-1][:5]
            assert [each["logprob"] for each in token["top"][n]] == pytest.approx(list(best), abs=2e-4)
            assert token["rest"][n] == pytest.approx(max(0, 1 - np.exp(best).sum()), abs=1e-4)
    # "short" would have gone on with " a" behind "Hello".
    assert read["divergence"] == 1
    assert tokens[1]["top"][1][0]["text"] == " a"
    assert tokens[1]["logprobs"][0] > tokens[1]["logprobs"][1]


def test_an_answer_read_by_its_own_writer_does_not_diverge(server, revealed):
    with server.client() as client:
        place, at = revealed(client)
        read = client.post(f"{place}/reread", json={"side": at["long"], "by": at["long"]}).json()
    assert read["divergence"] is None
    assert all(token["logprobs"][0] == token["logprobs"][1] for token in read["tokens"])


def test_what_the_reader_would_have_said_goes_on_from_the_divergence(server, revealed):
    with server.client() as client:
        place, at = revealed(client)
        asked = {"side": at["long"], "by": at["short"]}
        assert client.post(f"{place}/continuation", json={**asked, "position": 1}).json()["text"] == " a model."
        assert client.post(f"{place}/continuation", json={**asked, "position": 0}).json()["text"] == "Hello a model."
        cut = client.post(f"{place}/continuation", json={**asked, "position": 1, "max_tokens": 1}).json()
        assert cut["text"] == " a"
        assert client.post(f"{place}/continuation", json={**asked, "position": 99}).status_code == 400
        other = client.post(f"{place}/continuation", json={"side": at["other"], "by": at["long"], "position": 0})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "not_comparable")


def test_models_of_different_tokens_are_aligned_by_bytes_and_no_bit_is_lost(server, revealed):
    with server.client() as client:
        place, at = revealed(client)
        read = client.post(f"{place}/reread", json={"side": at["short"], "by": at["other"]}).json()
    assert not read["same_tokens"]
    assert [word["text"] for word in read["words"]] == ["Hello", " a", " model."]
    for n, name in enumerate(("short", "other")):
        model = loaded(server, name)
        prompt = model.render([{"role": "user", "content": "Say it."}]).ids
        ids = model.tokenize("Hello a model.")
        whole = -sum(row[id_] for row, id_ in zip(expected(model, prompt, ids), ids, strict=True)) / math.log(2)
        assert sum(word["bits"][n] for word in read["words"]) == pytest.approx(whole, abs=1e-2)
    # "lo a" is one token of four bytes: two of them belong to "Hello", two to " a".
    model = loaded(server, "other")
    prompt = model.render([{"role": "user", "content": "Say it."}]).ids
    ids = model.tokenize("Hello a model.")
    bits = [-row[id_] / math.log(2) for row, id_ in zip(expected(model, prompt, ids), ids, strict=True)]
    assert [word["bits"][1] for word in read["words"]][:2] == pytest.approx(
        [bits[0] + bits[1] / 2, bits[1] / 2], abs=1e-3
    )


def test_sides_that_there_are_not_are_refused(server, revealed):
    with server.client() as client:
        place, _ = revealed(client)
        for side, by in itertools.product((3, 4, -1, "0"), (0,)):
            assert client.post(f"{place}/reread", json={"side": side, "by": by}).status_code == 400
