"""/ouvert/traces: an answer looked into over HTTP, for the owner alone."""

import asyncio
import base64
import gzip
import json
import os
import re
import sys
import threading

import pytest

from ouvert.serving.callers import Caller
from ouvert.serving.giving_way import giving_way
from ouvert.serving.keys import Key


@pytest.fixture(scope="module")
def server(start_server, speaking_model):
    return start_server(models=(str(speaking_model()),))


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


MESSAGES = [{"role": "user", "content": "again"}]


def name_of(client):
    return client.get("/v1/models").json()["data"][0]["id"]


@pytest.fixture
def answer(client):
    body = {"model": name_of(client), "messages": MESSAGES, "temperature": 0, "ouvert": {"receipt": "full"}}
    return client.post("/v1/chat/completions", json=body).json()


def ended(client, made):
    """The trace at its end, as its events tell it."""
    assert made.status_code == 202, made.text
    with client.stream("GET", f"/ouvert/traces/{made.json()['id']}/events") as stream:
        told = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]
    assert [facts["state"] for facts in told[:-1]] <= ["running"] * len(told) or "queued" in {t["state"] for t in told}
    return told[-1]


@pytest.fixture
def trace(client):
    made = client.post("/ouvert/traces", json={"model": name_of(client), "messages": MESSAGES, "temperature": 0})
    return ended(client, made)


def test_a_conversation_is_answered_and_looked_into(client, trace):
    assert trace["state"] == "done"
    assert trace["progress"]["done"] == trace["progress"]["total"] == len(trace["tokens"])
    said = "".join(token["text"] for token in trace["tokens"] if token["part"] == "answer")
    assert said == "Hello from a tiny model.<|im_end|>"
    assert client.get(f"/ouvert/traces/{trace['id']}").json() == trace
    assert trace["id"] in [each["id"] for each in client.get("/ouvert/traces").json()["data"]]


@pytest.mark.parametrize(
    ("view", "asked"),
    [
        ("confidence", ""),
        ("lens", "?top=2&layers=all&positions=answer"),
        ("lens", "?layers=0&positions=1,2"),
        ("focus", "?tokens=3,4"),
        ("attention", "?layer=0&head=0,1&query=answer&values=true"),
        ("attribution", "?heads=true&position=5"),
    ],
)
def test_views_are_those_of_the_format(client, trace, view, asked):
    shown = client.get(f"/ouvert/traces/{trace['id']}/{view}{asked}")
    assert shown.status_code == 200, shown.text
    assert shown.json()["view"] == view
    assert shown.json()["kind"] == "observation"
    assert shown.json()["how"]["lines"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("lens?topp=2", "topp"),
        ("lens?top=many", "expected numbers"),
        ("lens?top=0", "top=0"),
        ("lens?layers=9", "numbers from 0 to 0"),
        ("lens?positions=nowhere", "positions"),
        ("attention", "layer always"),
        ("attention?layer=0&values=perhaps", "expected numbers"),
        ("experts", "has no experts.chosen"),
        ("states", "has no mixer.state_norm"),
        ("focus?tokens=no%20such%20token", "expected one"),
        ("focus?tokens=99999999999999999999999", "expected an id from 0 to"),
        ("attribution?token=99999999999999999999999", "expected an id from 0 to"),
        ("lens?layers=every%20²", "expected all, every N"),
        ("lens?positions=message%20" + "9" * 5000, "expected all, prompt"),
        ("page?word=false", "expected words"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(client, trace, asked, said):
    refused = client.get(f"/ouvert/traces/{trace['id']}/{asked}")
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_an_answer_of_this_server_is_opened_by_its_id_and_its_messages(client, answer):
    body = {"receipt": answer["ouvert"]["receipt_id"], "messages": MESSAGES, "model": name_of(client)}
    trace = ended(client, client.post("/ouvert/traces", json=body))
    assert trace["state"] == "done", trace
    receipt = answer["ouvert"]["receipt"]
    assert len(trace["tokens"]) == receipt["tokens"]["prompt"] + receipt["tokens"]["output"]
    whole = ended(client, client.post("/ouvert/traces", json=body | {"receipt": receipt}))
    assert whole["receipt"] == trace["receipt"]


def test_what_was_not_said_is_no_answer_and_the_trace_says_so(client, answer):
    body = {"receipt": answer["ouvert"]["receipt_id"], "model": name_of(client)}
    other = [{"role": "user", "content": "something else"}]
    trace = ended(client, client.post("/ouvert/traces", json=body | {"messages": other}))
    assert trace["state"] == "failed"
    assert "not those of the receipt" in trace["fault"]
    refused = client.get(f"/ouvert/traces/{trace['id']}/lens")
    assert refused.status_code == 400
    unknown = ended(client, client.post("/ouvert/traces", json=body))
    assert "what was said is not known" in unknown["fault"]


def test_the_plan_is_told_before_and_on_request_alone(client):
    body = {"model": name_of(client), "ids": [1, 2, 3], "record": ["layers.0.out"]}
    plan = client.post("/ouvert/traces", json=body | {"plan": True}).json()
    assert plan["plan"]["tokens"] == 3
    made = client.post("/ouvert/traces", json=body)
    assert made.json()["plan"]["bytes"] == plan["plan"]["bytes"]
    assert ended(client, made)["recorded"][0]["bytes"] == plan["plan"]["bytes"]
    refused = client.post("/ouvert/traces", json=body | {"max_bytes": 5})
    assert refused.status_code == 400
    assert f"takes {plan['plan']['bytes']} bytes, expected at most 5" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "m"},
        {"model": "m", "text": "a", "ids": [1]},
        {"text": "a"},
        {"model": "m", "ids": [1], "edits": []},
        {"model": "m", "ids": [1], "max_bytes": 0},
        {"model": "m", "ids": [1], "max_bytes": 10**12},
        {"receipt": {"model": 3}},
        {"receipt": {}},
        {"receipt": "unknown"},
    ],
)
def test_requests_that_make_no_sense_are_refused(client, body):
    assert 400 <= client.post("/ouvert/traces", json=body).status_code < 500


