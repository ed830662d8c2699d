"""Bodies: compressed ones, and what is said of one that is wrong."""

import gzip
import json
import zlib

import pytest

from ouvert.serving.content_encoding import unpacked

BODY = {"model": "tiny", "input": "hi", "max_output_tokens": 2}
RAW = json.dumps(BODY).encode()


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(RAW, mtime=0)),
        ("x-gzip", gzip.compress(RAW, mtime=0)),
        ("GZIP", gzip.compress(RAW[:9], mtime=0) + gzip.compress(RAW[9:], mtime=0)),
        ("deflate", zlib.compress(RAW)),
        ("deflate", raw_deflate(RAW)),
        ("deflate, gzip", gzip.compress(zlib.compress(RAW), mtime=0)),
        ("identity", RAW),
    ],
)
def test_a_compressed_body_is_unpacked(client, coding, body):
    response = client.post("/v1/responses", content=body, headers={"content-encoding": coding})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip"])
def test_a_coding_that_is_not_read_is_refused_by_name(client, coding):
    response = client.post("/v1/responses", content=RAW, headers={"content-encoding": coding})
    assert response.status_code == 415
    assert coding in response.json()["error"]["message"]
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("body", [RAW, gzip.compress(RAW, mtime=0)[:-9], b"\x1f\x8b" + b"0" * 30])
def test_a_body_that_is_not_of_its_coding_is_refused(client, body):
    response = client.post("/v1/responses", content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert "not gzip" in response.json()["error"]["message"]


def test_the_limit_holds_for_the_body_unpacked(start_server):
    server = start_server(body_bytes=2000)
    with server.client() as client:
        bomb = gzip.compress(b'{"model": "' + b"a" * 1_000_000 + b'"}')
        response = client.post("/api/chat", content=bomb, headers={"content-encoding": "gzip"})
        assert len(bomb) < 2000
        assert response.status_code == 413
        assert "2000 bytes" in response.json()["error"]


@pytest.mark.parametrize("codings", [["gzip"], ["gzip", "gzip"]])
def test_unpacking_stops_at_the_limit(codings):
    body = b"0" * 5000
    for _ in codings:
        body = gzip.compress(body)
    assert unpacked(body, codings, 5000) == b"0" * 5000
    assert unpacked(body, codings, 4999) is None


def said(client, path, **fields):
    response = client.post(path, json={"model": "tiny", **fields})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x"}], "stop": [str(n) for n in range(17)]},
            "expected at most 16 of them",
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 1,
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": "{}"}]},
                    {"role": "user", "content": "x"},
                ],
            },
            "messages[0].content[0].input is '{}', expected an object.",
        ),
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "x"}], "format": '{"type": "object"}'},
            "expected '' or 'json' or an object",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": ["hi"]}]},
            "messages[0].content[0] is 'hi', expected an object such as",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
            "messages[0].content[0].text is missing",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": 5}]},
            "messages[1].content is 5, expected text or a list.",
        ),
        ("/v1/embeddings", {"input": ["a", "b", 5]}, "input[2] is 5, expected text"),
        ("/v1/responses", {"input": [{"id": "msg_1"}]}, "refers to the item 'msg_1', which is not stored here"),
        ("/v1/responses", {"input": [{"type": "message", "role": "user"}, 5]}, "input[1] is 5, expected an object."),
        ("/v1/chat/completions", {}, "messages is missing."),
    ],
)
def test_the_fault_that_is_told_is_that_of_what_was_meant(client, path, fields, expected):
    assert expected in said(client, path, **fields)


def test_other_wrong_fields_are_named_and_alternatives_are_not(client):
    messages = [{"role": "user", "content": ["hi"]}]
    assert "Also" not in said(client, "/v1/chat/completions", messages=messages)
    assert said(client, "/v1/chat/completions", messages=messages, stop=[1], n=0).endswith("(Also wrong: messages, n.)")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_is_read_in_every_encoding_it_had(client, encoding):
    text = json.dumps({**BODY, "input": "字" * 300}, ensure_ascii=False)  # its bytes hold brackets in UTF-16
    response = client.post("/v1/responses", content=text.encode(encoding))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32"])
def test_values_are_counted_in_every_encoding(client, encoding):
    text = json.dumps({"model": "tiny", "\u2201": 0, "messages": [[]] * 200_000}, ensure_ascii=False)
    response = client.post("/v1/chat/completions", content=text.encode(encoding))
    assert response.status_code == 413
    assert "values" in response.json()["error"]["message"]


def test_a_charset_that_is_stated_is_read_and_one_that_is_not_is_asked_for(client):
    body = json.dumps({**BODY, "input": "café"}, ensure_ascii=False).encode("latin-1")
    stated = client.post(
        "/v1/responses", content=body, headers={"content-type": "application/json; charset=ISO-8859-1"}
    )
    assert stated.status_code == 200
    response = client.post("/v1/responses", content=body)
    assert response.status_code == 400
    assert "0xe9. Send JSON in UTF-8, or name its charset" in response.json()["error"]["message"]
