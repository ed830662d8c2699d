"""Who may use the server, and what it takes from those who may: over a socket."""

import errno
import hashlib
import json
import os
import socket
import stat
import time

import pytest

from ouvert.cli import main
from ouvert.serving.keys import KeyFileError, Keys
from ouvert.serving.origin_guard import host_name

ENDLESS = {"\n": "again", "again": "again"}
QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def ask(client, **headers):
    return client.post("/v1/chat/completions", json=QUESTION, headers=headers)


# --- hosts and pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80", "192.168.1.7:11435", "a.localhost"]
)
def test_this_machines_names_and_addresses_are_served(client, host):
    assert ask(client, host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:11435", "", "a b", "127.0.0.1@x"]
)
def test_a_name_that_was_pointed_here_is_refused(client, host):
    response = ask(client, host=host)
    assert response.status_code in (400, 403)
    if response.status_code == 403:
        assert response.json()["error"]["code"] == "host_not_allowed"


def test_an_owner_can_add_a_name_and_a_page(start_server, speaking_model):
    server = start_server(
        models=(str(speaking_model()),), names=("box.lan",), origins=("https://page.example", "app://obsidian.md")
    )
    with server.client() as client:
        assert client.get("/health", headers={"host": "box.lan:11435"}).status_code == 200
        for origin in ("https://page.example", "app://obsidian.md"):
            response = client.get("/health", headers={"origin": origin})
            assert response.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173", "https://a.localhost"]
)
def test_pages_of_this_machine_may_use_it(client, origin):
    response = ask(client, origin=origin)
    assert response.headers["access-control-allow-origin"] == origin
    preflight = client.options(
        "/v1/chat/completions",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://evil.example@localhost"],
)
def test_other_pages_may_not(client, origin):
    response = ask(client, origin=origin)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_a_page_of_the_server_itself_may(client, server):
    assert ask(client, origin=server.base).status_code == 200


def test_programs_that_send_no_origin_see_no_cors(client):
    response = ask(client)
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["a/b", "a:port", "user@a", "a?b", "", "a#b"])
def test_what_is_no_host_has_no_name(host):
    assert host_name(host) is None


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(start_server, speaking_model, tmp_path):
    """(server, its keys), with no key yet."""
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    return start_server(models=(str(model),), state=tmp_path / "state"), Keys(tmp_path / "state")


def test_without_keys_anything_is_accepted(client):
    for given in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer x"}, {"x-api-key": "y"}):
        assert ask(client, **given).status_code == 200


def test_with_a_key_it_is_asked_for_in_either_header(locked):
    server, keys = locked
    _, secret = keys.create("n8n")
    with server.client() as client:
        for given in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer wrong"}, {"x-api-key": secret[:-1]}):
            response = ask(client, **given)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
        assert ask(client, authorization=f"Bearer {secret}").status_code == 200
        assert ask(client, **{"x-api-key": secret}).status_code == 200
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 401


def test_a_key_that_is_revoked_is_refused_and_nothing_is_open_afterwards(locked):
    server, keys = locked
    key, secret = keys.create("n8n")
    with server.client() as client:
        assert ask(client, **{"x-api-key": secret}).status_code == 200
        keys.revoke(key.id)
        assert ask(client, **{"x-api-key": secret}).status_code == 401
        assert ask(client).status_code == 401
    with pytest.raises(KeyFileError, match="0 keys"):
        keys.revoke(key.id)


def test_a_key_may_have_so_many_requests_a_minute(locked):
    server, keys = locked
    _, secret = keys.create("slow", per_minute=2)
    with server.client() as client:
        given = {"x-api-key": secret}
        assert [ask(client, **given).status_code for _ in range(3)] == [200, 200, 429]
        response = ask(client, **given)
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["error"]["type"] == "rate_limit_error"


def test_a_key_may_be_for_some_models_only(locked):
    server, keys = locked
    _, secret = keys.create("other", models=("another",))
    with server.client() as client:
        response = ask(client, **{"x-api-key": secret})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
        assert client.get("/v1/models", headers={"x-api-key": secret}).json()["data"] == []


