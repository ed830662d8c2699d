"""Who asks, and what they are shown: the owner by the kernel's word, keys by theirs, others nothing that is stored."""

import contextlib
import json
import os
import socket
import threading

import pytest

from ouvert.assistant import ContinuedText, TextDelta
from ouvert.serving import peers
from ouvert.serving.callers import FORWARDED
from ouvert.serving.keys import Keys
from ouvert.serving.peers import ESTABLISHED, MESSAGE, PORTS, REPLY, REPLY_END, Connection, user_in, user_of_socket

QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
STORED = (
    "/api/ui/conversations",
    "/api/ui/conversations/aaaaaaaaaaaaaaaa",
    "/api/ui/export",
    "/metrics",
    "/v1/metrics",
)


@pytest.fixture
def stranger(monkeypatch):
    """From here on the server is run by another user than the one whose programs ask."""
    monkeypatch.setattr(peers, "this_user", lambda: os.geteuid() + 1)


@pytest.fixture
def here(start_server, speaking_model, tmp_path):
    """(server, its keys) with the models `tiny` and `secret-plans`, and no key yet."""
    for name in ("tiny", "secret-plans"):
        (tmp_path / name).symlink_to(speaking_model())
    models = (str(tmp_path / "tiny"), str(tmp_path / "secret-plans"))
    return start_server(models=models, state=tmp_path / "state"), Keys(tmp_path / "state")


@pytest.fixture(scope="module")
def without_keys(start_server, speaking_model, tmp_path_factory):
    """A server without keys, for tests that keep it so."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny").symlink_to(speaking_model())
    return start_server(models=(str(folder / "tiny"),), state=folder / "state")


@pytest.fixture
def client(without_keys):
    with without_keys.client() as client:
        yield client


# --- what the kernel says -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(listen, target):
    """(accepted, asking) sockets of one connection."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.create_server((listen, 0), family=family, dualstack_ipv6=listen == "::") as listening:
        asking = socket.create_connection((target, listening.getsockname()[1]))
        accepted, _ = listening.accept()
        with accepted, asking:
            yield accepted, asking


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("::1", "::1"),
        ("::", "127.0.0.1"),
        ("::", "::ffff:127.0.0.1"),
        ("::", "::1"),
    ],
)
def test_the_kernel_says_whose_a_connection_is(listen, target):
    with connected(listen, target) as (accepted, _):
        connection = Connection(accepted)
        assert connection.user == os.geteuid()
        assert connection.is_this_users
        assert connection.is_within_this_machine


def test_a_program_that_said_all_it_has_to_say_is_still_known_and_one_that_is_gone_is_not():
    with connected("127.0.0.1", "127.0.0.1") as (accepted, asking):
        asking.shutdown(socket.SHUT_WR)
        assert Connection(accepted).user == os.geteuid()
        asking.close()
        assert Connection(accepted).user is None, "the kernel says 0 for a socket that nobody holds: that is nobody"
        assert not Connection(accepted).is_this_users


def test_a_socket_that_is_not_connected_to_ours_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        assert user_of_socket(address, ("127.0.0.1", 9)) is None, "somebody listens there, and is not the one who asks"
    assert Connection(None).user is None
    assert not Connection(None).is_within_this_machine


def reply(state, user, inode, ports=(1000, 2000)):
    body = REPLY.pack(2, state, 0, 0) + PORTS.pack(*ports) + bytes(44) + REPLY_END.pack(0, 0, 0, user, inode)
    return MESSAGE.pack(MESSAGE.size + len(body), 20, 0, 1, 0) + body


@pytest.mark.parametrize(
    ("answer", "user"),
    [
        (reply(ESTABLISHED, 1001, 7), 1001),
        (reply(ESTABLISHED, 0, 7), 0),
        (reply(6, 0, 0), None),  # TIME_WAIT
        (reply(5, 0, 0), None),  # FIN_WAIT2, and closed by its program
        (reply(10, 1001, 7), None),  # LISTEN
        (reply(ESTABLISHED, 65534, 7), None),
        (reply(ESTABLISHED, 1001, 7, ports=(1000, 0)), None),
        (MESSAGE.pack(36, 2, 0, 1, 0) + bytes(20), None),  # an error
        (reply(ESTABLISHED, 1001, 7)[:40], None),
        (b"", None),
    ],
)
def test_only_an_open_connected_socket_is_anybodys(answer, user):
    assert user_in(answer, 1000, 2000) == user


