"""/ouvert/patches, /ouvert/microscopes and /ouvert/directions over HTTP."""

import json

import pytest

from ouvert.serving.callers import Caller
from ouvert.serving.keys import Key


@pytest.fixture(scope="module")
def server(start_server, speaking_model):
    return start_server(models=(str(speaking_model()),))


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def model(client):
    return client.get("/v1/models").json()["data"][0]["id"]


def ended(client, path, made):
    """The study at its end, as its events tell it."""
    assert made.status_code == 202, made.text
    with client.stream("GET", f"/ouvert/{path}/{made.json()['id']}/events") as stream:
        told = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1]["state"] in ("done", "failed")
    return told[-1]


def patch_body(model, **changes):
    body = {"model": model, "clean": "abc", "corrupted": "ab\n", "metric": {"of": ".", "less": "y"}, "donors": 2}
    return body | changes


def test_a_patch_is_priced_computed_listed_and_removed(client, model):
    done = ended(client, "patches", client.post("/ouvert/patches", json=patch_body(model)))
    assert done["state"] == "done"
    assert done["plan"]["cells"] == done["progress"]["total"] == 3
    assert done["result"]["view"] == "patch"
    assert done["result"]["effects"][-1][-1] == 1
    assert client.get(f"/ouvert/patches/{done['id']}").json() == done
    assert done["id"] in [each["id"] for each in client.get("/ouvert/patches").json()["data"]]
    assert client.delete(f"/ouvert/patches/{done['id']}").json()["deleted"]
    assert client.get(f"/ouvert/patches/{done['id']}").status_code == 404


def test_what_cannot_be_patched_is_said_when_it_ends(client, model):
    made = client.post("/ouvert/patches", json=patch_body(model, corrupted="abcd"))
    done = ended(client, "patches", made)
    assert done["state"] == "failed"
    assert "3 tokens and the corrupted one 4" in done["fault"]


@pytest.mark.parametrize(
    "changes",
    [{"donors": 99}, {"direction": "up"}, {"metric": {"kind": "x"}}, {"extra": 1}, {"clean": []}, {"seed": -1}],
)
def test_a_wrong_body_is_refused_at_once(client, model, changes):
    assert client.post("/ouvert/patches", json=patch_body(model, **changes)).status_code == 400


def test_an_ablation(client, model):
    body = {"model": model, "prompt": "ab\n", "metric": {"of": ".", "less": "y"}, "of": "layers"}
    done = ended(client, "ablations", client.post("/ouvert/ablations", json=body))
    assert done["result"]["view"] == "ablation"
    assert len(done["result"]["changes"]) == 1
    text = body | {"metric": {"kind": "text_log_probability"}, "of": "experts"}
    assert "have no experts.weights" in ended(client, "ablations", client.post("/ouvert/ablations", json=text))["fault"]


def test_the_microscope(client, model):
    body = {"model": model, "texts": {"own": "Some words."}}
    done = ended(client, "microscopes", client.post("/ouvert/microscopes", json=body))
    assert [text["name"] for text in done["result"]["texts"]] == ["own"]
    same = ended(client, "microscopes", client.post("/ouvert/microscopes", json=body | {"against": model}))
    assert same["result"]["reference"]["exact"] is True


def test_a_direction_is_made_shown_tested_fetched_and_removed(client, model):
    sets = {name: [f"{first}x{letter * 3}" for first in "abcdefghi"] for name, letter in
            (("positive", "y"), ("negative", "z"))}  # fmt: skip
    body = {"model": model, "name": "kind", **sets}
    done = ended(client, "direction-runs", client.post("/ouvert/directions", json=body))
    assert done["result"]["auc"]["held_out"] == 1
    assert client.post("/ouvert/directions", json=body).status_code == 409
    assert [each["name"] for each in client.get("/ouvert/directions").json()["data"]] == ["kind"]
    shown = client.get("/ouvert/directions/kind").json()
    assert shown["chosen"] == shown["layers"][0] == 0
    trial = {"model": model, "prompts": ["ab"], "of": "y", "less": "z", "randoms": 2, "neutral": "some words"}
    tested = ended(client, "direction-tests", client.post("/ouvert/directions/kind/tests", json=trial))
    assert len(tested["result"]["edits"]) == 3
    assert client.get("/ouvert/directions/kind/file?as=npz").content.startswith(b"PK")
    assert client.get("/ouvert/directions/kind/file?as=pt").status_code == 400
    assert "of layer 0 only" in client.get("/ouvert/directions/kind/file?as=gguf").text
    assert client.delete("/ouvert/directions/kind").json()["deleted"]
    assert client.get("/ouvert/directions/kind").status_code == 404
    assert client.get("/ouvert/directions/..%2f..%2fx").status_code == 404


def caller_with(monkeypatch, *scopes):
    key = Key(id="1", name="k", digest="", created="", scopes=scopes)
    monkeypatch.setattr("ouvert.serving.app.identify", lambda request, keys: Caller("key:1", key, True))


def test_a_key_needs_the_scope_and_sees_its_own_and_makes_no_direction(client, model, monkeypatch):
    own = ended(client, "patches", client.post("/ouvert/patches", json=patch_body(model)))
    caller_with(monkeypatch)
    for path in ("patches", "microscopes", "directions", "direction-tests"):
        assert client.get(f"/ouvert/{path}").status_code == 403
    assert client.post("/ouvert/patches", json=patch_body(model)).status_code == 403
    caller_with(monkeypatch, "inspect")
    assert client.get("/ouvert/patches").json()["data"] == []
    assert client.get(f"/ouvert/patches/{own['id']}").status_code == 404
    assert client.get("/ouvert/directions").status_code == 200
    body = {"model": model, "name": "new", "positive": ["a"], "negative": ["b"]}
    assert client.post("/ouvert/directions", json=body).status_code == 403
    assert client.delete("/ouvert/directions/new").status_code == 403
