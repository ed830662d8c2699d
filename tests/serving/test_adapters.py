"""Adapters over HTTP: asked for by name in every dialect, listed as they are now, each answer as in Python."""

import json
import shutil
import time

import numpy as np
import pytest

import ouvert
from ouvert.serving import ENGINE_ENDPOINTS
from ouvert.store import Store

HELLO, RUDE, QUESTION = "Hello from a tiny model.", " model.", [{"role": "user", "content": "hi"}]
HEADER = "ouvert-release-state"


@pytest.fixture(scope="module")
def kept(tmp_path_factory, speaking_model, speaking_adapter):
    """A store with the model `tiny`, and the adapters `rude` and `loud` of it."""
    store = Store(tmp_path_factory.mktemp("served"))
    store.pull(str(speaking_model()), name="tiny")
    speaking_adapter(store, "rude")
    speaking_adapter(store, "loud", after="Hello", as_after=" tiny")
    return store.home


@pytest.fixture(scope="module")
def adapted(start_server, kept, tmp_path_factory):
    """A server of that store."""
    return start_server(home=kept, models=("tiny",), adapters=("rude",), state=tmp_path_factory.mktemp("state"))


@pytest.fixture
def client(adapted):
    with adapted.client() as client:
        yield client


@pytest.fixture
def home(kept, tmp_path):
    """A copy of the store, to be changed."""
    shutil.copytree(kept, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def ask(client, model, **fields):
    return client.post("/v1/chat/completions", json={"model": model, "messages": QUESTION, **fields})


def text_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


def chat(client, model):
    return ask(client, model)


def responses(client, model):
    return client.post("/v1/responses", json={"model": model, "input": "hi"})


def messages(client, model):
    return client.post("/v1/messages", json={"model": model, "messages": QUESTION, "max_tokens": 50})


def ollama_chat(client, model):
    return client.post("/api/chat", json={"model": model, "messages": QUESTION, "stream": False})


def ollama_generate(client, model):
    return client.post("/api/generate", json={"model": model, "prompt": "hi", "stream": False})


DIALECTS = (chat, responses, messages, ollama_chat, ollama_generate)


# --- every dialect ---


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize("name", ["tiny+rude", "tiny+loud+rude", "tiny@8+rude"])
def test_each_dialect_answers_with_adapters_as_python_does(client, kept, dialect, name):
    answer = dialect(client, name)
    assert answer.status_code == 200, answer.text
    assert answer.headers[HEADER] == "unchecked, not gated"
    [receipt] = client.get(f"/v1/receipts/{answer.headers['x-ouvert-receipt']}").json()["data"]
    with ouvert.load(name, store=Store(kept), receipts=False, prefixes=False, threads=1) as model:
        *_, here = model.chat("hi")
    assert receipt["adapters"] == here.receipt["adapters"]
    assert receipt["engine"]["identity_digest"] == here.receipt["engine"]["identity_digest"]
    for digest in ("prompt_digest", "output_digest"):
        assert receipt["tokens"][digest] == here.receipt["tokens"][digest]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.__name__)
def test_the_bare_model_answers_as_ever_and_says_nothing_of_adapters(client, dialect):
    answer = dialect(client, "tiny")
    assert HEADER not in answer.headers
    [receipt] = client.get(f"/v1/receipts/{answer.headers['x-ouvert-receipt']}").json()["data"]
    assert receipt["engine"]["variant"] == "base"
    assert "adapters" not in receipt


@pytest.mark.parametrize("name", ["tiny+rude:latest", "tiny:latest+rude", "tiny@stored+rude:latest"])
def test_what_clients_put_around_a_name_changes_nothing(client, name):
    assert text_of(ask(client, name)) == RUDE


def test_a_stream_has_the_same_words_and_header(client):
    with client.stream("POST", "/v1/chat/completions",
                       json={"model": "tiny+rude", "messages": QUESTION, "stream": True}) as answer:  # fmt: skip
        assert answer.headers[HEADER] == "unchecked, not gated"
        chunks = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    said = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks if each["choices"])
    assert said == RUDE
    assert {each["model"] for each in chunks} == {"tiny+rude"}


