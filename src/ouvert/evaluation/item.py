"""What is asked: one item of a suite, as a value that can be written down, hashed and asked again.

docs/formats/comparison.md has the JSON form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from ouvert.evaluation.canonical import canonical_json

Languages = Literal["en", "fr", ""]  # "": of no human language (code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation to answer. `messages` and `tools` in OpenAI's shape; `schema`: what the answer is held to.

    `tool_choice` is "auto", "none", "required" or a tool's name. `max_tokens`: of the whole answer, thoughts among them
    (a contestant that thinks is given more: its effort says how much).
    """

    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str = "auto"
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely each of `choices` is behind `context`. As `chat`, the context is what a user says and the choices are
    whole answers; else the choices go on where the context ends, character by character."""

    context: str
    choices: tuple[str, ...]
    chat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text to read: its log-probability, token by token, from which bits per byte come."""

    text: str


Ask = Chat | Likelihood | Text
KINDS: dict[type, str] = {Chat: "chat", Likelihood: "likelihood", Text: "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item. Answers of all contestants are paired on `row` and `id`.

    `form`: of suites that ask the same in several ways ("letter", "likelihood"; "free", "schema"). `cluster`: items of
    one passage, template or base question share it: they are not independent. `group`: the step of a ladder, the
    subject, the cell of a grid. `wording`: which paraphrase of the instruction, from 0. `expected`: what the suite's
    scorer compares with, as JSON; empty where nothing is scored.
    """

    suite: str
    id: str
    language: Languages
    ask: Ask
    expected: Mapping[str, Any]
    form: str = ""
    cluster: str = ""
    group: str = ""
    wording: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)  # more facts that a report may divide by

    @property
    def row(self) -> str:
        """Which row of a report it belongs to: "ladder/en", "mmlu/en/letter". Raises nothing."""
        return "/".join(part for part in (self.suite, self.language, self.form) if part)

    @property
    def kind(self) -> str:
        """ "chat", "likelihood" or "text". Raises nothing."""
        return KINDS[type(self.ask)]

    @property
    def is_scored(self) -> bool:
        """Whether answers are right or wrong. Texts that are read, and prompts that people vote on, have nothing
        expected: they get no score, and no row counts them. Raises nothing."""
        return bool(self.expected)

    @property
    def digest(self) -> str:
        """Over what is asked and what is expected: `sha256:` of the canonical JSON. Raises nothing."""
        return "sha256:" + sha256(canonical_json(self)).hexdigest()