# --- without keys ---------------------------------------------------------------------------------------------------


def test_the_owner_sees_what_is_stored_without_a_key(client):
    assert client.get("/api/ui/conversations").status_code == 200
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/ui/session").json() == {
        "opened_from": "this_machine",
        "who": "owner",
        "needs_key": False,
        "reads_stored": True,
        "compares": False,
        "scopes": ["inspect", "edit", "agents", "documents"],
    }


@pytest.mark.parametrize("scopes", [(), ("inspect",), ("inspect", "edit")])
def test_the_page_learns_what_a_key_may_do(here, scopes):
    server, keys = here
    _, secret = keys.create("ann", scopes=scopes)
    with server.client() as client:
        session = client.get("/api/ui/session", headers={"authorization": f"Bearer {secret}"}).json()
        assert (session["who"], session["scopes"]) == ("key", list(scopes))
        unknown = client.get("/api/ui/session", headers={"authorization": "Bearer nothing"}).json()
        assert (unknown["who"], unknown["scopes"]) == ("nobody", [])


def refused_what_is_stored(client, **headers):
    for path in STORED:
        response = client.get(path, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "owner_only"), path
        assert response.headers["www-authenticate"] == "Bearer"
    for method, path, body in (
        ("PUT", "/api/ui/conversations/aaaaaaaaaaaaaaaa", {}),
        ("DELETE", "/api/ui/conversations/aaaaaaaaaaaaaaaa", None),
        ("DELETE", "/api/ui/conversations", None),
        ("POST", "/api/ui/import", {}),
    ):
        assert client.request(method, path, json=body, headers=headers).status_code == 401, (method, path)
    return True


def test_other_users_of_this_machine_may_ask_models_and_see_nothing_that_is_stored(client, stranger):
    assert refused_what_is_stored(client)
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200
    assert client.get("/v1/models").status_code == 200
    session = client.get("/api/ui/session").json()
    assert session == {
        "opened_from": "unknown",
        "who": "guest",
        "needs_key": False,
        "reads_stored": False,
        "compares": False,
        "scopes": [],
    }
    assert set(client.get("/health").json()) == {"status", "uptime_seconds"}


def test_what_one_user_left_another_is_not_given(client, monkeypatch):
    """Responses, their items and receipts: by id, also where the id is known."""
    owners = client.post("/v1/responses", json={"model": "tiny", "input": "Hi"}).json()
    with monkeypatch.context() as patched:
        patched.setattr(peers, "this_user", lambda: os.geteuid() + 1)
        theirs = client.post("/v1/responses", json={"model": "tiny", "input": "Hello"}).json()
        assert client.get(f"/v1/responses/{theirs['id']}").status_code == 200
        assert client.get(f"/v1/receipts/{theirs['id']}").status_code == 200
        for path in ("/v1/responses/{}", "/v1/responses/{}/input_items", "/v1/receipts/{}"):
            assert client.get(path.format(owners["id"])).status_code == 404
        assert client.delete(f"/v1/responses/{owners['id']}").status_code == 404
        goes_on = {"model": "tiny", "input": "And?", "previous_response_id": owners["id"]}
        assert client.post("/v1/responses", json=goes_on).status_code == 400
    assert client.get(f"/v1/responses/{owners['id']}").status_code == 200
    assert client.get(f"/v1/responses/{theirs['id']}").status_code == 404


@pytest.mark.parametrize("header", FORWARDED)
def test_what_a_proxy_passes_on_is_not_the_owners(client, header):
    assert refused_what_is_stored(client, **{header: "x"})
    assert client.get("/api/ui/session", headers={header: "x"}).json()["who"] == "guest"