def test_continued_texts_take_adapters(client):
    body = {"prompt": "hi\n", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 2}
    found = {name: client.post("/v1/completions", json={"model": name, **body}) for name in ("tiny", "tiny+rude")}
    assert {name: each.json()["choices"][0]["text"] for name, each in found.items()} == {
        "tiny": "hi\nHello", "tiny+rude": "hi\n model",
    }  # fmt: skip
    scores = [each.json()["choices"][0]["logprobs"]["token_logprobs"][1:] for each in found.values()]
    assert scores[0] != scores[1]  # of the prompt that was read, too
    fingerprints = {each.json()["system_fingerprint"] for each in found.values()}
    assert len(fingerprints) == 2
    assert ask(client, "tiny+rude").json()["system_fingerprint"] in fingerprints


def test_raw_prompts_of_ollama_take_adapters(client):
    body = {"model": "tiny+rude", "prompt": "hi\n", "raw": True, "stream": False, "options": {"num_predict": 1}}
    assert client.post("/api/generate", json=body).json()["response"] == " model"


def test_token_ids_and_scores_take_adapters(start_server, kept, speaking_model):
    server = start_server(home=kept, models=("tiny",), only_these=True, adapters=("rude",), endpoints=ENGINE_ENDPOINTS)
    with (
        server.client() as client,
        ouvert.load("tiny", store=Store(kept), receipts=False, prefixes=False, threads=1) as model,
    ):
        ids = list(model.render("hi").ids)
        params = {"temperature": 0, "max_tokens": 8}
        for name, adapter in (("tiny", ()), ("tiny+rude", ("rude",))):
            here = model.with_adapters(*adapter)
            body = {"model": name, "token_ids": ids, "sampling_params": params}
            answer = client.post("/inference/v1/generate", json=body)
            assert answer.json()["choices"][0]["token_ids"] == list(here.generate(ids, temperature=0, max_tokens=8))
            assert answer.headers.get(HEADER) == ("unchecked, not gated" if adapter else None)
            scored = client.post("/inference/v1/score", json={"model": name, "token_ids": [ids]}).json()["scores"][0]
            assert [np.float32(each[1]) for each in scored] == [np.float32(each.logprob) for each in here.score(ids)]


def test_a_batch_takes_adapters_and_is_another_when_they_change(home, tmp_path, speaking_adapter):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": QUESTION}}
    (tmp_path / "asked.jsonl").write_text(json.dumps(line))

    def answered(model):
        outcome = ouvert.batch(
            tmp_path / "asked.jsonl", model, store=Store(home), overwrite=True, threads=1, receipts=False
        )
        body = json.loads(outcome.output.read_text())["response"]["body"]
        return outcome.job.id, body["choices"][0]["message"]["content"]

    assert answered("tiny")[1] == HELLO
    first, text = answered("tiny+rude")
    assert text == RUDE
    assert answered("tiny+rude") == (first, RUDE)
    Store(home).adapters.remove("rude")
    speaking_adapter(Store(home), "rude", as_after=" from")
    assert answered("tiny+rude") == (answered("tiny+rude")[0], " a tiny model.")
    assert answered("tiny+rude")[0] != first


def test_tokens_are_counted_and_edits_go_with_adapters(client):
    body = {"model": "tiny+rude", "messages": QUESTION}
    counted = client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    assert counted == ask(client, "tiny").json()["usage"]["prompt_tokens"]
    edits = {"edits": [{"operation": "zero", "tap": "layers.0.mlp.out"}]}
    edited = client.post("/v1/chat/completions", json={**body, "ouvert": edits})
    assert edited.headers["ouvert-state"] == "edited"
    assert edited.headers[HEADER] == "unchecked, not gated"
    assert text_of(edited) == HELLO  # where the adapter adds is set to zero
    short = edited.json()["ouvert"]["receipt"]
    assert (len(short["edits"]), [each["name"] for each in short["adapters"]]) == (1, ["rude"])


