"""How another server's model is written: DIALECT:URL/MODEL[:EFFORT], and for three known hosts DIALECT:MODEL[:EFFORT].

    ollama:http://127.0.0.1:11434/qwen2.5:0.5b
    openai:http://127.0.0.1:8080/qwen3:low
    openai:gpt-5:medium

docs/formats/remote-contestants.md says it in full.
"""

from dataclasses import dataclass
from typing import Literal

from ouvert.assistant import Address, EngineError
from ouvert.evaluation.error import EvaluationError

Dialect = Literal["ollama", "openai", "anthropic", "gemini"]
DIALECTS: tuple[Dialect, ...] = ("ollama", "openai", "anthropic", "gemini")
LOCAL_DIALECTS = ("ollama", "openai")

EFFORTS = ("low", "medium", "high")  # are no tags, as in the names of our own models

# The part of an address that says which version of the dialect is spoken; what follows it is the model's name.
VERSIONS = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}

KNOWN_HOSTS = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model of another server. `address` has the path that comes before every request's own. `model` is "" where
    nobody said which: the only one that the server has. `text`: as it was written."""

    dialect: Dialect
    address: Address
    model: str
    effort: str | None
    text: str

    @property
    def host(self) -> str:
        """The host as an owner's configuration names it: with the port where it is not the scheme's own. Raises
        nothing."""
        name = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return name if self.address.port == (443 if self.address.secure else 80) else f"{name}:{self.address.port}"


def names_another_server(text: str) -> bool:
    """Whether that is written as a model of another server of this machine: ollama:http://…, openai:http://…

    Raises nothing.
    """
    dialect, _, rest = text.partition(":")
    return dialect in DIALECTS and rest.startswith(("http://", "https://"))


def place_of(text: str) -> Place:
    """Raises EvaluationError for what is not written so."""
    dialect, _, rest = text.strip().partition(":")
    if dialect not in DIALECTS or not rest:
        raise EvaluationError(
            f"reading the contestant {text!r:.200}: expected DIALECT:URL/MODEL, such as "
            "ollama:http://127.0.0.1:11434/qwen2.5:0.5b, or DIALECT:MODEL, such as openai:gpt-5; the dialects are "
            f"{', '.join(DIALECTS)}. Correct it."
        )
    if rest.startswith(("http://", "https://")):
        scheme, _, beyond = rest.partition("://")
        host, _, path = beyond.partition("/")
        base, model = divided(path, dialect)
        url = f"{scheme}://{host}{base}"
    elif dialect in KNOWN_HOSTS:
        url, model = KNOWN_HOSTS[dialect] + VERSIONS[dialect], rest
    else:
        raise EvaluationError(
            f"reading the contestant {text!r:.200}: it does not say where the server is, expected an address: "
            f"{dialect}:http://127.0.0.1:11434/{rest}. Add it."
        )
    try:
        address = Address.of(url)
    except EngineError as problem:
        raise EvaluationError(f"reading the contestant {text!r:.200}: {problem}") from problem
    name, _, effort = model.rpartition(":")
    if effort not in EFFORTS or not name:
        name, effort = model, ""
    if name and not (name.isprintable() and name == name.strip()):
        raise EvaluationError(
            f"reading the contestant {text!r:.200}: the model's name is {name!r:.80}, expected a name."
        )
    return Place(dialect=dialect, address=address, model=name, effort=effort or None, text=text.strip())


def divided(path: str, dialect: str) -> tuple[str, str]:
    """(what comes before every request's own path, the model) of an address's path. A version that the address has
    ("/v1", "/api/v1") ends the first; without one it is the dialect's."""
    if dialect == "ollama":
        return "", path
    version = VERSIONS[dialect]
    before, found, model = f"/{path}".partition(f"{version}/")
    if found:
        return before + version, model
    return (f"/{path}", "") if f"/{path}".endswith(version) else (version, path)