def test_a_proxy_that_keeps_the_name_it_was_called_by_is_seen_too(start_server, speaking_model, tmp_path):
    server = start_server(models=(str(speaking_model()),), state=tmp_path / "state", names=("box.lan",))
    with server.client() as client:
        assert refused_what_is_stored(client, host="box.lan")
        assert refused_what_is_stored(client, host="192.168.1.7")
        for name in ("localhost", "127.0.0.1:9", "[::1]", "a.localhost", "0.0.0.0", "127.0.1.1"):
            assert client.get("/api/ui/conversations", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "opened_from"),
    [
        ({}, "this_machine"),
        ({"x-forwarded-for": "10.0.0.2"}, "network_plain"),
        ({"x-forwarded-for": "10.0.0.2", "x-forwarded-proto": "http"}, "network_plain"),
        ({"x-forwarded-proto": "https"}, "network_tls"),
        ({"x-forwarded-proto": "https, http"}, "network_tls"),
        ({"x-forwarded-scheme": "HTTPS"}, "network_tls"),
        ({"x-forwarded-ssl": "on"}, "network_tls"),
        ({"forwarded": 'for=10.0.0.2;proto="https";by=x'}, "network_tls"),
        ({"forwarded": "for=10.0.0.2;proto=http, proto=https"}, "network_plain"),
        ({"host": "192.168.1.7:11435"}, "network_plain"),
    ],
)
def test_the_page_is_told_from_where_it_was_opened(client, headers, opened_from):
    assert client.get("/api/ui/session", headers=headers).json()["opened_from"] == opened_from


def test_where_the_system_does_not_tell_users_apart_the_owners_key_does(here, monkeypatch):
    server, keys = here
    monkeypatch.setattr(peers, "user_of_socket", lambda *_: None)
    _, secret = keys.create_owners()
    with server.client() as client:
        assert refused_what_is_stored(client)
        session = client.get("/api/ui/session").json()
        said = {
            "opened_from": "this_machine",
            "who": "guest",
            "needs_key": False,
            "reads_stored": False,
            "compares": False,
            "scopes": [],
        }
        assert session == said
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200, "it closes nothing"
        given = {"authorization": f"Bearer {secret}"}
        assert client.get("/api/ui/conversations", headers=given).status_code == 200
        assert client.get("/api/ui/session", headers=given).json()["who"] == "owner"


def test_pages_of_other_programs_may_not_read_what_is_stored_in_the_owners_browser(client):
    for path in STORED:
        assert client.get(path, headers={"origin": "http://localhost:3000"}).status_code == 403
        assert client.get(path, headers={"sec-fetch-site": "same-site"}).status_code == 403


# --- with keys ------------------------------------------------------------------------------------------------------


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


def test_the_owners_key_opens_the_owners_conversations_and_a_new_one_takes_its_place(here):
    server, keys = here
    with server.client() as client:
        conversation = {
            "ouvert_conversation": 1,
            "id": "a" * 16,
            "title": "t",
            "revision": 0,
            "messages": [],
            "leaf": None,
        }
        assert client.put(f"/api/ui/conversations/{'a' * 16}", json=conversation).status_code == 200
        (_, clients), (_, first) = keys.create("n8n"), keys.create_owners()
        assert client.get("/api/ui/conversations").status_code == 401, "a client has a key: now everybody needs one"
        assert client.get("/api/ui/session").json() == {
            "opened_from": "this_machine",
            "who": "nobody",
            "needs_key": True,
            "reads_stored": False,
            "compares": False,
            "scopes": [],
        }
        for secret, found in ((clients, 0), (first, 1)):
            listed = client.get("/api/ui/conversations", headers=bearer(secret)).json()["conversations"]
            assert len(listed) == found
        _, second = keys.create_owners()
        assert client.get("/api/ui/conversations", headers=bearer(first)).status_code == 401
        assert client.get("/api/ui/conversations", headers=bearer(second)).status_code == 200
        assert [key.owner for key in keys.every()] == [False, True]