def test_what_one_key_stored_another_does_not_find(locked):
    server, keys = locked
    (_, one), (_, other) = keys.create("one"), keys.create("other")
    with server.client() as client:
        body = {"model": "tiny", "input": "Hi"}
        response = client.post("/v1/responses", json=body, headers={"x-api-key": one}).json()
        path = f"/v1/responses/{response['id']}"
        assert client.get(path, headers={"x-api-key": one}).status_code == 200
        assert client.get(path, headers={"x-api-key": other}).status_code == 404
        reference = {**body, "input": [{"type": "item_reference", "id": response["output"][0]["id"]}]}
        assert client.post("/v1/responses", json=reference, headers={"x-api-key": other}).status_code == 400


def test_keys_are_kept_hashed_and_for_their_owner_only(tmp_path):
    keys = Keys(tmp_path)
    key, secret = keys.create("n8n")
    text = (tmp_path / "keys.json").read_text()
    assert secret not in text
    assert secret.removeprefix("sk-ouvert-") not in text
    assert key.digest in text
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_a_damaged_file_of_keys_opens_nothing(locked, tmp_path):
    server, keys = locked
    keys.create("n8n")
    (tmp_path / "state" / "keys.json").write_text("{")
    with server.client() as client:
        response = ask(client)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "keys_unreadable"


def test_keys_are_made_listed_and_revoked_at_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path))
    assert main(["key", "list"]) == 0
    assert "There is no key." in capsys.readouterr().out
    assert main(["key", "create", "n8n", "--per-minute", "60"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("sk-ouvert-")
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "n8n" in listed
    assert secret not in listed
    assert main(["key", "open"]) == 1
    assert "1 keys of clients are in use ('n8n' is one)" in capsys.readouterr().err
    assert main(["key", "revoke", "n8n"]) == 0
    assert "The server stays closed" in capsys.readouterr().err
    assert main(["key", "revoke", "n8n"]) == 1
    assert main(["key", "owner"]) == 0
    assert capsys.readouterr().out.startswith("sk-ouvert-")
    assert main(["key", "list"]) == 0
    assert "owner (yours)" in capsys.readouterr().out
    assert Keys(tmp_path / "server").closed
    assert main(["key", "open"]) == 0
    assert not Keys(tmp_path / "server").closed


@pytest.mark.parametrize(
    ("stated", "closed"),
    [
        ({"version": 1, "keys": []}, True),  # the last one was revoked before versions said whether it is closed
        ({"version": 2, "closed": False, "keys": []}, False),
        ({"version": 2, "closed": True, "keys": []}, True),
    ],
)
def test_a_file_of_keys_of_an_earlier_version_is_read(tmp_path, stated, closed):
    (tmp_path / "keys.json").write_text(json.dumps(stated))
    assert Keys(tmp_path).closed == closed


def test_keys_of_version_1_still_count(tmp_path):
    digest = hashlib.sha256(b"secret").hexdigest()
    key = {"id": "1a2b", "name": "n", "digest": digest, "created": "", "per_minute": None, "models": ["tiny"]}
    (tmp_path / "keys.json").write_text(json.dumps({"version": 1, "keys": [key]}))
    found = Keys(tmp_path).caller({"x-api-key": "secret"})
    assert (found.id, found.models, found.owner) == ("1a2b", ("tiny",), False)


@pytest.mark.parametrize(
    "content",
    [
        '{"version": 3, "keys": []}',
        '{"keys": []}',
        '{"version": 2, "keys": []}',
        '{"version": 2, "closed": 0, "keys": []}',
        '{"version": 2, "closed": false, "keys": [{"id": "x"}]}',
        "[]",
    ],
)
def test_a_file_of_keys_that_is_not_understood_is_an_error_and_never_open(tmp_path, content):
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(KeyFileError, match="so nobody is served"):
        _ = Keys(tmp_path).closed


def test_a_key_that_cannot_be_kept_is_an_error_and_leaves_nothing_behind(tmp_path, monkeypatch):
    keys = Keys(tmp_path)
    key, _ = keys.create("n8n")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ouvert.serving.keys.os.fsync", full)
        with pytest.raises(KeyFileError, match="No space left on device"):
            keys.revoke(key.id)
    assert keys.holds(key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]
    (tmp_path / "no folder").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written"):
        Keys(tmp_path / "no folder").create("n8n")


def test_a_file_of_keys_that_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "keys.json")
    with pytest.raises(KeyFileError, match="no regular file"):
        Keys(tmp_path).every()


# --- what is too large, too slow, or gone ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endless(start_server, speaking_model, tmp_path_factory):
    """A server with small limits and a model, `tiny`, that stops only when its context is full."""
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model(ENDLESS))
    return start_server(
        models=(str(model),), body_bytes=100_000, header_bytes=8000, read_seconds=0.4, write_seconds=0.4, most_answers=2
    )


