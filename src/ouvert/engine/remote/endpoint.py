"""The token endpoint of another server, as vLLM has it: token ids in, token ids and log-probabilities out.

`POST /inference/v1/generate` and what is asked beside it. Facts with their sources: docs/formats/engine-http.md.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.engine.interface import EngineError, EngineUnreachableError, Token
from ouvert.engine.remote.connection import Connection, Lines, events, parsed

GENERATE = "/inference/v1/generate"
TOKENS = "tokens"  # the output mode in which nothing is turned into text
DONE = b"[DONE]"
SEED_STEP = 0x9E3779B97F4A7C15  # odd, so that no two places of an answer have the same seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one event of a stream says. `finish_reason`: why it ended, in the last one that has tokens.

    `cached_tokens`: of the prompt, found in a cache; None where nothing is said of it. `beside`: what only our own
    engine says.
    """

    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    cached_tokens: int | None = None
    weights_version: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that the other server has. `root` is what it was loaded from, in that server's words."""

    name: str
    root: str
    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for tokens that follow `ids`. `params` are vLLM's SamplingParams as JSON; `salt` keeps what it leaves
    in the other server's cache apart from what other salts left.

    `written`: how many of `ids`, at their end, are of this answer already: it was begun in another request.
    """

    ids: Sequence[int]
    params: Mapping[str, Any]
    salt: str | None = None
    written: int = 0


class TokenEndpoint:
    """`source.TokenSource` of one server. Safe from any thread; `model` is which of its models is meant. Making one
    raises nothing."""

    counts_prompts = False

    def __init__(self, connection: Connection, model: str | None = None) -> None:
        self.connection, self.model = connection, model

    def __str__(self) -> str:
        return str(self.connection.address)

    def generate(self, ask: Ask, deadline: float | None = None) -> "TokenStream":
        """The tokens as they come. `deadline`, on time.monotonic's clock: see `TokenStream`.

        Raises EngineUnreachableError where nobody answers, EngineBusyError where it has too much to do, EngineError for
        what it refuses at once.
        """
        return TokenStream(str(self), self.connection.stream(GENERATE, self.body(ask, stream=True)), deadline)

    def whole(self, ask: Ask, within: float | None = None) -> Mapping[str, Any]:
        """The answer as one JSON object. Raises as `generate` does."""
        answer = self.connection.post(GENERATE, self.body(ask, stream=False), within=within)
        return self._mapping(answer, GENERATE)

    def body(self, ask: Ask, *, stream: bool) -> dict[str, Any]:
        """The request as JSON. Where an answer goes on, chance has to begin elsewhere: the same seed would draw the
        same again. Raises nothing."""
        params = dict(ask.params)
        if ask.written and "seed" in params:
            params["seed"] = (params["seed"] + ask.written * SEED_STEP) % 2**63
        body: dict[str, Any] = {"token_ids": list(ask.ids), "sampling_params": params, "output_mode": TOKENS}
        body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {"stream": False}
        if self.model is not None:
            body["model"] = self.model
        if ask.salt is not None:
            body["cache_salt"] = ask.salt
        return body

    def healthy(self) -> bool:
        """Whether it says of itself that it is well. Raises nothing."""
        try:
            self.connection.get("/health")
        except EngineError:
            return False
        return True

    def version(self) -> str:
        """Raises EngineError where it does not say."""
        stated = self._mapping(self.connection.get("/version"), "/version").get("version")
        return str(stated) if stated else "unknown"

    def served(self) -> tuple[Served, ...]:
        """Its models. Raises EngineError for a list that is not understood."""
        answer = self._mapping(self.connection.get("/v1/models"), "/v1/models")
        try:
            return tuple(
                Served(
                    name=str(each["id"]), root=str(each.get("root") or each["id"]), context=int(each["max_model_len"])
                )
                for each in answer["data"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise self._strange("/v1/models", answer, "a list of models with id and max_model_len") from problem

    def tokenize(self, text: str) -> list[int]:
        """Its own tokenizer's ids of a text, nothing added. Raises EngineError where it has none."""
        body = {"prompt": text, "add_special_tokens": False} | ({} if self.model is None else {"model": self.model})
        answer = self._mapping(self.connection.post("/tokenize", body), "/tokenize")
        ids: Any = answer.get("tokens")
        if not are_ids(ids):
            raise self._strange("/tokenize", answer, "tokens, a list of ids")
        return list(ids)

    def _mapping(self, answer: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(answer, Mapping):
            raise self._strange(path, answer, "a JSON object")
        return answer

    def _strange(self, path: str, answer: object, expected: str) -> EngineError:
        return EngineError(
            f"asking {self}{path}: the answer is {answer!r:.200}, expected {expected}. Is this the server of a model? "
            "docs/formats/engine-http.md says what is expected of one."
        )


class TokenStream:
    """An answer as it comes. One thread iterates it; any may close it, which tells the other side to stop."""

    def __init__(self, place: str, lines: Lines, deadline: float | None = None) -> None:
        """`deadline`: when waiting ends, on time.monotonic's clock."""
        self._place, self._lines, self._deadline = place, lines, deadline
        self._events = events(lines, deadline, None)
        self._finished = False

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks; none any more once it is closed.

        Raises TimeoutError at the deadline, EngineUnreachableError where the connection is lost before the end or what
        comes is not understood (it is not the request's fault), and EngineError for what the other side says is wrong.
        """
        try:
            for data in self._events:
                if data == DONE:
                    break
                chunk = self._chunk(parsed(data, f"reading the answer of {self._place}", EngineUnreachableError))
                self._finished = self._finished or chunk.finish_reason is not None
                yield chunk
        except TimeoutError:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise
            raise EngineUnreachableError(
                f"reading the answer of {self._place}: nothing came for too long. Is the engine well? Ask again."
            ) from None
        if not self._finished and not self._lines.closed:
            raise EngineUnreachableError(
                f"reading the answer of {self._place}: it ended before the answer did. The engine there was stopped, "
                "or failed; its own log says why. Ask again when it is well."
            )

    def close(self) -> None:
        """The other side is told that nobody wants the rest. From any thread; may be called twice. Raises nothing."""
        self._lines.close()

    def _chunk(self, event: Any) -> Chunk:
        try:
            if (error := event.get("error")) is not None:
                raise self._failed(error)
            if (mode := event.get("output_mode")) != TOKENS:
                raise EngineUnreachableError(
                    f"reading the answer of {self._place}: output_mode={mode!r}, expected {TOKENS!r}. This server is "
                    "older than the endpoint that is wanted: vLLM 0.32 has it."
                )
            return chunk_of(event)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise EngineUnreachableError(
                f"reading the answer of {self._place}: an event is {event!r:.200}, expected choices with token_ids. Is "
                "this the server of a model? docs/formats/engine-http.md says what is expected of one."
            ) from problem

    def _failed(self, error: Any) -> EngineError:
        """Also what is wrong with the request may be said only here: the stream has begun by then."""
        said = error.get("message", error) if isinstance(error, Mapping) else error
        code = error.get("code") if isinstance(error, Mapping) else None
        sentence = f"asking {self._place}: {said!s:.600}"
        if isinstance(code, int) and 400 <= code < 500:
            return EngineError(f"{sentence.rstrip('.')}. Change what is named here.")
        return EngineUnreachableError(f"{sentence.rstrip('.')}. Its own log says why; ask again when it is well.")


def chunk_of(event: Mapping[str, Any]) -> Chunk:
    """Raises KeyError, TypeError, ValueError and AttributeError for what is no event of one choice."""
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    choices = event["choices"]
    if not choices:
        return Chunk(cached_tokens=cached, beside=event.get("ouvert") or {})
    [choice] = choices
    reason, versions = choice.get("finish_reason"), choice.get("weight_versions")
    return Chunk(
        tokens=tokens_of(choice),
        finish_reason=None if reason is None else str(reason),
        cached_tokens=cached,
        weights_version=str(versions[-1]["version"]) if versions else None,
    )


def tokens_of(choice: Mapping[str, Any]) -> tuple[Token, ...]:
    ids = choice.get("token_ids") or []
    if not are_ids(ids):
        raise ValueError("token_ids are no ids")
    if choice.get("logprobs") is None:
        return tuple(map(Token, ids))
    stated = choice["logprobs"]["content"]
    return tuple(token_with_logprobs(each, content) for each, content in zip(ids, stated, strict=True))


def token_with_logprobs(token: int, content: Mapping[str, Any]) -> Token:
    """`top`, likeliest first: the other side puts the chosen token first, however likely it is."""
    if content["token_id"] != token:
        raise ValueError("log-probabilities of another token")
    top = {int(each["token_id"]): float(each["logprob"]) for each in content["top_logprobs"]}
    return Token(token, float(content["logprob"]), tuple(sorted(top.items(), key=lambda each: (-each[1], each[0]))))


def are_ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in value)
