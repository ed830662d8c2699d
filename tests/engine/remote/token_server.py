"""A server of tokens that says and does what it is told: vLLM's endpoint, over one of our engines.

It speaks HTTP for real, on a port of this machine. What vLLM 0.32 does was seen there: docs/formats/engine-http.md.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from ouvert.engine import Engine, EngineError, Grammar, Sampling, Vocabulary


class OneOfThese:
    """The constraint `allowed_token_ids`."""

    def __init__(self, ids):
        self.ids = np.array(sorted(ids))

    source: Mapping[str, object] = {}

    def begin(self):
        return self

    def allowed(self):
        return self.ids

    def advance(self, token):
        assert token in self.ids

    accepting, finished = False, False


@dataclass
class Script:
    """What the server does otherwise than all is well. `refuses`: kinds of structured_outputs it has no words for, at
    once or (`late`) when the stream has begun. `dies_after`, `hangs_after`: tokens of each stream. `event`: what comes
    instead of a token's event. `ends_with`: the finish_reason of every answer."""

    key: str | None = None
    refuses: frozenset[str] = frozenset()
    late: bool = False
    dies_after: int | None = None
    hangs_after: int | None = None
    event: Callable[[dict], object] = lambda event: event
    ends_with: str | None = None
    most: int = 10**9  # tokens of a stream
    weights_version: str = "default"
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    json: dict[str, object] = field(default_factory=dict)
    usage: bool = True


class TokenServer:
    """`requests` are (path, headers, body) of all that came; `left`: how many clients went away in a stream."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, model: str = "tiny") -> None:
        self.engine, self.vocabulary, self.model = engine, vocabulary, model
        self.script = Script()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.left = 0
        self.hanging = threading.Event()  # set: those that hang go on, and die
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"tokens_from": self}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def asked(self, path: str = "/inference/v1/generate") -> list[Any]:
        """The bodies that came to that path."""
        return [body for at, _, body in self.requests if at == path]

    def close(self) -> None:
        self.hanging.set()
        self._http.shutdown()
        self._http.server_close()
        self.engine.close()

    def json_at(self, path: str, body: Any) -> object:
        if path in self.script.json:
            return self.script.json[path]
        match path:
            case "/health":
                return None
            case "/version":
                return {"version": "0.32.0"}
            case "/v1/models":
                one = {"id": self.model, "root": f"files/{self.model}", "max_model_len": self.engine.context}
                return {"object": "list", "data": [one]}
            case "/tokenize":
                return {"tokens": self.vocabulary._encode(body["prompt"])}
            case _:
                raise KeyError(path)

    def sampling(self, params: dict) -> Sampling:
        constraint = None
        if (held := params.get("structured_outputs")) is not None:
            [(kind, text)] = held.items()
            if kind in self.script.refuses:
                raise EngineError(f"no backend for {kind}")
            grammars = {"json": Grammar.json_schema, "regex": Grammar.regex, "choice": Grammar.one_of}
            constraint = self.vocabulary.compile(grammars[kind](text))
        elif (ids := params.get("allowed_token_ids")) is not None:
            constraint = OneOfThese(ids)
        same = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "logprobs")
        return Sampling(
            max_tokens=min(params["max_tokens"], self.script.most),
            **{name: params[name] for name in same if name in params},
            logit_bias={int(token): bias for token, bias in params.get("logit_bias", {}).items()},
            stop_ids=frozenset(params.get("stop_token_ids", ())),
            constraint=constraint,
        )


class Handler(BaseHTTPRequestHandler):
    """One connection: what the script of `tokens_from` says, else what the endpoint does."""

    tokens_from: TokenServer

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def answer(self, body):
        self.tokens_from.requests.append((self.path, dict(self.headers), body))
        script = self.tokens_from.script
        if script.key is not None and self.headers.get("authorization") != f"Bearer {script.key}":
            self.say(401, {"error": "Unauthorized"})
        elif self.path in script.status:
            status, text = script.status[self.path]
            self.say(status, {"error": {"message": text, "code": status}})
        elif self.path != "/inference/v1/generate":
            self.say(200, self.tokens_from.json_at(self.path, body))
        elif body["stream"]:
            self.stream(body)
        else:
            self.whole(body)

    def say(self, status, value):
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def whole(self, body):
        ids, top = body["token_ids"], body["sampling_params"]["prompt_logprobs"]
        places = [None]
        for token in self.tokens_from.engine.score(ids, top):
            place = {str(token.id): {"logprob": token.logprob}}
            places.append(place | {str(each): {"logprob": logprob} for each, logprob in token.top})
        self.say(200, {"output_mode": "tokens", "prompt_logprobs": places, "choices": []})

    def stream(self, body):
        refused = None
        try:
            generation = self.tokens_from.engine.generate(
                body["token_ids"], self.tokens_from.sampling(body["sampling_params"])
            )
        except EngineError as problem:
            refused = problem
        if refused is not None and not self.tokens_from.script.late:
            self.say(400, {"error": {"message": str(refused), "code": 400}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            if refused is not None:
                self.event({"error": {"message": str(refused), "code": 400}})
            elif not self.tokens(generation, body):
                return
            self.piece(b"data: [DONE]\n\n")
            self.piece(b"")
        except OSError:
            self.tokens_from.left += 1
            if refused is None:
                generation.cancel()

    def tokens(self, generation, body):
        """False where the server died in the middle."""
        script, came = self.tokens_from.script, 0
        for came, token in enumerate(generation, 1):
            if script.hangs_after is not None and came > script.hangs_after:
                self.tokens_from.hanging.wait()
            if came > min(each for each in (script.dies_after, script.hangs_after, 10**9) if each is not None):
                generation.cancel()
                self.close_connection = True
                return False
            self.event(script.event(event_of(token)))
        reason = script.ends_with or generation.stopped.reason
        self.event(script.event(event_of(None, reason, script.weights_version)))
        if script.usage:
            usage = {"prompt_tokens": len(body["token_ids"]), "prompt_tokens_details": {"cached_tokens": 2}}
            self.event({"output_mode": "tokens", "choices": [], "usage": usage})
        return True

    def event(self, value):
        self.piece(b": a sign of life\n\n")
        self.piece(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def event_of(token, reason=None, weights_version=None):
    choice = {"index": 0, "finish_reason": reason, "stop_reason": None, "token_ids": [], "logprobs": None}
    if token is not None:
        choice["token_ids"] = [token.id]
        if token.logprob is not None:
            tops = [(token.id, token.logprob), *(each for each in token.top if each[0] != token.id)]
            top = [{"token_id": each, "logprob": logprob} for each, logprob in tops[: max(1, len(token.top))]]
            content = {"token_id": token.id, "logprob": token.logprob, "top_logprobs": top}
            choice["logprobs"] = {"content": [content]}
    else:
        choice["weight_versions"] = [{"version": weights_version, "start": 0, "end": 1}]
    return {"request_id": "1", "output_mode": "tokens", "choices": [choice]}
