"""Other servers, on loopback: a stub that says what it is told, and our own over a real model."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.serving.conftest import start_server  # noqa: F401 - a fixture

from ouvert.evaluation import Chat, Item
from ouvert.evaluation.contestants.exchange import Patience

# Waits that a test can wait for.
SHORT = Patience(attempts=3, first=0.001, most=0.01, answer=20.0)


@dataclass
class Reply:
    """`body`: what is written, piece by piece. `cut`: the connection is closed behind it, before it is over.
    `wait`: nothing more comes before it is set."""

    body: list[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    wait: threading.Event | None = None


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: object


class Stub:
    """`says(path, reply, ...)`: its answers there, one after the other, the last one for good. `asked`: what came."""

    def __init__(self):
        self.asked: list[Asked] = []
        self._replies: dict[str, list[Reply]] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                data = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.asked.append(Asked(self.command, self.path, headers, json.loads(data) if data else None))
                reply = stub.next(self.path)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                length = sum(map(len, reply.body)) + (100 if reply.cut or reply.wait else 0)
                self.send_header("content-length", str(length))
                self.send_header("connection", "close")
                self.end_headers()
                for piece in reply.body:
                    self.wfile.write(piece)
                    self.wfile.flush()
                if reply.wait is not None:
                    reply.wait.wait(20)
                self.close_connection = True

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def says(self, path, *replies):
        self._replies[path] = list(replies)

    def next(self, path):
        replies = self._replies.get(path.partition("?")[0])
        if not replies:
            return Reply([b'{"error": {"message": "nothing here"}}'], 404)
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def bodies(self, path):
        return [each.body for each in self.asked if each.path.partition("?")[0] == path]

    def close(self):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def stub():
    made = Stub()
    yield made
    made.close()


def events(*data):
    """Server-sent events, as one reply; those that have a type are named after it, as Anthropic's are."""
    return Reply([event(each) for each in data])


def event(data):
    name = f"event: {data['type']}\n" if isinstance(data, dict) and "type" in data else ""
    return name.encode() + b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def lines(*data):
    return Reply([json.dumps(each).encode() + b"\n" for each in data])


def whole(data, status=200, **headers):
    return Reply(
        [json.dumps(data).encode()], status, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def item_of(ask, **fields):
    return Item(**{"suite": "trial", "id": "1", "language": "en", "ask": ask, "expected": {}, **fields})


def chat(text="What is 2+2?", **fields):
    messages = fields.pop("messages", ({"role": "user", "content": text},))
    return item_of(Chat(**{"messages": messages, "max_tokens": 16, **fields}))


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
AFTER_A_CALL = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Lyon and Nice?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"town": "Lyon"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": '{"town": "Nice"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    {"role": "tool", "tool_call_id": "c2", "content": "sun"},
)