def connect(server, **options):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    return connection


def request_bytes(**fields):
    body = json.dumps({**QUESTION, **fields}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def answer_to(connection):
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(endless):
    with endless.client() as client:
        response = client.post("/v1/chat/completions", content=b"x" * 200_000)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"

        def pieces():
            for _ in range(20):
                yield b"x" * 10_000

        assert client.post("/v1/chat/completions", content=pieces()).status_code == 413


def test_headers_that_are_too_large_are_refused(endless):
    with connect(endless) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 20_000 + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431")
    with connect(endless) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 20_000)
        assert answer_to(connection).startswith(b"HTTP/1.1 400")


def test_a_client_that_never_ends_its_headers_is_let_go(endless):
    with connect(endless) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: local")
        assert answer_to(connection) == b""


def test_a_client_that_never_ends_its_body_is_told(endless):
    with connect(endless) as connection:
        connection.sendall(request_bytes()[:-5])
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_stream_whose_reader_went_away_frees_its_place_within_a_step(endless):
    with (
        endless.client() as client,
        client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as response,
    ):
        next(response.iter_raw())
        assert endless.service.answers.in_flight == 1
    endless.idle(1)


def test_an_answer_whose_client_went_away_frees_its_place_too(endless):
    before = time.monotonic()
    with connect(endless) as connection:
        connection.sendall(request_bytes())
        while not endless.service.answers.in_flight:
            assert time.monotonic() < before + 30
            time.sleep(0.005)
    endless.idle(1)


def test_a_client_that_closes_its_half_is_gone(endless):
    with connect(endless) as connection:
        connection.sendall(request_bytes(stream=True))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.shutdown(socket.SHUT_WR)
        endless.idle(2)


def test_too_many_answers_at_once_are_turned_away_with_a_time(endless):
    for _ in range(5):  # two answers fill their contexts in half a second, which a busy machine may take to ask again
        with (
            endless.client() as client,
            client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True, "n": 2}) as response,
        ):
            next(response.iter_raw())
            turned_away = ask(client)
        endless.idle(2)
        if turned_away.status_code != 200:
            break
    assert turned_away.status_code == 503
    assert int(turned_away.headers["retry-after"]) >= 1
    assert turned_away.json()["error"]["code"] == "overloaded"
    with endless.client() as client:
        assert client.post("/v1/chat/completions", json={**QUESTION, "max_tokens": 2}).status_code == 200


def test_a_client_that_reads_nothing_holds_nothing(endless):
    """Its stream is written to the end at the engine's speed; what it does not take is dropped with its connection."""
    with connect(endless, SO_RCVBUF=2048) as connection:
        connection.sendall(request_bytes(stream=True, logprobs=True, top_logprobs=20))
        endless.idle(20)
        with endless.client() as client:
            assert client.post("/v1/chat/completions", json={**QUESTION, "max_tokens": 2}).status_code == 200


def test_nothing_of_what_was_asked_is_logged(client, caplog):
    secret = "a very private question"
    client.post("/v1/chat/completions", json={**QUESTION, "messages": [{"role": "user", "content": secret}]})
    assert secret not in caplog.text


SECRET = "My number is 4711 and my password is swordfish, which nobody else may ever find out. " * 3


def reused_by(client, key, question=SECRET):
    body = {"model": "tiny", "messages": [{"role": "user", "content": question}], "temperature": 0}
    answer = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    reused = facts["ouvert"]["receipt"]["tokens"]["reused"]
    assert facts["usage"]["prompt_tokens_details"]["cached_tokens"] == reused
    return reused


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
def test_whether_another_key_asked_the_same_shows_nowhere(start_server, speaking_model, tmp_path, shared):
    """Unless the owner shares kept prompts among all keys."""
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    keys = Keys(tmp_path / "state")
    first, second = (keys.create(name)[1] for name in ("first", "second"))
    server = start_server(models=(str(model),), state=tmp_path / "state", share_prefixes=shared)
    with server.client() as client:
        assert reused_by(client, first) == 0
        mine = reused_by(client, first)
        assert mine > len(SECRET)  # a token a character
        assert reused_by(client, second) == (mine if shared else 0)
