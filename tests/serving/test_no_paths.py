"""No error that reaches a client holds a path of the machine, in any dialect; the log has it."""

import json
import logging
import shutil

import pytest

from ouvert.serving.app import ENDPOINTS
from ouvert.serving.sentences import log_once, without_folders

QUESTION = [{"role": "user", "content": "Hi"}]
# What asks a model something -> the rest of its body; {"stream": True} beside each.
ASKING = {
    "/v1/chat/completions": {"messages": QUESTION},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 5},
    "/v1/messages/count_tokens": {"messages": QUESTION},
    "/tokenize": {"prompt": "Hi"},
    "/api/chat": {"messages": QUESTION},
    "/api/generate": {"prompt": "Hi"},
    "/api/embed": {"input": "Hi"},
    "/api/show": {},
}
PLACE = "anna b/secret place"


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def of_no_family(folder):
    (folder / "config.json").write_text('{"model_type": "none of ours"}')


def with_a_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")


def with_broken_advice(folder):
    (folder / "generation_config.json").write_text("{")


FAULTS = [cut, of_no_family, with_a_broken_tokenizer, with_broken_advice]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
def test_what_is_wrong_with_a_models_files_is_said_without_their_folder(
    fault, start_server, speaking_model, tmp_path, caplog
):
    folder = tmp_path / PLACE / "tiny"
    shutil.copytree(speaking_model(), folder)
    fault(folder)
    server = start_server(models=(str(folder),))
    log_once.cache_clear()
    refusals = 0
    with server.client() as client, caplog.at_level(logging.WARNING, "ouvert.serving"):
        for path, body in ASKING.items():
            for more in ({}, {"stream": True}):
                answer = client.post(path, json={"model": "tiny", **body, **more})
                refusals += answer.status_code >= 400
                assert_no_path(answer, tmp_path)
        for endpoint in ENDPOINTS:
            # What can be had is told from tables, and measures the machine first.
            if endpoint.method == "GET" and "{" not in endpoint.path and "obtainable" not in endpoint.path:
                assert_no_path(client.get(endpoint.path), tmp_path)
        assert_no_path(client.get("/v1/models/tiny"), tmp_path)
    assert refusals > 5
    assert str(folder) in caplog.text


def test_a_request_of_a_batch_says_no_folder_either(start_server, speaking_model, tmp_path):
    folder = tmp_path / PLACE / "tiny"
    shutil.copytree(speaking_model(), folder)
    cut(folder)
    server = start_server(models=(str(folder),), state=tmp_path / "state")
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    lines = json.dumps(line | {"body": {"model": "tiny", "messages": QUESTION}})
    with server.client() as client:
        file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", lines)}).json()
        asked = {"input_file_id": file["id"], "endpoint": line["url"], "completion_window": "24h"}
        batch = client.post("/v1/batches", json=asked).json()
        while batch["status"] not in ("completed", "failed"):
            answer = client.get(f"/v1/batches/{batch['id']}")
            assert_no_path(answer, tmp_path)
            batch = answer.json()
        assert batch["error_file_id"] or batch["errors"]
        if batch["error_file_id"]:
            assert_no_path(client.get(f"/v1/files/{batch['error_file_id']}/content"), tmp_path)


def assert_no_path(answer, folder):
    said = answer.text.replace("\\/", "/")
    assert str(folder) not in said, (answer.request.url, said)
    assert PLACE.partition("/")[2] not in said, (answer.request.url, said)


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ("/home/anna b/my models/x.gguf: tensor 'a' is bad", "x.gguf: tensor 'a' is bad"),
        ("loading /x/y: see /a/b/c.", "loading y: see c."),
        ("reading '/a b/c d/e.json' (no), ~/f/g.txt; h", "reading 'e.json' (no), g.txt; h"),
        ("[Errno 2] No such file or directory: '/models'", "[Errno 2] No such file or directory: 'models'"),
        ("docs/formats/x.md, a/b and/or 1 / 2", "docs/formats/x.md, a/b and/or 1 / 2"),
        ("asking http://10.0.0.5:80/v1/models: no", "asking http://10.0.0.5:80/v1/models: no"),
    ],
)
def test_of_a_path_the_last_name_stays(whole, said):
    assert without_folders(whole) == said
