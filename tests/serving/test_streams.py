"""Streams: one event is one line for every reader, whatever characters an answer has."""

import json

import pytest

from ouvert.serving.streams import as_json, json_text, sse

# All at which str.splitlines cuts, and so do clients that read with it.
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
HELLO = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def breaking(start_server, speaking_model, tmp_path_factory):
    """Serves a model that writes every end of a line."""
    model = tmp_path_factory.mktemp("models") / "breaking"
    model.symlink_to(speaking_model({"\n": f"a{LINE_ENDS}b", f"a{LINE_ENDS}b": "<|im_end|>"}))
    return start_server(models=(str(model),))


def test_json_is_one_line_and_reads_back():
    value = {LINE_ENDS: ["é", LINE_ENDS]}
    text = as_json(value).decode()
    assert text.splitlines() == [text]
    assert json.loads(text) == value
    assert "\u2028" in json_text(value)  # as a prompt has it, which a model wrote


def test_an_event_is_cut_nowhere_but_at_its_end():
    assert sse({"text": LINE_ENDS}).decode().splitlines()[1:] == [""]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": HELLO}),
        ("/api/generate", {"prompt": "Hi"}),
        ("/api/chat", {"messages": HELLO, "stream": False}),
        ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 9, "stream": True}),
        ("/v1/responses", {"input": "Hi", "stream": True}),
        ("/v1/completions", {"prompt": "Hi\n", "stream": True}),
    ],
)
def test_no_answer_has_an_end_of_a_line_within_an_event(breaking, path, body):
    with breaking.client() as client:
        response = client.post(path, json={"model": "breaking", **body})
    text = response.content.decode()
    assert response.status_code == 200, text
    assert "\\u2028" in text
    assert text.splitlines() == text.removesuffix("\n").split("\n")
