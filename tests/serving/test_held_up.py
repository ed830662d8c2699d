"""Nobody holds the server: bodies that are much work, and clients that are slow. What is counted is counted early."""

import gzip
import json
import socket

import pytest

from ouvert.serving.body import DEEPEST, Bounds, Count
from ouvert.serving.connections import TimeLimitedProtocol
from ouvert.serving.errors import Refusal


def answer_of(connection):
    """Head and body of the next answer."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += (piece := connection.recv(65536))
        assert piece, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    size = int(next(line for line in head.split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])
    while len(body) < size:
        body += (piece := connection.recv(65536))
        assert piece, body
    return head + body


QUESTION = [{"role": "user", "content": "Hi"}]
VALUES = 2000  # of the server below
ADDRESSES = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/completions", "/v1/embeddings"]


@pytest.fixture(scope="module")
def strict(start_server, speaking_model, tmp_path_factory):
    """Little patience, and few connections."""
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    server = start_server(
        models=(str(model),), body_values=VALUES, body_bytes=16 << 20, read_seconds=0.4, most_connections=20
    )
    with server.client() as client:  # the model is there
        assert client.post("/v1/chat/completions", json={"model": "tiny", "messages": QUESTION}).status_code == 200
    return server


# --- what a body holds ----------------------------------------------------------------------------------------------


def counted(text, most=10**9, step=None):
    count = Count(most)
    raw = text.encode("utf-8", "surrogatepass")
    for start in range(0, len(raw), step or len(raw)):
        count.add(raw[start : start + (step or len(raw))])
    return count.values


def values_of(value):
    """The slow twin: a comma between neighbours, a bracket for each object and array."""
    if isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, list):
        inside = value
    else:
        return 0
    return 1 + max(0, len(inside) - 1) + sum(map(values_of, inside))


TEXTS = [
    {},
    [],
    [1, 2, 3],
    {"a": [1, {"b": "c,d[{\\"}], 'e"': '\\\\",[{'},
    ["\\", '"', '\\"', ",,,[[[", "\u00e9\ud83d\ude00", {"\\": ["\\\\\\"]}],
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, None])
@pytest.mark.parametrize("value", TEXTS, ids=str)
def test_values_are_counted_outside_of_strings_however_the_text_is_cut(value, step):
    for ascii_only in (True, False):
        assert counted(json.dumps(value, ensure_ascii=ascii_only), step=step) == values_of(value)


def test_counting_ends_at_the_first_value_too_many():
    counted("[" + "1," * 99 + "1]", most=100)
    with pytest.raises(Refusal, match="more than 99 values"):
        counted("[" + "1," * 99 + "1]", most=99)


def test_depth_is_counted_and_comes_back():
    counted("[" * DEEPEST + "]" * DEEPEST + '{"a":' * DEEPEST + "1" + "}" * DEEPEST)
    counted('"' + "[" * 10_000 + '"')
    with pytest.raises(Refusal, match="nested deeper than"):
        counted("[" * (DEEPEST + 1))


def test_a_longer_body_has_longer_but_not_without_end():
    bounds = Bounds(bytes=1, values=1, seconds=30)
    assert (bounds.seconds_for(0), bounds.seconds_for(640_000), bounds.seconds_for(10**9)) == (30, 40, 300)


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("name", ["messages", "input", "prompt", "tools"])
def test_a_body_of_a_million_empty_objects_is_refused_before_it_is_read_to_its_end(strict, path, name):
    """What was sent first is enough to say no: the rest never comes."""
    begin = b'{"model":"tiny","' + name.encode() + b'":['
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000000\r\n\r\n".encode()
    many = 1_000_001 if path in ("/v1/completions", "/v1/embeddings") else VALUES + 1
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as connection:
        connection.sendall(head + begin + b"{}," * (many // 2 + 1))
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 413"), answer
    assert b"more than" in answer
    assert b"values" in answer


def test_what_comes_compressed_is_counted_too(strict):
    body = gzip.compress(b'{"model":"tiny","messages":[' + b"{}," * 1_000_000 + b"{}]}")
    with strict.client() as client:
        response = client.post("/v1/chat/completions", content=body, headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_many_values")


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_body_that_is_nested_deep_is_refused_with_the_bound(strict, path):
    body = b'{"model":"tiny","input":"a","prompt":"a","max_tokens":1,"x":' + b"[" * 900 + b"]" * 900 + b"}"
    with strict.client() as client:
        response = client.post(path, content=body)
    assert response.status_code == 400
    assert f"nested deeper than {DEEPEST}" in response.text


def test_of_many_wrong_messages_the_first_is_named(strict):
    body = b'{"model":"tiny","messages":[' + b"{}," * 500 + b"{}]}"
    with strict.client() as client:
        response = client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert "messages[0].role is missing" in response.json()["error"]["message"]


# --- clients that are slow --------------------------------------------------------------------------------------------


def connect(server):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.settimeout(10)
    return connection


def health(connection):
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    return answer_of(connection)


def test_a_second_request_whose_headers_never_end_is_let_go_however_it_trickles(strict):
    with connect(strict) as connection:
        assert health(connection).startswith(b"HTTP/1.1 200")
        assert lets_go(connection, b"GET /health HTTP/1.1\r\nx: " + b"x" * 400)
        with strict.client() as client:
            assert client.get("/health").status_code == 200


def lets_go(connection, trickle):
    """Whether the server closes the connection before so many bytes have come, one at a time."""
    connection.settimeout(0.05)
    for byte in trickle:
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(10) == b"":
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_the_rest_of_a_body_that_nobody_reads_is_not_waited_for(strict):
    """GET has no body to be read here; one that never comes holds the connection no longer than headers would."""
    with connect(strict) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
        assert connection.recv(65536) == b""


def test_more_half_requests_than_there_are_places_leave_room_for_who_asks(strict):
    held = []
    try:
        for n in range(60):
            connection = connect(strict)
            if n % 3:
                assert health(connection).startswith(b"HTTP/1.1 200")
            body = n % 3 == 2
            connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n")
            if body:
                connection.sendall(b"content-length: 100\r\n\r\n{")
            held.append(connection)
            if n % 10 == 9:
                with connect(strict) as honest:
                    assert health(honest).startswith(b"HTTP/1.1 200")
        assert len(strict.uvicorn.server_state.connections) <= 20
    finally:
        for connection in held:
            connection.close()


def test_an_answer_in_progress_never_makes_room(start_server, speaking_model):
    server = start_server(
        models=(str(speaking_model({"\n": "again", "again": "again"})),), most_connections=4, only_these=True
    )
    with server.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": name, "messages": QUESTION, "stream": True, "max_tokens": 400}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            pieces = response.iter_raw()
            next(pieces)
            held = [connect(server) for _ in range(8)]
            with connect(server) as honest:
                assert health(honest).startswith(b"HTTP/1.1 200")
            assert b"[DONE]" in b"".join(pieces)
        for connection in held:
            connection.close()


def test_the_address_with_the_most_connections_makes_room_first_and_of_it_the_quietest():
    class Held(TimeLimitedProtocol):
        cycle = None

        def __init__(self, host, since):
            self.client, self.quiet_since, self.gone = (host, 1), since, False

        def give_way(self):
            self.gone = True

    one = Held("10.0.0.1", 1)
    many = [Held("10.0.0.2", since) for since in (4, 2, 3)]
    newest = Held("10.0.0.3", 5)
    newest.connections = {one, *many, newest}
    assert newest._make_room()
    assert [each.gone for each in (one, *many)] == [False, False, True, False]
