"""Contestants beyond this machine: OpenAI's, Anthropic's and Gemini's interfaces, and others that speak alike.

Refused, before a name is looked up, until the owner's configuration names the host.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ouvert.assistant import Connection, EngineError
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.dialects.anthropic import Anthropic
from ouvert.evaluation.contestants.dialects.dialect import Dialect
from ouvert.evaluation.contestants.dialects.gemini import Gemini
from ouvert.evaluation.contestants.dialects.ollama import Ollama
from ouvert.evaluation.contestants.dialects.openai import OpenAI
from ouvert.evaluation.contestants.exchange import Exchange, Patience
from ouvert.evaluation.contestants.notation import KNOWN_HOSTS, Place, place_of
from ouvert.evaluation.contestants.server_contestant import ROOM_FOR_THOUGHTS, Manner, ServerContestant, present
from ouvert.evaluation.error import EvaluationError
from ouvert.safety import Guard, Hosts, connecting, is_this_machine

PURPOSE = "contestant"  # what its host is allowed for, in receipts
USUAL_PATIENCE = Patience(answer=900.0)
KEY_VARIABLES = {
    "api.openai.com": "OPENAI_API_KEY",
    "api.anthropic.com": "ANTHROPIC_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
}
# What cannot be known of a model that another host computes; the report has a sentence for each.
UNKNOWN = ("weights", "may_change", "no_replay", "no_damage", "no_insides", "joules", "network_time", "hidden_thoughts")


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote contestant that its owner has allowed, before anything is asked of it. Making one opens nothing."""

    place: Place
    dialect: Dialect
    manner: Manner
    facts: ContestantFacts

    def open(
        self, key: str | None = None, guard: Guard | None = None, patience: Patience = USUAL_PATIENCE
    ) -> ServerContestant:
        """The contestant; nothing is sent before it is asked. `key` is sent, and written nowhere. `guard`: this
        process's; each receipt then says which connections were attempted.

        Raises EvaluationError where a key is needed and none is given, and for one that no header can hold.
        """
        address = self.place.address
        if key is None and not is_this_machine(address.host):
            raise EvaluationError(
                f"opening the contestant {self.place.text}: {address.host} needs a key, and there is none; expected it "
                f"in the environment as {key_variable(self.place)}. Set it there; it is written nowhere."
            )
        try:
            connection = Connection(
                address, headers=self.dialect.headers(key),
                connecting=partial(connecting, address.host, address.port, PURPOSE),
            )  # fmt: skip
        except EngineError as problem:
            raise EvaluationError(f"opening the contestant {self.place.text}: {problem}") from problem
        exchange = Exchange(connection, self.place.text, secret=key, patience=patience)
        return ServerContestant(self.facts, exchange, self.dialect, self.manner, counted(guard))


def remote(text: str, allowed: Iterable[str]) -> Remote:
    """The remote contestant "openai:gpt-5", "anthropic:claude-opus-4-5:low", "gemini:gemini-3-pro", or at another host
    that speaks alike, "openai:https://HOST/v1/MODEL". `allowed`: the hosts that the owner's configuration names, as
    `Hosts` takes them. Opens nothing.

    Raises EvaluationError for a host that is not among them, for what names no model, and for one that would be asked
    without encryption; ValueError for what is no host in `allowed`.
    """
    place = place_of(text)
    address = place.address
    if (address.host, address.port) not in Hosts(allowed):
        raise EvaluationError(
            f"comparing with {place.text}: its questions would leave this machine, for {place.host}, which the owner's "
            f'configuration does not name; expected it in the table remote, as allow = ["{place.host}"]. `ouvert '
            "config --path` says where that file is. Nothing was sent, and no connection was opened."
        )
    if not address.secure and not is_this_machine(address.host):
        raise EvaluationError(
            f"comparing with {place.text}: by http whoever is on the way reads the questions and the key, expected "
            "https. Write https://."
        )
    if not place.model:
        raise EvaluationError(f"comparing with {place.text}: no model is named, expected its name behind the address.")
    dialects: Mapping[str, Dialect] = {
        "openai": OpenAI(hosted=retention_of(place) == "openai"),
        "anthropic": Anthropic(),
        "gemini": Gemini(),
        "ollama": Ollama(),
    }
    manner = Manner(
        model=place.model, effort=place.effort, room=ROOM_FOR_THOUGHTS[place.effort or ""], temperature=None
    )
    return Remote(place, dialects[place.dialect], manner, facts_of(place, manner))


def facts_of(place: Place, manner: Manner) -> ContestantFacts:
    identity = {
        "where": "remote",
        "dialect": place.dialect,
        "address": str(place.address),
        "model": place.model,
        "effort": place.effort,
        "sampling": "the provider's",
        "room_for_thoughts": manner.room,
    }
    about = {"leaves_machine": True, "retention": retention_of(place), "unknown": list(UNKNOWN)}
    return ContestantFacts(
        label=place.text, name=place.model, where="remote", identity=present(identity), about=about,
        asks=frozenset({"chat"}), host=place.host, replays=False,
    )  # fmt: skip


def retention_of(place: Place) -> str:
    """Which statement about keeping questions holds, a key of texts/elsewhere: the dialect, at its maker's own host."""
    known = KNOWN_HOSTS.get(place.dialect, "").removeprefix("https://")
    return place.dialect if place.address.host == known and place.address.secure else "unknown"


def key_variable(place: Place) -> str:
    """The environment's name for a host's key. A key is for one host: another that speaks alike never gets it. Raises
    nothing."""
    if place.host in KEY_VARIABLES:
        return KEY_VARIABLES[place.host]
    return "KEY_" + "".join(each if each.isascii() and each.isalnum() else "_" for each in place.host.upper())


def counted(guard: Guard | None) -> Callable[[], Callable[[], Mapping[str, Any]]]:
    """For a receipt: called before an answer, it gives what is called behind it."""
    if guard is None:
        return lambda: dict
    return lambda: partial(guard.report, guard.counts)
