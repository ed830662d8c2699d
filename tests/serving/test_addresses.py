"""Addresses and their errors: every refusal is in the dialect of the address, and says which one was meant."""

import json
import socket

import pytest

DIALECTS = {
    "/api/chat": "ollama",
    "/v1/api/chat": "ollama",
    "/api": "ollama",
    "/api/nothing": "ollama",
    "/v1/messages": "anthropic",
    "/messages/count_tokens": "anthropic",
    "/v1/messages/nothing": "anthropic",
    "/v1/chat/completions": "openai",
    "/v1/responses": "openai",
    "/api/ui/nothing": "openai",
    "/apiary": "openai",
    "/": "openai",
}


def dialect_of(answer):
    match answer:
        case {"error": str()}:
            return "ollama"
        case {"type": "error", "error": {"type": str(), "message": str()}}:
            return "anthropic"
        case {"error": {"message": str(), "type": str()}}:
            return "openai"
    return answer


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("headers", [{"host": "n8n.internal"}, {"origin": "https://example.com"}, {"x": "x" * 66000}])
def test_whoever_is_turned_away_at_once_is_told_so_in_the_dialect_of_the_address(client, path, headers):
    response = client.post(path, json={}, headers=headers)
    assert response.status_code in (403, 431)
    assert dialect_of(response.json()) == DIALECTS[path]


@pytest.mark.parametrize("path", [path for path in DIALECTS if path != "/"])
def test_a_wrong_method_or_address_is_told_in_the_dialect_of_the_address(client, path):
    response = client.put(path, json={})
    assert response.status_code in (404, 405)
    assert dialect_of(response.json()) == DIALECTS[path]


@pytest.fixture(scope="module")
def narrow(start_server):
    return start_server(body_bytes=100)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages", "/v1/chat/completions"])
def test_a_body_that_is_too_large_is_refused_in_the_dialect_of_the_address(narrow, path):
    with narrow.client() as client:
        response = client.post(path, content=b"0" * 101)
    assert (response.status_code, dialect_of(response.json())) == (413, DIALECTS[path])


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages", "/v1/chat/completions"])
def test_headers_without_end_are_refused_in_the_dialect_of_the_address(server, path):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx: ".encode() + b"x" * 300_000)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert dialect_of(json.loads(body)) == DIALECTS[path]


def read_to_end(connection):
    received = b""
    while b"}" not in received:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def test_405_names_the_method_that_is_taken(client):
    response = client.get("/v1/messages")
    assert response.headers["allow"] == "POST"
    assert "/v1/messages takes POST, not GET." in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/tags", "/v1/api/tags", "/health", "/v1/health", "/models/", "/v1/models/"])
def test_addresses_answer_with_and_without_v1(client, path):
    assert client.get(path).status_code == 200


def test_the_list_of_models_with_a_slash_is_the_list(client):
    assert client.get("/v1/models/").json() == client.get("/v1/models").json()


def test_a_slash_at_the_end_of_an_address_changes_nothing_and_redirects_nobody(client):
    body = {"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}
    for path in ("/v1/chat/completions/", "/v1/messages/", "/api/chat/", "/v1/models/tiny/"):
        response = client.get(path) if "models" in path else client.post(path, json=body)
        assert response.status_code == 200


def test_a_whole_address_is_read_where_a_path_is_expected_if_its_host_is_the_one_that_is_asked(server):
    for host, status in (("localhost", b"200"), ("elsewhere", b"404")):
        request = f"GET http://{host}/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request.encode())
            assert connection.recv(65536).split(b" ")[1] == status


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/api/v1/messages", "/v1/messages"),
        ("/api/api/chat", "/api/chat"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/v1/responses/resp_1/cancel", "/v1/responses/resp_1/cancel"),
    ],
)
def test_an_address_that_is_nearly_right_is_told_the_right_one(client, path, meant):
    response = client.request("POST", client.base_url.copy_with(raw_path=path.encode()), json={})
    assert response.status_code == 404
    assert f"Did you mean {meant}?" in response.text
