"""What an answer has to be, in the words of every server whose clients come here: read once, for all dialects.

Sources: OpenAI's response_format and text.format; vLLM's guided_* and structured_outputs; llama.cpp's grammar,
json_schema and schema beside json_object; SGLang's regex and ebnf; TGI's grammar; Ollama's format.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ouvert.assistant import ANY_TEXT, AnswerForm, EngineError, Grammar
from ouvert.serving.errors import Refusal
from ouvert.serving.wire import Several, Wire

MOST_CHOICES = 4096
GBNF_RULE = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "$defs"})
ABOUT_A_SCHEMA = frozenset({"name", "description", "schema", "strict"})


ANY_OBJECT = AnswerForm(grammar=Grammar.json_object())


class StatedFormat(Wire):
    """OpenAI's response_format and text.format, with what other servers write into them."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"name", "description"})

    type: str = "text"
    strict: bool | None = None
    json_schema: dict[str, Any] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    grammar: str | None = None
    regex: str | None = None
    pattern: str | None = None
    value: str | dict[str, Any] | None = None

    def form(self, where: str) -> AnswerForm:
        """Raises Refusal for a type that is not known, or that lacks what it needs."""
        match self.type:
            case "text":
                return ANY_TEXT
            case "json_object" | "json" | "json_schema":
                return self._json(where)
            case "grammar" if self.grammar is not None:
                return in_grammar(self.grammar, f"{where}.grammar")
            case "regex" if (pattern := self.regex or self.pattern or self.value) is not None:
                return in_regex(pattern, where)
            case "grammar" | "regex":
                raise missing(where, self.type, self.type)
        raise Refusal(
            400,
            f"{where}.type is {self.type!r:.80}, expected text, json_object, json_schema, grammar or regex.",
            code="invalid_value",
            param=f"{where}.type",
        )

    def _json(self, where: str) -> AnswerForm:
        schema: Mapping[str, Any] | None = self.schema_
        if schema is None and isinstance(self.value, dict):
            schema = self.value
        if schema is None and self.json_schema is not None:
            schema = schema_in(self.json_schema)
            if schema is None:
                raise missing(f"{where}.json_schema", self.type, "schema")
        if schema is not None:
            stated = self.strict or (self.json_schema or {}).get("strict") is True
            return AnswerForm(schema=schema, strict=stated or self.type != "json_schema")
        if self.type == "json_schema":
            raise missing(where, self.type, "schema" if where.startswith("text") else "json_schema")
        return ANY_OBJECT


class StructuredOutputs(Wire):
    """vLLM's; the names of its fields say what they hold."""

    refused: ClassVar[Mapping[str, str]] = {
        "structural_tag": "send json, regex, choice or grammar",
        "whitespace_pattern": "white space between the parts of JSON is bounded here anyway",
    }
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"disable_fallback", "disable_any_whitespace", "disable_additional_properties", "backend"}
    )

    json_: str | dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: Annotated[Several[str], Field(max_length=MOST_CHOICES)] | None = None
    grammar: str | None = None
    json_object: bool | None = None

    def forms(self, where: str) -> Iterator[tuple[str, AnswerForm]]:
        if self.json_ is not None:
            yield f"{where}.json", in_schema(self.json_, f"{where}.json")
        if self.regex is not None:
            yield f"{where}.regex", in_regex(self.regex, f"{where}.regex")
        if self.choice is not None:
            yield f"{where}.choice", one_of(self.choice, f"{where}.choice")
        if self.grammar is not None:
            yield f"{where}.grammar", in_grammar(self.grammar, f"{where}.grammar")
        if self.json_object:
            yield f"{where}.json_object", ANY_OBJECT


class TypedGrammar(Wire):
    """TGI's."""

    type: str
    value: str | dict[str, Any]

    def form(self, where: str) -> AnswerForm:
        match self.type:
            case "json" | "json_object" | "json_schema":
                return in_schema(self.value, f"{where}.value")
            case "regex":
                return in_regex(self.value, f"{where}.value")
        raise Refusal(
            400,
            f"{where}.type is {self.type!r:.80}, expected json or regex; or the grammar itself as text.",
            code="invalid_value",
            param=f"{where}.type",
        )