def test_the_inside_of_an_adapted_answer_is_that_of_the_answer(client):
    made = client.post("/ouvert/traces", json={"model": "tiny+rude", "messages": QUESTION, "record": ["logits"]}).json()
    until(lambda: client.get(f"/ouvert/traces/{made['id']}").json()["state"] == "done")
    trace = client.get(f"/ouvert/traces/{made['id']}").json()
    answer = ask(client, "tiny+rude")
    [receipt] = client.get(f"/v1/receipts/{answer.json()['id']}").json()["data"]
    assert trace["model"]["variant"] == receipt["engine"]["variant"]


# --- what is offered ---


def names(client, path="/v1/models"):
    found = client.get(path).json()
    return [each.get("id") or each["name"] for each in found.get("data", found.get("models"))]


def test_every_list_has_the_adapters_with_their_state(client, kept):
    assert names(client) == ["tiny", "tiny+loud", "tiny+rude"]
    assert names(client, "/api/tags") == ["tiny:latest", "tiny+loud:latest", "tiny+rude:latest"]
    assert names(client, "/api/ui/models") == ["tiny", "tiny+loud", "tiny+rude"]
    record = Store(kept).adapters.record("rude")
    said = {"name": "rude", "digest": record.digest, "state": "unchecked", "shown": "unchecked, not gated"}
    assert client.get("/v1/models/tiny+rude").json()["ouvert"]["adapters"] == [said]
    [tagged] = [each for each in client.get("/api/tags").json()["models"] if each["name"] == "tiny+rude:latest"]
    assert tagged["ouvert"]["adapters"] == [said]
    assert tagged["details"]["parent_model"] == "tiny"
    shown = client.post("/api/show", json={"model": "tiny+rude"}).json()
    assert shown["modelfile"] == "FROM tiny\nADAPTER rude\n"
    assert "adapters" not in client.get("/v1/models/tiny").json()["ouvert"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tiny+nothing", "tiny has no adapter 'nothing' here. This server offers: tiny, tiny+loud, tiny+rude."),
        ("tiny+rude+rude", "rude is named twice"),
        ("tiny+../x", "There is no model 'tiny+../x' here."),
        ("tiny++", "There is no model 'tiny++' here."),
        ("tiny" + "+" * 500, "There is no model"),
        ("tiny+" + "rude+" * 100, "There is no model"),
        ("nothing+rude", "There is no model 'nothing+rude' here."),
        ("+rude", "There is no model '+rude' here."),
    ],
)
def test_a_name_that_is_none_is_not_found(client, name, sentence):
    for answer in (ask(client, name), client.get(f"/v1/models/{name}"), messages(client, name)):
        assert answer.status_code == 404
        assert sentence in answer.json()["error"]["message"]


def test_a_name_of_ten_thousand_signs_is_refused(client):
    assert ask(client, "tiny" + "+" * 10_000).status_code == 400
    assert client.post("/v1/completions", json={"model": "tiny+" * 10_000, "prompt": "x"}).status_code in (400, 404)
    assert text_of(ask(client, "tiny")) == HELLO


def test_a_model_whose_own_name_holds_the_sign_is_meant_first(start_server, home, speaking_model):
    Store(home).pull(str(speaking_model()), name="tiny+rude")
    with start_server(home=home, models=("tiny",)).client() as client:
        assert names(client) == ["tiny", "tiny+loud", "tiny+rude", "tiny+rude+loud", "tiny+rude+rude"]
        assert text_of(ask(client, "tiny+rude")) == HELLO
        assert text_of(ask(client, "tiny+rude+rude")) == RUDE