def test_a_field_that_is_not_known_is_called_so(client):
    error = client.post("/ouvert/traces", json={"model": "m", "ids": [1], "colour": 1}).json()["error"]
    assert error["param"] == "colour"
    assert error["message"].startswith("colour is not known here")


@pytest.mark.parametrize("receipt", [{"tokens": {"prompt": -1, "output": 2}}, {"tokens": {"prompt": 1, "output": 2}}])
def test_a_receipt_that_is_none_is_refused_or_fails_in_a_sentence(client, receipt):
    made = client.post("/ouvert/traces", json={"model": name_of(client), "receipt": receipt})
    if made.status_code != 400:
        assert "receipt" in ended(client, made)["fault"]


def page_data(html):
    return gzip.decompress(base64.b64decode(re.search(rb'id="data">([A-Za-z0-9+/=]*)<', html)[1]))


def test_a_trace_is_a_file_with_and_without_its_words(client, trace):
    whole = client.get(f"/ouvert/traces/{trace['id']}/tensors")
    assert "attachment" in whole.headers["content-disposition"]
    assert b"Hello" in whole.content
    assert b"Hello" not in client.get(f"/ouvert/traces/{trace['id']}/tensors?words=false").content
    page = client.get(f"/ouvert/traces/{trace['id']}/page")
    assert page.content.startswith(b"<!doctype html>")
    assert "attachment" in page.headers["content-disposition"]
    assert b"Hello" in page_data(page.content)
    assert b"Hello" not in page_data(client.get(f"/ouvert/traces/{trace['id']}/page?words=false").content)


def test_a_trace_is_removed(client, trace):
    assert client.delete(f"/ouvert/traces/{trace['id']}").json()["deleted"]
    assert client.get(f"/ouvert/traces/{trace['id']}").status_code == 404
    assert client.delete(f"/ouvert/traces/{trace['id']}").status_code == 404


def test_only_the_last_few_are_kept(client):
    body = {"model": name_of(client), "ids": [1, 2]}
    ids = [ended(client, client.post("/ouvert/traces", json=body))["id"] for _ in range(10)]
    kept = [each["id"] for each in client.get("/ouvert/traces").json()["data"]]
    assert kept == ids[-8:]


