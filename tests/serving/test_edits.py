"""Edits over HTTP: in every dialect that takes them, for those who may, and said where an answer was edited."""

import json

import numpy as np
import pytest

from ouvert.cli import main
from ouvert.inspection import Direction, write_direction
from ouvert.serving.keys import Keys
from ouvert.store import Directions

SILENT = {"operation": "zero", "tap": "layers.*.*.out"}
STATE = "ouvert-state"
MESSAGES = [{"role": "user", "content": "Hi"}]
ASKED = {
    "/v1/chat/completions": {"messages": MESSAGES, "temperature": 0},
    "/v1/responses": {"input": "Hi", "temperature": 0},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 20, "temperature": 0},
}


@pytest.fixture(scope="module")
def here(start_server, speaking_model, tmp_path_factory):
    """(server, its home, its keys); it serves `tiny`."""
    folder = tmp_path_factory.mktemp("edits")
    (folder / "tiny").symlink_to(speaking_model())
    server = start_server(home=folder / "home", models=(str(folder / "tiny"),), state=folder / "state")
    return server, folder / "home", Keys(folder / "state")


@pytest.fixture
def client(here):
    with here[0].client() as client:
        yield client


def asked(path, edits=(), **more):
    return {"model": "tiny", **ASKED[path], "ouvert": {"edits": list(edits), "receipt": "full"}, **more}


@pytest.mark.parametrize("path", ASKED)
def test_an_edited_answer_says_so_in_a_header_and_in_its_receipt(client, path):
    plain = client.post(path, json=asked(path))
    edited = client.post(path, json=asked(path, [SILENT | {"positions": "last"}]))
    assert (plain.status_code, plain.headers.get(STATE)) == (200, None)
    assert (edited.status_code, edited.headers[STATE]) == (200, "edited")
    [listed] = edited.json()["ouvert"]["receipt"]["edits"]
    assert (listed["operation"], listed["tap"], listed["stop"]) == ("zero", SILENT["tap"], listed["start"] + 1)
    assert "edits" not in plain.json()["ouvert"]["receipt"]


@pytest.mark.parametrize("path", ASKED)
def test_a_stream_of_an_edited_answer_has_the_header(client, path):
    response = client.post(path, json=asked(path, [SILENT], stream=True))
    assert (response.status_code, response.headers[STATE]) == (200, "edited")
    assert client.post(path, json=asked(path, stream=True)).headers.get(STATE) is None


def test_strength_0_is_the_plain_answer_and_the_fingerprint_is_that_of_the_variant(client):
    path = "/v1/chat/completions"
    plain, nothing = (client.post(path, json=asked(path, edits)).json() for edits in ([], [SILENT | {"strength": 0}]))
    assert plain["choices"] == nothing["choices"]
    assert plain["system_fingerprint"] != nothing["system_fingerprint"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"operation": "zero", "tap": "layers.0.out", "position": "last"}, "position"),
        ({"operation": "zero", "tap": "layers.0.out", "positions": "end"}, "positions"),
        ({"operation": "zero", "tap": "layers.0.outs"}, "no such value"),
        ({"operation": "add", "tap": "layers.0.out", "values": [1.0]}, "1 values, expected"),
        ({"operation": "add", "tap": "layers.0.out"}, "no values"),
        ({"operation": "add", "tap": "layers.0.out", "direction": "none"}, "no direction 'none'"),
        ({"operation": "zero", "tap": "layers.0.out", "message": 9}, "no tokens of such a message"),
        ({"operation": "add", "tap": "layers.0.out", "values": [1.0], "direction": "x"}, "both given"),
        ({"operation": "scale", "tap": "layers.0.out", "values": [True]}, "values"),
        ({"operation": "zero", "tap": "layers.0.out", "strength": "1"}, "strength"),
    ],
)
@pytest.mark.parametrize("path", ASKED)
def test_what_cannot_be_is_refused_by_name(client, path, edit, said):
    response = client.post(path, json=asked(path, [edit]))
    assert response.status_code == 400, response.text
    assert said in response.json()["error"]["message"]
    assert "/home" not in response.text


@pytest.mark.parametrize("path", ["/v1/completions", "/api/chat", "/api/generate"])
def test_where_edits_are_not_taken_they_are_refused(client, path):
    body = {"model": "tiny", "prompt": "Hi", "messages": MESSAGES, "ouvert": {"edits": [SILENT]}}
    body.pop("prompt" if path == "/api/chat" else "messages")
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert "edits" in response.text


def test_a_stored_direction_is_named(here, client):
    _, home, _ = here
    path = "/v1/chat/completions"
    refused = client.post(path, json=asked(path, [{"operation": "add", "tap": "layers.0.out", "values": [1.0]}]))
    width = int(refused.json()["error"]["message"].split("expected ")[1].split()[0])
    vector = np.random.default_rng(1).standard_normal(width).astype(np.float32)
    Directions(home).put(
        "formal", lambda file: write_direction(Direction({0: vector}, {"format": "ouvert.direction/1"}), file)
    )
    named = {"operation": "add", "tap": "layers.0.out", "direction": "formal", "strength": 2.0}
    spelled = {"operation": "add", "tap": "layers.0.out", "values": [float(v) for v in vector], "strength": 2.0}
    digests = []
    for edit in (named, spelled):
        answer = client.post(path, json=asked(path, [edit]))
        assert answer.status_code == 200, answer.text
        digests.append(answer.json()["ouvert"]["receipt"]["edits"][0]["digest"])
    assert digests[0] == digests[1]


def test_a_key_edits_only_where_that_was_granted(start_server, speaking_model, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny").symlink_to(speaking_model())
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    secrets = {}
    for name, arguments in {"plain": [], "editor": ["--scope", "edit"], "looker": ["--scope", "inspect"]}.items():
        assert main(["key", "create", name, *arguments]) == 0
        secrets[name] = capsys.readouterr().out.strip()
    assert main(["key", "list"]) == 0
    assert "edit" in capsys.readouterr().out
    server = start_server(models=(str(tmp_path / "tiny"),), state=tmp_path / "home" / "server")
    path = "/v1/chat/completions"
    with server.client() as client:
        for name, expected in {"plain": 403, "looker": 403, "editor": 200}.items():
            headers = {"authorization": f"Bearer {secrets[name]}"}
            response = client.post(path, json=asked(path, [SILENT]), headers=headers)
            assert response.status_code == expected, response.text
            assert client.post(path, json=asked(path), headers=headers).status_code == 200
            if expected == 403:
                assert "ouvert key create" in response.json()["error"]["message"]


def test_a_key_kept_before_there_were_scopes_has_none(tmp_path):
    keys = Keys(tmp_path)
    keys.create("old")
    file = tmp_path / "keys.json"
    stated = json.loads(file.read_text())
    del stated["keys"][0]["scopes"]
    file.write_text(json.dumps(stated))
    assert [key.scopes for key in Keys(tmp_path).every()] == [()]


def test_a_place_that_no_sequence_has_is_refused(client):
    path = "/v1/chat/completions"
    refused = client.post(path, json=asked(path, [SILENT | {"positions": [2**70]}]))
    assert refused.status_code == 400
    assert "expected 0 <= start < stop <= 2147483647" in refused.json()["error"]["message"]
