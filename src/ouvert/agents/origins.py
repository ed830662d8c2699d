"""Where the destinations of a call came from: for whoever is asked, and nothing is decided by it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ouvert.agents.log import EVENTS, Event, EventLog
from ouvert.agents.policy import Authority, folded
from ouvert.agents.state import owners_words

INNER = "inner"


def asked_facts(folder: Path, log: EventLog, trusted: tuple[str, ...]) -> dict[str, Any] | None:
    """The question that a run waits with, and each of its destinations with where it was first seen: `owner` (in the
    owner's own words), `trusted` (the agent's file lists it), `result` (of the tool `tool`, the first that said it), or
    `model`: nothing that was read has it. Raises KeyError for events that lack what their kind has."""
    if not log.events or log.events[-1].kind != "ask":
        return None
    ask = log.events[-1]
    words = owners_words(log.events[0].facts)
    results = [*results_in(log), *(each for inner in inner_logs(folder) for each in results_in(inner))]
    return {
        "call": ask["call"],
        "tool": ask["tool"],
        "arguments": ask["arguments"],
        "effect": ask["effect"],
        "why": ask["why"],
        "cause": ask["cause"],
        "targets": [{"target": each, **origin(each, words, trusted, results)} for each in ask["targets"]],
    }


def origin(target: str, words: str, trusted: tuple[str, ...], results: Iterable[Event]) -> Mapping[str, Any]:
    if Authority(words).covers(target):
        return {"from": "owner"}
    if Authority("", trusted).covers(target):
        return {"from": "trusted"}
    wanted = folded(target).strip()
    seen = next((each for each in results if wanted and wanted in folded(each["text"])), None)
    return {"from": "model"} if seen is None else {"from": "result", "tool": seen["tool"], "foreign": seen["foreign"]}


def results_in(log: EventLog) -> list[Event]:
    return [each for each in log if each.kind == "result"]


def inner_logs(folder: Path) -> list[EventLog]:
    """Of the agents that this one asked, however deep."""
    return [EventLog(each) for each in sorted((folder / INNER).glob(f"**/{EVENTS}"))]
