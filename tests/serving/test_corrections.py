"""/ouvert/corrections: kept on this machine, for the owner alone; and the prompts of training are the server's."""

import json
import stat

import pytest

from ouvert.cli.tuning_data import reader_of
from ouvert.serving import Keys
from ouvert.store import Corrections
from ouvert.tuning import Recipe, read_data

SAID = {
    "messages": [{"role": "system", "content": "Briefly."}, {"role": "user", "content": "again"}],
    "given": "Hello from a tiny model.",
    "wanted": "Yes.",
    "model": "tiny",
    "receipt": "chatcmpl-1",
}


@pytest.fixture
def server(start_server, speaking_model, tmp_path):
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    return start_server(models=(str(model),), home=tmp_path / "home", state=tmp_path / "state")


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def test_a_correction_is_kept_listed_and_removed(client, tmp_path):
    assert client.get("/ouvert/corrections").json() == {"object": "list", "data": []}
    made = client.post("/ouvert/corrections", json=SAID)
    assert made.status_code == 201
    assert {key: made.json()[key] for key in SAID} == SAID
    assert client.get("/ouvert/corrections").json()["data"] == [made.json()]
    [kept] = Corrections(tmp_path / "home").all()
    assert kept.facts == made.json()
    assert stat.S_IMODE((tmp_path / "home" / "corrections").stat().st_mode) == 0o700
    path = f"/ouvert/corrections/{kept.id}"
    assert client.delete(path).json() == {"id": kept.id, "object": "correction", "deleted": True}
    assert client.delete(path).status_code == 404
    assert Corrections(tmp_path / "home").all() == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wanted": "Hello from a tiny model."}, "nothing was corrected"),
        ({"wanted": ""}, "wanted"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a", "mood": "b"}]}, "mood"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "belongs into given and wanted"),
        ({"mood": "good"}, "mood"),
    ],
)
def test_what_is_no_correction_is_refused(client, changes, says):
    refused = client.post("/ouvert/corrections", json=SAID | changes)
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]
    assert client.get("/ouvert/corrections").json()["data"] == []


def test_nobody_but_the_owner_reads_or_writes_them(client, server, tmp_path):
    made = client.post("/ouvert/corrections", json=SAID).json()
    other = {"origin": "http://127.0.0.1:1"}
    assert client.get("/ouvert/corrections", headers=other).status_code == 403
    assert client.post("/ouvert/corrections", json=SAID, headers=other).status_code == 403
    _, secret = Keys(tmp_path / "state").create("guest", scopes=("inspect", "edit"))
    headers = {"authorization": f"Bearer {secret}"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    for refused in (
        client.get("/ouvert/corrections", headers=headers),
        client.post("/ouvert/corrections", json=SAID, headers=headers),
        client.delete(f"/ouvert/corrections/{made['id']}", headers=headers),
    ):
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "owner_only"


def test_a_damaged_file_is_said_without_its_place(client, tmp_path):
    made = client.post("/ouvert/corrections", json=SAID).json()
    (tmp_path / "home" / "corrections" / f"{made['id']}.json").write_text("{")
    answer = client.get("/ouvert/corrections")
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text
    assert "ouvert corrections list" in answer.json()["error"]["message"]


def test_the_prompt_that_is_trained_behind_is_the_one_that_was_answered(client, server, speaking_model, tmp_path):
    """Token for token: the correction's example begins with what POST /tokenize says of the same messages."""
    client.post("/ouvert/corrections", json=SAID)
    path = tmp_path / "corrections.jsonl"
    Corrections(tmp_path / "home").export(path)
    reader = reader_of(server.service.store.resolve(str(speaking_model())))
    [example] = read_data(path, Recipe.of({"safety": {"mix": 0}}), reader.chat, reader.tokenizer).train
    served = client.post("/tokenize", json={"model": "tiny", "messages": SAID["messages"]}).json()["tokens"]
    assert example.ids[: len(served)].tolist() == served
    assert not example.trained[: len(served)].any()
    assert example.trained[len(served) :].all()
    assert json.loads(path.read_text())["wanted"] == "Yes."