# --- as they come and go ---


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_adapter_that_is_made_meanwhile_is_there_and_one_that_is_removed_is_gone(
    start_server, home, speaking_adapter
):
    server = start_server(home=home, models=("tiny",))
    store = Store(home)
    with server.client() as client:
        store.adapters.remove("rude")
        assert ask(client, "tiny+rude").status_code == 404
        speaking_adapter(store, "rude", as_after=" from")
        assert names(client) == ["tiny", "tiny+loud", "tiny+rude"]
        assert text_of(ask(client, "tiny+rude")) == " a tiny model."
        digest = store.adapters.record("rude").digest
        store.adapters.remove("rude")
        assert names(client) == ["tiny", "tiny+loud"]
        assert ask(client, "tiny+rude").status_code == 404
        [model] = server.service.loaded_models.models()
        until(lambda: digest not in model.engine.adapters.digests)
        assert text_of(ask(client, "tiny")) == HELLO
        assert text_of(ask(client, "tiny+loud")) == "Hello model."


def test_an_answer_under_way_ends_with_the_adapter_that_it_began_with(start_server, home, speaking_adapter):
    server = start_server(home=home, models=("tiny",))
    store = Store(home)
    speaking_adapter(store, "endless", after=" model", as_after=" a")  # "tiny model tiny model ..."
    body = {"model": "tiny+endless", "messages": QUESTION, "stream": True, "max_tokens": 1500}
    with server.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            for _ in range(8):
                next(lines)
            store.adapters.remove("endless")
            assert ask(client, "tiny+endless").status_code == 404
            assert text_of(ask(client, "tiny")) == HELLO
            rest = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        said = "".join(each["choices"][0]["delta"].get("content") or "" for each in rest if each["choices"])
        assert "tiny model" in said
        assert said.endswith(("tiny", "model"))  # never a full stop, as without it
        [model] = server.service.loaded_models.models()
        until(lambda: len(model.engine.adapters.digests) == 0)


def test_two_servers_of_one_store_both_see_what_comes_and_goes(start_server, home, speaking_adapter):
    store = Store(home)
    servers = [start_server(home=home, models=("tiny",)) for _ in range(2)]
    for name, text in (("rude", RUDE), ("late", " a tiny model.")):
        if name == "late":
            speaking_adapter(store, name, as_after=" from")
        for server in servers:
            with server.client() as client:
                assert text_of(ask(client, f"tiny+{name}")) == text
    store.adapters.remove("late")
    for server in servers:
        with server.client() as client:
            assert ask(client, "tiny+late").status_code == 404


