"""A constraint as JSON, so that an engine on another machine can hold an answer to the same: sources, nothing compiled.

{"grammar": {"kind", "text", "strict"}} is a grammar; {"outline": {...}} the form of an answer in a chat format, with
the grammars of its contents. docs/formats/engine-http.md has the fields.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ouvert.assistant.error import AssistantError
from ouvert.assistant.grammars import Grammars
from ouvert.assistant.outline_constraint import OutlineConstraint
from ouvert.chat import ChatError, LaterHeaders, Outline, Segment
from ouvert.engine import CompiledGrammar, Constraint, Grammar

if TYPE_CHECKING:
    from ouvert.assistant.model import Model

Ids = tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]


class GrammarSource(BaseModel):
    """`engine.Grammar`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["json schema", "regex", "lark", "gbnf", "one of"]
    text: str
    strict: bool = True

    def compiled(self, grammars: Grammars) -> CompiledGrammar:
        return grammars.compiled(Grammar(self.kind, self.text, self.strict))


class SegmentSource(BaseModel):
    """`chat.Segment` with its contents. `later`: its headers behind one call, two, ...; empty: always `header`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["thought", "preamble", "call", "answer"]
    header: Ids = ()
    ends: Ids = ()
    later: tuple[Ids, ...] = ()
    contents: GrammarSource | None = None

    def made(self) -> Segment:
        later = LaterHeaders(self.later) if self.later else None
        return Segment(self.kind, self.header, self.ends, later=later)


class OutlineSource(BaseModel):
    """`chat.Outline`, and what an `OutlineConstraint` adds to it."""

    model_config = ConfigDict(extra="forbid")

    segments: tuple[SegmentSource, ...]
    follows: dict[str, frozenset[str]]
    cut: Ids = ()
    inside: SegmentSource | None = None
    between: frozenset[int] = frozenset()
    gap: Ids = ()
    closing: Ids = ()
    think_budget: int | None = None

    def made(self, grammars: Grammars) -> OutlineConstraint:
        outline = Outline(
            segments=tuple(each.made() for each in self.segments),
            follows=self.follows,
            cut=self.cut,
            inside=None if self.inside is None else self.inside.made(),
            between=self.between,
            gap=self.gap,
            closing=self.closing,
        )
        contents = [None if each.contents is None else each.contents.compiled(grammars) for each in self.segments]
        return OutlineConstraint(outline, contents, grammars.vocabulary, self.think_budget)


class ConstraintSource(BaseModel):
    """One of the two."""

    model_config = ConfigDict(extra="forbid")

    grammar: GrammarSource | None = None
    outline: OutlineSource | None = None


def constraint_of(source: Mapping[str, Any], grammars: Grammars) -> Constraint:
    """The constraint that `Constraint.source` was written from, over the vocabulary of `grammars`.

    Raises AssistantError for what is no such source, EngineError for a grammar that cannot be compiled.
    """
    try:
        stated = ConstraintSource.model_validate(source)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise refused(f"{place}: {first['msg']}") from None
    if (stated.grammar is None) == (stated.outline is None):
        raise refused("it has both or neither of grammar and outline")
    if stated.grammar is not None:
        return stated.grammar.compiled(grammars)
    assert stated.outline is not None  # noqa: S101 - one of the two is there
    return stated.outline.made(grammars)


def constraint_from(source: Mapping[str, Any], model: "Model") -> Constraint:
    """The constraint that a source asks of this model. Raises as `constraint_of` does, and what `Model.tokenizer`
    raises."""
    try:
        grammars = model.assistant.grammars  # which remember what was compiled
    except ChatError:
        grammars = Grammars(lambda: model.vocabulary)
    return constraint_of(source, grammars)


def refused(problem: str) -> AssistantError:
    return AssistantError(
        f"reading a constraint: {problem}, expected the source of a grammar or of an outline, as "
        "docs/formats/engine-http.md describes them. Is the sender of this version?"
    )
