"""Contestants that are other servers of this machine: Ollama, llama.cpp, LM Studio, vLLM, by their address."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from ouvert.assistant import Address, Connection, EngineError
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.dialects.ollama import Ollama
from ouvert.evaluation.contestants.dialects.openai import OpenAI
from ouvert.evaluation.contestants.echoed import can_echo
from ouvert.evaluation.contestants.exchange import Exchange, NothingThereError, Patience, RefusedError
from ouvert.evaluation.contestants.notation import LOCAL_DIALECTS, Place, place_of
from ouvert.evaluation.contestants.server_contestant import (
    ROOM_FOR_THOUGHTS,
    Manner,
    ServerContestant,
    present,
    shown_name,
)
from ouvert.evaluation.error import EvaluationError
from ouvert.safety import is_this_machine

USUAL_CONTEXT = 8192  # tokens that an Ollama server is asked to have room for; its own default cuts prompts
USUAL_PATIENCE = Patience()
LISTED = 12  # models that an error names


def open_local(
    text: str,
    *,
    temperature: float | None = 0.0,
    context: int = USUAL_CONTEXT,
    key: str | None = None,
    patience: Patience = USUAL_PATIENCE,
) -> ServerContestant:
    """The contestant at that address of this machine: "ollama:http://127.0.0.1:11434/MODEL", or "openai:http://…" for
    every server that speaks OpenAI's chat completions.

    `temperature` 0: the likeliest token each time. `context`: tokens that an Ollama server is asked to have room for,
    at most the model's. `key`: of a server that was started with one; it is sent, and written nowhere.

    Raises EvaluationError for an address that is not this machine's, where nobody answers, where the server has no such
    model, and where the model that it names is computed somewhere else.
    """
    place = place_of(text)
    if place.dialect not in LOCAL_DIALECTS:
        raise EvaluationError(
            f"opening the contestant {place.text}: servers of this machine are asked as {' or '.join(LOCAL_DIALECTS)}, "
            f"not as {place.dialect}. Write openai:{place.address}/{place.model} if it speaks that, too."
        )
    if not is_this_machine(place.address.host):
        raise EvaluationError(
            f"opening the contestant {place.text}: {place.address.host} is another machine, and the questions would "
            f"leave this one; expected an address of this machine, such as 127.0.0.1. If you want that, "
            f"docs/guides/compare.md says how a remote contestant is allowed (--remote {place.text})."
        )
    server = OllamaServer(place, key, patience) if place.dialect == "ollama" else OpenAIServer(place, key, patience)
    return server.contestant(temperature, context)


def exchange_with(place: Place, address: Address, key: str | None, patience: Patience) -> Exchange:
    try:
        connection = Connection(address, headers=OpenAI(hosted=False).headers(key))
    except EngineError as problem:
        raise EvaluationError(f"opening the contestant {place.text}: {problem}") from problem
    return Exchange(connection, place.text, secret=key, patience=patience)


def asked(exchange: Exchange, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """What a server says of itself there; empty where it says nothing. Raises EvaluationError where it is gone."""
    try:
        found = exchange.once(method, path, body)
    except RefusedError:
        return {}
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class OllamaServer:
    """What Ollama says of a model: /api/show, /api/tags, /api/version."""

    place: Place
    key: str | None
    patience: Patience

    def contestant(self, temperature: float | None, context: int) -> ServerContestant:
        exchange = exchange_with(self.place, self.place.address, self.key, self.patience)
        listed = entry_of(asked(exchange, "GET", "/api/tags").get("models"), ("name", "model"), self.place)
        shown = asked(exchange, "POST", "/api/show", {"model": listed["name"]})
        self._refuse_what_leaves(listed, shown)
        window = context_of(shown)
        room = min(context, window) if window else context
        thinks = "thinking" in (shown.get("capabilities") or ())
        if self.place.effort is not None and not thinks:
            raise EvaluationError(
                f"opening the contestant {self.place.text}: {self.place.model} does not think there, so it has no "
                f"effort; expected none. Leave :{self.place.effort} out."
            )
        said = {
            "digest": listed.get("digest"),
            "version": asked(exchange, "GET", "/api/version").get("version"),
            "template": digest_of(shown.get("template")),
        }
        details = shown.get("details")
        about = {
            "licence": first_line(shown.get("license")),
            "parameters": field_of(details, "parameter_size"),
            "precision": field_of(details, "quantization_level"),
            "bytes": listed.get("size"),
            "context": window,
        }
        manner = Manner(
            model=str(listed["name"]), effort=self.place.effort, temperature=temperature, context=room,
            room=ROOM_FOR_THOUGHTS[self.place.effort or ""] if thinks else 0,
        )  # fmt: skip
        facts = facts_of(self.place, manner, said, about, frozenset({"chat"}))
        return ServerContestant(facts, exchange, Ollama(), manner)

    def _refuse_what_leaves(self, *described: Mapping[str, Any]) -> None:
        """Ollama passes questions for "cloud" models on to another host, behind an address of this machine."""
        for each in described:
            if each.get("remote_host") or each.get("remote_model"):
                raise EvaluationError(
                    f"opening the contestant {self.place.text}: {self.place.model} is computed at "
                    f"{each.get('remote_host') or 'another host'!s:.200}, so the questions would leave this machine; "
                    "expected a model that Ollama computes here. Pull another, or leave it out."
                )


@dataclass(frozen=True, slots=True)
class OpenAIServer:
    """What a server that speaks OpenAI's dialect says of itself: /v1/models, and llama.cpp's /props."""

    place: Place
    key: str | None
    patience: Patience

    def contestant(self, temperature: float | None, context: int) -> ServerContestant:
        exchange = exchange_with(self.place, self.place.address, self.key, self.patience)
        listed = entry_of(asked(exchange, "GET", "/models").get("data"), ("id",), self.place)
        root = Address(self.place.address.host, self.place.address.port, self.place.address.secure)
        props = self._props(root)
        name = str(listed["id"])
        meta = listed.get("meta") or {}
        said = {
            "owned_by": listed.get("owned_by"),
            "root": base_name(listed.get("root")),
            "file": base_name(props.get("model_path")),
            "build": props.get("build_info"),
            "template": digest_of(props.get("chat_template")),
        }
        about = {
            "parameters": field_of(meta, "n_params"),
            "bytes": field_of(meta, "size"),
            "context": listed.get("max_model_len") or field_of(meta, "n_ctx") or field_of(meta, "n_ctx_train"),
        }
        manner = Manner(
            model=name, effort=self.place.effort, temperature=temperature,
            room=ROOM_FOR_THOUGHTS[self.place.effort] if self.place.effort else 0,
        )  # fmt: skip
        asks = {"chat", "likelihood", "text"} if can_echo(exchange, name) else {"chat"}
        facts = facts_of(self.place, manner, said, about, frozenset(asks))
        return ServerContestant(facts, exchange, OpenAI(hosted=False), manner)

    def _props(self, root: Address) -> Mapping[str, Any]:
        return asked(exchange_with(self.place, root, self.key, self.patience), "GET", "/props")


def facts_of(
    place: Place,
    manner: Manner,
    said: Mapping[str, Any],
    about: Mapping[str, Any],
    asks: frozenset[str],
) -> ContestantFacts:
    """What is not said is left out."""
    identity = {
        "where": "local",
        "dialect": place.dialect,
        "address": str(place.address),
        "model": shown_name(manner.model),
        "effort": manner.effort,
        "temperature": manner.temperature,
        "room_for_thoughts": manner.room,
        "context": manner.context,
        "said": present(said),
    }
    return ContestantFacts(
        label=label_of(place), name=shown_name(manner.model), where="local", identity=present(identity),
        about=present(about), asks=asks, host=place.host, replays=False,
    )  # fmt: skip


def entry_of(listed: Any, names: tuple[str, ...], place: Place) -> Mapping[str, Any]:
    """The model that is meant, of those that a server lists. Raises EvaluationError where it has it not."""
    every = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    every = [each for each in every if isinstance(each.get(names[0]), str)]
    meant = {place.model, f"{place.model}:latest"} - {""}
    for each in every:
        if meant & {each.get(name) for name in names} or shown_name(each[names[0]]) in meant:
            return each
    if not place.model and len(every) == 1:
        return every[0]
    there = ", ".join(f"{each[names[0]]:.80}" for each in every[:LISTED]) + (", …" if len(every) > LISTED else "")
    raise NothingThereError(
        f"opening the contestant {place.text}: the server at {place.address} has no model {place.model!r}, expected "
        f"one of its own: {there or 'it lists none'}. Write its name behind the address."
    )


def label_of(place: Place) -> str:
    """As its owner wrote it, but for folders."""
    return place.text.replace(place.model, shown_name(place.model)) if place.model else place.text


def context_of(shown: Mapping[str, Any]) -> int | None:
    """`<architecture>.context_length` of model_info."""
    info = shown.get("model_info")
    found = [
        value
        for name, value in (info.items() if isinstance(info, Mapping) else ())
        if name.endswith(".context_length") and isinstance(value, int)
    ]
    return found[0] if found else None


def field_of(described: Any, name: str) -> Any:
    return described.get(name) if isinstance(described, Mapping) else None


def digest_of(text: Any) -> str | None:
    """None for what is no text, or an empty one."""
    return "sha256:" + sha256(text.encode("utf-8", "replace")).hexdigest() if isinstance(text, str) and text else None


def base_name(path: Any) -> str | None:
    """A file's name without its folders, which are nobody's business."""
    return PurePath(path.replace("\\", "/")).name or None if isinstance(path, str) else None


def first_line(text: Any) -> str | None:
    """Of a licence that is a whole text."""
    return text.strip().splitlines()[0][:120] if isinstance(text, str) and text.strip() else None