def test_nobody_but_the_owner_looks_inside(client, server, monkeypatch, trace):
    monkeypatch.setattr("ouvert.serving.app.identify", lambda request, keys: Caller("key:1", None, True))
    for method, path in (
        ("GET", "/ouvert/traces"),
        ("GET", f"/ouvert/traces/{trace['id']}"),
        ("POST", "/ouvert/traces"),
    ):
        assert (
            client.request(method, path, json={"model": "m", "ids": [1]} if method == "POST" else None).status_code
            == 403
        )
    foreign = {"origin": "https://elsewhere.example"}
    monkeypatch.undo()
    assert client.get("/ouvert/traces", headers=foreign).status_code == 403


def test_a_model_that_was_loaded_anew_is_said(client, server, trace):
    server.app.state.traces.of(trace["id"], "").model = object()
    refused = client.get(f"/ouvert/traces/{trace['id']}/lens?top=3")
    assert refused.status_code == 410
    assert "loaded anew" in refused.json()["error"]["message"]


def caller_with(monkeypatch, *scopes):
    key = Key(id="1", name="k", digest="", created="", scopes=scopes)
    monkeypatch.setattr("ouvert.serving.app.identify", lambda request, keys: Caller("key:1", key, True))


def test_a_key_with_the_scope_sees_its_own_traces_and_no_others(client, monkeypatch, trace):
    caller_with(monkeypatch, "inspect")
    assert client.get("/ouvert/traces").json()["data"] == []
    assert client.get(f"/ouvert/traces/{trace['id']}").status_code == 404
    made = ended(client, client.post("/ouvert/traces", json={"model": name_of(client), "ids": [1, 2]}))
    assert made["state"] == "done"
    edits = [{"operation": "scale", "tap": "layers.0.attention.out", "values": [0.5]}]
    refused = client.post("/ouvert/traces", json={"model": name_of(client), "ids": [1, 2], "edits": edits})
    assert refused.status_code == 403
    assert "scope edit" in refused.json()["error"]["message"]


def test_an_edited_model_is_looked_into_as_an_intervention(client):
    edits = [{"operation": "scale", "tap": "layers.0.attention.out", "values": [0.5]}]
    for asked in ({"messages": MESSAGES}, {"ids": [1, 2, 3]}):
        made = ended(client, client.post("/ouvert/traces", json={"model": name_of(client), "edits": edits, **asked}))
        assert made["kind"] == "intervention", made
        assert client.get(f"/ouvert/traces/{made['id']}/lens").json()["kind"] == "intervention"


def test_names_of_values_are_not_so_many_that_comparing_them_takes_long(client):
    body = {"model": name_of(client), "ids": [1], "plan": True}
    assert client.post("/ouvert/traces", json=body | {"record": ["layers.*.out"] * 256}).status_code == 200
    for names in (["layers.*.out"] * 257, ["l" * 129]):
        refused = client.post("/ouvert/traces", json=body | {"record": names})
        assert refused.status_code == 400
        assert "record" in refused.json()["error"]["message"]


def test_a_lens_of_very_many_tokens_is_refused_before_it_takes_the_memory(client, monkeypatch):
    made = client.post("/ouvert/traces", json={"model": name_of(client), "ids": [1, 2, 3, 4]})
    trace = ended(client, made)
    monkeypatch.setattr("ouvert.inspection.trace.MOST_IN_LENS", 19)
    assert client.get(f"/ouvert/traces/{trace['id']}/lens?top=4").status_code == 200
    refused = client.get(f"/ouvert/traces/{trace['id']}/lens?top=5")
    assert refused.status_code == 400
    assert "are 20, expected at most 19" in refused.json()["error"]["message"]


def test_looking_gives_way_to_answers():
    def seen():
        return threading.current_thread().name, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = seen()
    name, niceness = asyncio.run(giving_way(seen))
    assert name.startswith("ouvert-look")
    # Where a thread has no priority of its own (macOS), all stay as they are.
    assert niceness == (max(before[1], 10) if sys.platform == "linux" else before[1])
    assert seen() == before