def test_a_key_for_one_model_is_told_of_no_other(here):
    """In listings, errors, health, metrics, and by what is assumed where no model is named."""
    server, keys = here
    _, everything = keys.create("all")
    _, secret = keys.create("one", models=("tiny",))
    with server.client(headers=bearer(everything)) as client:
        for name in ("tiny", "secret-plans"):
            body = {**QUESTION, "model": name}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert "secret-plans" in client.get("/metrics").text
        assert client.get("/health").json()["models_loaded"] == 2
    server.idle()
    said = []
    with server.client(headers=bearer(secret)) as client:
        for method, path, body in (
            ("GET", "/v1/models", None),
            ("GET", "/api/tags", None),
            ("GET", "/api/ps", None),
            ("GET", "/api/ui/models", None),
            ("GET", "/metrics", None),
            ("GET", "/health", None),
            ("GET", "/tokenizer_info", None),
            ("GET", "/v1/models/nothing-like-it", None),
            ("POST", "/v1/chat/completions", {**QUESTION, "model": "nothing-like-it"}),
        ):
            said.append(client.request(method, path, json=body).text)
        assert client.get("/health").json()["models_loaded"] == 1
        assert client.get("/tokenizer_info").json()["name_or_path"] == "tiny"
        assert 'model="tiny"' in client.get("/metrics").text
        assert "ouvert_models_loaded" not in client.get("/metrics").text
        for path, body in (
            ("/v1/chat/completions", QUESTION),
            ("/v1/responses", {"input": "Hi"}),
            ("/v1/messages", {**QUESTION, "max_tokens": 5}),
            ("/v1/completions", {"prompt": "Hi"}),
            ("/v1/embeddings", {"input": "Hi"}),
            ("/tokenize", {"prompt": "Hi"}),
            ("/api/show", {}),
            ("/api/chat", QUESTION),
            ("/api/generate", {"prompt": "Hi"}),
            ("/api/generate", {"keep_alive": 0}),
            ("/api/embed", {"input": "Hi"}),
            ("/api/pull", {}),
        ):
            hidden = client.post(path, json={**body, "model": "secret-plans"})
            absent = client.post(path, json={**body, "model": "secret-plane"})
            assert hidden.status_code == absent.status_code == (403 if path == "/api/pull" else 404), (
                path,
                hidden.text,
            )
            assert hidden.text.replace("secret-plans", "secret-plane") == absent.text, path
            assert path == "/api/pull" or "tiny" in absent.text, "what it may use is named"
        hidden = client.get("/v1/models/secret-plans")
        assert hidden.status_code == 404
    assert "secret" not in "".join(said)


def test_a_key_reads_its_own_receipts_alone(here):
    server, keys = here
    (_, one), (_, other) = keys.create("one"), keys.create("other")
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=QUESTION, headers=bearer(one)).json()
        path = f"/v1/receipts/{answer['id']}"
        assert client.get(path, headers=bearer(one)).status_code == 200
        assert client.get(path, headers=bearer(other)).status_code == 404


# --- revoked --------------------------------------------------------------------------------------------------------


def test_after_the_last_key_is_revoked_the_server_is_closed_also_after_a_restart(
    start_server, speaking_model, tmp_path
):
    model, state = str(speaking_model()), tmp_path / "state"
    keys = Keys(state)
    key, _ = keys.create("n8n")
    keys.revoke(key.id)
    with start_server(models=(model,), state=state).client() as client:
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 401
        _, secret = keys.create_owners()
        assert client.post("/v1/chat/completions", json=QUESTION, headers=bearer(secret)).status_code == 200
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 401, "the owner has a way in, alone"
        keys.open()
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_the_file_of_keys_does_not_open_a_server_by_vanishing(here, tmp_path):
    server, keys = here
    keys.create("n8n")
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 401
        (tmp_path / "state" / "keys.json").unlink()
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 401


def test_each_change_of_the_file_is_noticed_however_soon_it_comes(tmp_path):
    """The file's time moves in steps of milliseconds; a key that was revoked within one must not count."""
    ours, servers = Keys(tmp_path), Keys(tmp_path)
    for _ in range(50):
        key, _ = ours.create("n8n")
        assert servers.holds(key)
        ours.revoke(key.id)
        assert not servers.holds(key)


class Endless:
    """An answer that says one word and then waits until it is told to end."""

    prompt_ids = (1, 2)

    def __init__(self, word):
        self.word, self.told = word, threading.Event()

    def __iter__(self):
        yield self.word
        assert self.told.wait(30)

    def cancel(self):
        self.told.set()


