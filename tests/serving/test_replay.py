"""What real programs sent, recorded, is answered: tests/goldens/serving. Their dialects' own tests look closer."""

import json
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[1] / "goldens" / "serving"
RECORDED = [
    pytest.param(json.loads(line), id=f"{file.stem}-{n}")
    for file in sorted(GOLDENS.glob("*.jsonl"))
    for n, line in enumerate(file.read_text(encoding="utf-8").splitlines())
]


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "gpt-oss:20b"
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


@pytest.mark.parametrize("request_", RECORDED)
def test_it_is_answered(harmony, request_):
    body = dict(request_["body"] or {})
    limit = {"/v1/responses": "max_output_tokens", "/api/chat": None}.get(request_["path"], "max_tokens")
    if request_["method"] == "GET":
        body = None
    elif limit is not None:  # the model's weights are random: it would not stop by itself
        body[limit] = 24
    with harmony.client() as client:
        response = client.request(request_["method"], request_["path"], json=body, headers=request_["headers"])
    assert response.status_code == 200, response.text
    if body and body.get("stream") and request_["path"].startswith("/v1"):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert '"error":{' not in response.text