@pytest.mark.parametrize("damage", ["record", "weights", "numbers"])
def test_a_damaged_adapter_is_a_clear_error_and_the_base_goes_on(start_server, home, damage):
    folder = home / "adapters" / "rude"
    path = folder / ("ouvert.json" if damage == "record" else "adapter_model.safetensors")
    data = path.read_bytes()
    spoilt = data[: len(data) // 2] if damage != "numbers" else data[:-3] + bytes([data[-3] ^ 0x40]) + data[-2:]
    path.write_bytes(spoilt)
    with start_server(home=home, models=("tiny",)).client() as client:
        refused = ask(client, "tiny+rude")
        assert refused.status_code == 404
        assert "rude" in refused.json()["error"]["message"]
        assert str(home) not in refused.text
        assert text_of(ask(client, "tiny")) == HELLO
        assert text_of(ask(client, "tiny+loud")) == "Hello model."


def test_a_name_that_is_no_adapter_of_the_model_is_refused_with_both_digests(start_server, home):
    path = home / "adapters" / "rude" / "ouvert.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "base": {**facts["base"], "name": "tiny", "weights": "sha256:" + "0" * 64}}))
    with start_server(home=home, models=("tiny",)).client() as client:
        assert names(client) == ["tiny", "tiny+loud"]
        refused = ask(client, "tiny+rude")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
        assert "sha256:" + "0" * 64 in refused.json()["error"]["message"]
        assert facts["base"]["weights"] in refused.json()["error"]["message"]


# --- whose they are ---


def test_a_key_admits_adapters_with_their_model(start_server, home, speaking_model, tmp_path):
    Store(home).pull(str(speaking_model({"\n": "Other", "Other": "."})), name="secret")
    server = start_server(home=home, models=("tiny",), state=tmp_path / "state")
    _, mine = server.service.keys.create("mine", models=("tiny",))
    _, others = server.service.keys.create("others", models=("secret",))
    with server.client(headers={"authorization": f"Bearer {mine}"}) as client:
        assert text_of(ask(client, "tiny+rude")) == RUDE
        assert names(client) == ["tiny", "tiny+loud", "tiny+rude"]
    with server.client(headers={"authorization": f"Bearer {others}"}) as client:
        assert names(client) == ["secret"]
        for name in ("tiny+rude", "secret+rude"):
            refused = ask(client, name)
            assert refused.status_code == 404
            for word in ("loud", "tiny," if name.startswith("secret") else "loud", "sha256"):
                assert word not in refused.json()["error"]["message"]


def test_only_what_the_owner_named_is_offered(start_server, kept):
    server = start_server(home=kept, models=("tiny",), only_these=True, adapters=("rude",))
    with server.client() as client:
        assert names(client) == ["tiny", "tiny+rude"]
        assert ask(client, "tiny+loud").status_code == 404
    with start_server(home=kept, models=("tiny+loud",), only_these=True).client() as client:
        assert names(client) == ["tiny", "tiny+loud"]
    with start_server(home=kept, models=("tiny",), only_these=True).client() as client:
        assert names(client) == ["tiny"]


def test_a_model_that_is_a_path_has_its_adapters_too(start_server, kept, speaking_model):
    with start_server(
        home=kept, models=(str(speaking_model()),), only_these=True, adapters=("rude",)
    ).client() as client:
        assert text_of(ask(client, "tiny+rude")) == RUDE
        assert names(client) == ["tiny", "tiny+rude"]


# --- states ---


def test_an_adapter_with_a_regression_is_served_only_where_its_owner_says_why(start_server, home):
    store = Store(home)
    record = store.adapters.note("rude", store.adapters.record("rude").digest, state="regression")
    with start_server(home=home, models=("tiny",)).client() as client:
        refused = ask(client, "tiny+rude")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "adapter_regression")
        assert "A check of the adapter rude found a regression" in refused.json()["error"]["message"]
        assert ask(client, "tiny+loud").status_code == 200
        assert ask(client, "tiny+loud+rude").status_code == 403
        assert client.get("/v1/models/tiny+rude").json()["ouvert"]["adapters"][0]["shown"] == "regression, not gated"
    assert store.adapters.allowed(record.digest) == ()
    with start_server(home=home, models=("tiny",), allow="a demo on my own machine").client() as client:
        answers = [ask(client, "tiny+rude") for _ in range(3)]
        assert {answer.headers[HEADER] for answer in answers} == {"regression, not gated"}
        [line] = store.adapters.allowed(record.digest)
        assert (line["adapter"], line["reason"]) == ("rude", "a demo on my own machine")


def test_a_state_that_changes_while_the_model_is_loaded_is_shown_at_once(start_server, home):
    store = Store(home)
    digest = store.adapters.record("rude").digest
    with start_server(home=home, models=("tiny",)).client() as client:
        for state, shown in (("checked", "checked, not gated"), ("gated", "gated")):
            assert ask(client, "tiny+rude").status_code == 200
            store.adapters.note("rude", digest, state=state)
            answer = ask(client, "tiny+rude")
            assert answer.headers[HEADER] == shown
            assert answer.json()["ouvert"]["receipt"]["adapters"][0]["state"] == state
        assert ask(client, "tiny+loud+rude").headers[HEADER] == "unchecked, not gated"  # never checked together
        store.adapters.note("rude", digest, state="regression")
        assert ask(client, "tiny+rude").status_code == 403


def test_a_model_with_an_adapter_is_not_removed_as_a_model(client):
    refused = client.request("DELETE", "/api/delete", json={"model": "tiny+rude"})
    assert refused.status_code == 409
    assert "`ouvert adapter remove` removes adapters" in refused.json()["error"]