class FormedRequest(Wire):
    """Fields of a request that other servers know, and that say what its answer has to be."""

    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: Annotated[Several[str], Field(max_length=MOST_CHOICES)] | None = None
    guided_grammar: str | None = None
    structured_outputs: StructuredOutputs | None = None
    grammar: str | TypedGrammar | None = None
    json_schema: str | dict[str, Any] | None = None
    regex: str | None = None
    ebnf: str | None = None

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        """(field, what it says) of every field that says something; those of a dialect's own are added by it."""
        for name in ("guided_json", "json_schema"):
            if (schema := getattr(self, name)) not in (None, ""):
                yield name, in_schema(schema, name)
        for name in ("guided_regex", "regex"):
            if pattern := getattr(self, name):
                yield name, in_regex(pattern, name)
        for name in ("guided_grammar", "grammar", "ebnf"):
            if isinstance(text := getattr(self, name), str) and text:
                yield name, in_grammar(text, name)
        if isinstance(self.grammar, TypedGrammar):
            yield "grammar", self.grammar.form("grammar")
        if self.guided_choice:
            yield "guided_choice", one_of(self.guided_choice, "guided_choice")
        if self.structured_outputs is not None:
            yield from self.structured_outputs.forms("structured_outputs")

    @property
    def form(self) -> AnswerForm:
        """The one that is stated. Raises Refusal where several are."""
        stated = list(self.stated_forms())
        if len(stated) > 1:
            names = [name for name, _ in stated]
            raise Refusal(
                400,
                f"{' and '.join(names)} each say what the answer has to be, expected at most one of them. Leave the "
                "others out.",
                code="invalid_value",
                param=names[1],
            )
        return stated[0][1] if stated else ANY_TEXT


def in_schema(given: Any, where: str) -> AnswerForm:
    """A JSON schema: as an object, as OpenAI wraps it, or as JSON text."""
    schema = given
    if isinstance(given, str):
        try:
            schema = json.loads(given)
        except (ValueError, RecursionError):
            schema = None
    if isinstance(schema, dict):
        schema = schema_in(schema)
    if not isinstance(schema, dict):
        raise Refusal(
            400,
            f"{where} is {given!r:.120}, expected a JSON schema, which is an object.",
            code="invalid_value",
            param=where,
        )
    return AnswerForm(schema=schema)


def schema_in(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema in OpenAI's `{name, schema, strict}`, or the schema itself; None where there is only a name."""
    if isinstance(inner := given.get("schema"), dict) and not SCHEMA_WORDS & given.keys():
        return inner
    return None if given and given.keys() <= ABOUT_A_SCHEMA else given


def in_regex(pattern: Any, where: str) -> AnswerForm:
    if not isinstance(pattern, str):
        raise Refusal(
            400,
            f"{where} is {pattern!r:.120}, expected a regular expression, as text.",
            code="invalid_value",
            param=where,
        )
    return AnswerForm(grammar=Grammar.regex(pattern))


def in_grammar(text: str, where: str) -> AnswerForm:
    """The grammar in llama.cpp's notation, whose rules have `::=`, or in Lark's."""
    if not text.strip():
        raise Refusal(400, f"{where} is empty, expected a grammar.", code="invalid_value", param=where)
    return AnswerForm(grammar=Grammar.gbnf(text) if GBNF_RULE.search(text) else Grammar.lark(text))


def one_of(texts: Sequence[str], where: str) -> AnswerForm:
    try:
        return AnswerForm(grammar=Grammar.one_of(texts))
    except EngineError as problem:
        raise Refusal(400, f"{where}: {problem}", code="invalid_value", param=where) from None


def missing(where: str, kind: str, field: str) -> Refusal:
    return Refusal(
        400,
        f"{where} lacks the field {field}, which the type {kind} needs. Send it there.",
        code="invalid_value",
        param=f"{where}.{field}",
    )