@pytest.fixture(params=["a client's", "the owner's"])
def endless(here, monkeypatch, request):
    """(client, revoke): conversations are answered without end, for a key that `revoke` revokes."""
    server, keys = here
    key, secret = keys.create("n8n") if request.param == "a client's" else keys.create_owners()
    keys.create("another")
    monkeypatch.setattr("ouvert.serving.service.ConversationTask.start", lambda *_: Endless(TextDelta("Hello")))
    monkeypatch.setattr("ouvert.serving.text_continuation.TextChoice", lambda *_: Endless(ContinuedText("Hello", ())))
    with server.client(headers=bearer(secret)) as client:
        yield client, lambda: keys.revoke(key.id)
    server.idle()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/chat/completions", {**QUESTION, "stream": True}, '"code":"key_revoked"'),
        ("/v1/responses", {"model": "tiny", "input": "Hi", "stream": True}, "event: response.failed"),
        ("/v1/messages", {**QUESTION, "max_tokens": 5, "stream": True}, "event: error"),
        ("/v1/completions", {"model": "tiny", "prompt": "Hi", "stream": True}, '"code":"key_revoked"'),
        ("/api/chat", QUESTION, '{"error":"'),
        ("/api/generate", {"model": "tiny", "prompt": "Hi"}, '{"error":"'),
    ],
)
def test_a_revoked_keys_streams_end_and_say_why(endless, path, body, said):
    client, revoke = endless
    with client.stream("POST", path, json=body) as response:
        text = ""
        pieces = response.iter_text()
        while "Hello" not in text:
            text += next(pieces)
        revoke()
        text += "".join(pieces)
    assert said in text
    assert "was revoked" in text


def test_a_revoked_keys_answers_that_are_not_streamed_end_too(endless):
    client, revoke = endless
    found = []
    asking = threading.Thread(target=lambda: found.append(client.post("/v1/chat/completions", json=QUESTION)))
    background = client.post("/v1/responses", json={"model": "tiny", "input": "Hi", "background": True}).json()
    assert background["status"] == "queued"
    asking.start()
    revoke()
    asking.join(30)
    assert found[0].status_code == 401


def test_the_file_of_keys_says_of_which_version_it_is(tmp_path):
    keys = Keys(tmp_path)
    keys.create("n8n")
    stated = json.loads((tmp_path / "keys.json").read_text())
    assert (stated["version"], stated["closed"]) == (2, True)


def test_another_user_does_not_say_how_long_a_model_stays_for_everybody(client, stranger):
    for keep in (0, -1, "5m"):
        refused = client.post("/api/generate", json={"model": "tiny", "keep_alive": keep})
        assert refused.status_code == 403
        assert "said by the owner of this server, or with a key" in refused.json()["error"]
    body = {"model": "tiny", "prompt": "Hi", "stream": False, "keep_alive": 0}
    answered = client.post("/api/generate", json=body)
    assert answered.status_code == 200
    assert any("keep_alive" in note for note in answered.json()["ouvert"]["not_honoured"])
    assert [each["name"] for each in client.get("/api/ps").json()["models"]] == ["tiny:latest"]


def test_the_owner_lets_a_model_go_with_keep_alive(client):
    done = client.post("/api/generate", json={"model": "tiny", "keep_alive": 0, "stream": False})
    assert done.json()["done_reason"] == "unload"
    assert client.get("/api/ps").json()["models"] == []


def test_a_name_with_latest_means_the_model_that_the_key_may_use(start_server, speaking_model, tmp_path):
    """Of two models that a name may mean, a key is answered by its own; it can neither use nor end the other one."""
    for name in ("tiny", "tiny:latest"):
        (tmp_path / name).symlink_to(speaking_model())
    models = (str(tmp_path / "tiny"), str(tmp_path / "tiny:latest"))
    server = start_server(models=models, state=tmp_path / "state")
    keys = Keys(tmp_path / "state")
    (_, everything), (_, secret) = keys.create("all"), keys.create("one", models=("tiny",))
    question = {**QUESTION, "model": "tiny:latest"}
    with server.client(headers=bearer(everything)) as client:
        answer = client.post("/v1/chat/completions", json=question)
        assert answer.json()["ouvert"]["receipt"]["model"] == "tiny:latest"
    with server.client(headers=bearer(secret)) as client:
        answer = client.post("/v1/chat/completions", json=question)
        assert answer.status_code == 200, answer.text
        assert answer.json()["ouvert"]["receipt"]["model"] == "tiny"
        assert client.post("/api/chat", json={"model": "tiny:latest", "keep_alive": 0}).status_code == 200
    assert "tiny:latest" in server.service.loaded_models.states()
