"""Grammars over tokens: what an answer may be, compiled once by llguidance, a set of allowed ids at every step.

The engine knows no text: a vocabulary is given to it as the bytes of each token. Facts about llguidance 1.9:
docs/formats/constraints.md.
"""

import json
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ouvert.engine.constraints import trial
from ouvert.engine.constraints.gbnf import lark_of
from ouvert.engine.constraints.loosening import widened
from ouvert.engine.constraints.number_lengths import DigitRuns, NumberLength
from ouvert.engine.constraints.reasons import in_our_words
from ouvert.engine.constraints.schemas import DEEPEST, honoured, loosened
from ouvert.engine.interface import EngineBusyError, EngineError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# Without a bound a model may write white space between the parts of a JSON text for ever. This one leaves room for a
# space, or for a new line with its indentation.
JSON_SPACE = "( |\\n {0,16})?"
# No \\u: with it a name could be spelled in two ways, and a member that a schema describes be written a second time,
# past its description, under the other spelling.
JSON_ESCAPES = 'nrbtf\\"'
# Characters. What the largest take: docs/formats/constraints.md.
LARGEST = {"json schema": 200_000, "regex": 100_000, "lark": 100_000, "gbnf": 100_000, "one of": 1_000_000}
STACK = 512 << 20
STACK_SIZE_IS_OURS = threading.Lock()  # it is one setting for the whole process
MOST_REPEATS = 10_000
MOST_LEXER_STATES = 50_000  # one to two kB each
MOST_SYMBOLS = 200_000  # in all rules; about a kB each while compiling
LARGE = 30_000  # characters from which a grammar is tried first in a process of its own
MASKS_KEPT = 16  # at most 25 MB of ids at 200,000 tokens
END = b"<|the grammar is complete|>"  # the name of an id that no model has


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a text may be. `text` is the JSON schema, the regular expression or the grammar itself; class methods make
    one.

    A JSON schema that is not `strict` is kept as far as it can be: what cannot is left out at its own place. Whether a
    model can follow it, `Model.constraint` finds out.
    """

    kind: Literal["json schema", "regex", "lark", "gbnf", "one of"]
    text: str
    strict: bool = True

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any], *, strict: bool = True) -> Self:
        """JSON texts that a schema describes; members in its order. Raises EngineError for what is no schema."""
        if not isinstance(schema, Mapping):
            raise EngineError(
                f"reading a JSON schema: it is {schema!r:.80}, expected a dict; an empty one allows any JSON text."
            )
        try:
            return cls("json schema", json.dumps(schema, ensure_ascii=False, allow_nan=False), strict)
        except RecursionError:
            raise EngineError(
                f"reading a JSON schema: it goes deeper than Python can follow, expected {DEEPEST} schemas inside "
                "another at most. Name parts in $defs and use $ref."
            ) from None
        except (TypeError, ValueError) as problem:
            raise EngineError(
                f"reading a JSON schema: it holds what JSON cannot say ({problem}). Give a dict of plain JSON values."
            ) from problem

    @classmethod
    def regex(cls, pattern: str) -> Self:
        """Texts that a regular expression matches whole; syntax of Rust's `regex`, without look-around. Raises
        nothing."""
        return cls("regex", pattern)

    @classmethod
    def lark(cls, grammar: str) -> Self:
        """Texts of a Lark grammar in llguidance's dialect; it begins with the rule `start`. Raises nothing."""
        return cls("lark", grammar)

    @classmethod
    def gbnf(cls, grammar: str) -> Self:
        """Texts of a grammar as llama.cpp writes them; it begins with the rule `root`. Raises nothing."""
        return cls("gbnf", grammar)

    @classmethod
    def json_object(cls) -> Self:
        """Any JSON object. Raises nothing."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def one_of(cls, texts: Sequence[str]) -> Self:
        """One of these texts, letter by letter. Raises EngineError if there is none, or an empty one."""
        if not texts or "" in texts:
            raise EngineError(
                f"reading a choice of texts: it is {list(texts)!r}, expected one or more, none of them empty. "
                "Name what the answer may be."
            )
        return cls("one of", json.dumps(list(texts), ensure_ascii=False))

    @property
    def source(self) -> Mapping[str, Any]:
        """The grammar as JSON: `Constraint.source`. Raises nothing."""
        return {"grammar": asdict(self)}


class Vocabulary:
    """The tokens of a model as bytes, for grammars. What llguidance needs is made at its first use, so making one
    raises nothing."""

    def __init__(
        self, tokens: Sequence[bytes], control_ids: Collection[int], encode: Callable[[str], list[int]]
    ) -> None:
        """`tokens[id]` are the bytes an id adds to a text; none if it adds nothing. `control_ids` are never text.

        `encode` is the tokenizer's own spelling of a text, so that forced text is spelled as the model is used to.
        """
        self._tokens = tokens
        self._control_ids = frozenset(control_ids)
        self._encode = encode

    @property
    def size(self) -> int:
        """How many token ids there are. Raises nothing."""
        return len(self._tokens)

    @cached_property
    def text_ids(self) -> np.ndarray:
        """Ascending ids of all tokens that are text. Raises nothing."""
        ids = (n for n, spelled in enumerate(self._tokens) if spelled and n not in self._control_ids)
        return np.fromiter(ids, np.int64)

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token, which is never text. Raises nothing."""
        return token in self._control_ids

    @cached_property
    def ids_of(self) -> Callable[[bytes], np.ndarray]:
        """The ids of a mask, read-only. The same few masks come again and again (inside a string, before a member), and
        taking one apart costs as much as making it, so the last ones are kept. Raises nothing."""
        return lru_cache(maxsize=MASKS_KEPT)(lambda mask: ids_of(mask, self.size))

    def bytes_of(self, token: int) -> bytes:
        """What the token adds to a text. Raises IndexError for an id that there is not."""
        return self._tokens[token]

    def compile(self, grammar: Grammar) -> "CompiledGrammar":
        """Raises EngineError, with llguidance's reason, for a grammar that is wrong or asks for what it cannot do."""
        check_size(grammar)
        loosened_places: tuple[str, ...] = ()
        if grammar.kind == "json schema" and not grammar.strict:
            schema, loosened_places = loosened(json.loads(grammar.text))
            schema, more = widened(schema, lambda schema: self._matcher(schema_source(schema), grammar.kind)[1])
            loosened_places += more
            source = schema_source(schema)
        else:
            source = source_of(grammar)
        matcher, problem = self._matcher(source, grammar.kind)
        if problem:
            raise EngineError(
                f"compiling a constraint ({grammar.kind}): {problem}. It was given {grammar.text!r:.200}; leave out or "
                "rewrite what is named here."
            )
        return CompiledGrammar(matcher, self, grammar, loosened_places)

    def _matcher(self, source: str, kind: str) -> "tuple[LLMatcher, str]":
        """What llguidance makes of a source, and why it cannot be used; nothing, if it can."""
        from llguidance import LLMatcher, LLParserLimits

        if may_be_much(source, kind):
            bounds = {"max_lexer_states": MOST_LEXER_STATES, "max_grammar_size": MOST_SYMBOLS}
            refuse_too_much(source, kind, trial.tried(source, bounds))
        limits = LLParserLimits(max_lexer_states=MOST_LEXER_STATES, max_grammar_size=MOST_SYMBOLS, verbose_errors=False)
        tokenizer = self._tokenizer

        def make() -> "tuple[LLMatcher, str]":
            matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
            first = matcher.deep_copy()
            if not matcher.is_error() and not first.is_accepting():
                first.compute_bitmask()  # some grammars have no text, or are too much for the first token already
            return matcher, matcher.get_error() or first.get_error()

        matcher, problem = with_deep_stack(make)
        return matcher, in_our_words(problem, kind) if problem else ""

    def spell(self, text: bytes) -> list[int]:
        """The tokenizer's ids of a text if they are exactly its bytes, else the longest token that fits, each time.
        Raises what the tokenizer raises."""
        try:
            ids = self._encode(text.decode())
        except UnicodeDecodeError:
            ids = []
        if b"".join(self._tokens[token] for token in ids if token < self.size) == text:
            return ids
        ids, at = [], 0
        while at < len(text):
            stop = min(len(text), at + self.longest)
            while stop > at and text[at:stop] not in self._id_of:
                stop -= 1
            if stop == at:
                break  # no token begins like this: llguidance takes what could be spelled
            ids.append(self._id_of[text[at:stop]])
            at = stop
        return ids

    @cached_property
    def _id_of(self) -> dict[bytes, int]:
        return {self._tokens[n]: n for n in reversed(self.text_ids.tolist())}

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest token that is text; at least 1. Raises nothing."""
        return max((len(self._tokens[n]) for n in self.text_ids.tolist()), default=1)

    @cached_property
    def digit_runs(self) -> DigitRuns:
        """The tokens with digits, and how many follow each other in them. Raises nothing."""
        return DigitRuns(self._tokens)

    @cached_property
    def _tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(Bytes(self)), n_vocab=self.size + 1, eos_token=self.size)


def schema_source(schema: Mapping[str, Any]) -> str:
    """llguidance's grammar for a schema that says nothing but what it honours."""
    from llguidance import LLMatcher

    return str(
        LLMatcher.grammar_from_json_schema(
            json.dumps(schema, ensure_ascii=False),
            overrides={
                "whitespace_pattern": JSON_SPACE,
                "whitespace_flexible": True,
                "json_allowed_escapes": JSON_ESCAPES,
            },
        )
    )


def source_of(grammar: Grammar) -> str:
    """What llguidance is given for a grammar that is kept whole. Raises EngineError for what cannot be."""
    from llguidance import LLMatcher

    match grammar.kind:
        case "json schema":
            return schema_source(honoured(json.loads(grammar.text)))
        case "regex":
            source = LLMatcher.grammar_from_regex(grammar.text)
        case "lark":
            source = LLMatcher.grammar_from_lark(grammar.text)
        case "gbnf":
            source = LLMatcher.grammar_from_lark(lark_of(grammar.text))
        case "one of":
            source = LLMatcher.grammar_from_regex("|".join(map(escaped, json.loads(grammar.text))))
    return str(source)


def with_deep_stack(make: "Callable[[], tuple[LLMatcher, str]]") -> "tuple[LLMatcher, str]":
    """llguidance calls itself for every rule or $ref that another names; at some thousand of them an ordinary stack is
    used up, and the process ends. A grammar within LARGEST fits into this one (only what is touched takes memory)."""
    found: list[tuple[LLMatcher, str]] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            found.append(make())
        except BaseException as problem:  # raised again below, in the caller's thread
            problems.append(problem)

    with STACK_SIZE_IS_OURS:
        before = threading.stack_size(STACK)
        try:
            thread = threading.Thread(target=run, name="compiling a grammar")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if problems:
        raise problems[0]
    return found[0]


def may_be_much(source: str, kind: str) -> bool:
    """Whether compiling may take long whatever llguidance's limits: texts that must match several patterns, or must not
    match one; divisors; and what is merely large."""
    count = source.count
    match kind:
        case "json schema":
            much = bool(count('"pattern') and count('"pattern') + count('"format"') >= 2) or bool(
                count('"multipleOf"') >= 2
            )
        case "lark":
            much = bool(count("&") or count("~"))
        case _:
            much = False
    return much or len(source) > LARGE


def refuse_too_much(source: str, kind: str, found: str | None) -> None:
    if found == trial.BUSY:
        raise EngineBusyError(f"compiling a constraint ({kind}): {found}. Ask again in a few seconds.")
    if found is not None:
        raise EngineError(
            f"compiling a constraint ({kind}): {found} (more than {trial.SECONDS} s or "
            f"{trial.MEMORY >> 30} GB). It was given {source!r:.200}. Say it more simply: fewer patterns that "
            "must match the same text, no large divisors, or hold to a part of it."
        )


def check_size(grammar: Grammar) -> None:
    """What would take minutes or gigabytes is refused before it begins; llguidance's own limits bound the rest."""
    if len(grammar.text) > LARGEST[grammar.kind]:
        raise EngineError(
            f"compiling a constraint ({grammar.kind}): it has {len(grammar.text)} characters, expected at most "
            f"{LARGEST[grammar.kind]}. Say it more briefly, or hold to a part of it."
        )
    if grammar.kind in ("regex", "lark", "gbnf"):
        for counted in re.finditer(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}", grammar.text):
            most = max((int(number[:20]) for number in counted.groups() if number), default=0)
            if most > MOST_REPEATS:
                raise EngineError(
                    f"compiling a constraint ({grammar.kind}): something is repeated {most} times, expected at most "
                    f"{MOST_REPEATS} ({counted[0]!r:.60}). Repeat it without a bound (*), and let the limit of tokens "
                    "end it."
                )


def escaped(text: str) -> str:
    """A regular expression that matches just this text."""
    return "".join(sign if sign.isascii() and sign.isalnum() else f"\\x{{{ord(sign):x}}}" for sign in text)


class Bytes:
    """A vocabulary with one id more, which stands for the end of the text: the face llguidance asks for."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.size
        self.tokens = [*vocabulary._tokens, END]
        self.special_token_ids = [*sorted(n for n in vocabulary._control_ids if n < vocabulary.size), vocabulary.size]
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        return self._vocabulary.spell(text)


class CompiledGrammar:
    """`interface.Constraint`: a grammar over one vocabulary. `Vocabulary.compile` makes one, and says what it raises.
    Safe to use for several answers at once.

    `loosened`: what of a schema that was not strict is not held to, with its place as a JSON pointer.
    """

    def __init__(
        self, matcher: "LLMatcher", vocabulary: Vocabulary, grammar: Grammar, loosened_places: tuple[str, ...] = ()
    ) -> None:
        self.grammar, self.loosened = grammar, loosened_places
        self._matcher, self._vocabulary = matcher, vocabulary

    def begin(self) -> "GrammarState":
        """The state of one text, at its beginning. Raises nothing."""
        numbers = NumberLength() if self.grammar.kind == "json schema" else None
        return GrammarState(self._matcher.deep_copy(), self._vocabulary, numbers)

    @property
    def source(self) -> Mapping[str, Any]:
        """The grammar as it was given. Raises nothing."""
        return self.grammar.source


class GrammarState:
    """`interface.ConstraintState`: one text of a grammar, as far as it has come. With `numbers`
    none in it goes on for ever."""

    def __init__(self, matcher: "LLMatcher", vocabulary: Vocabulary, numbers: NumberLength | None = None) -> None:
        self._matcher, self._vocabulary, self._numbers = matcher, vocabulary, numbers
        self._allowed: np.ndarray | None = None

    def allowed(self) -> np.ndarray:
        """Raises EngineError if llguidance gave up, for instance because the grammar is too ambiguous."""
        if self._allowed is None:
            mask = self._matcher.compute_bitmask()
            self._complain()
            self._allowed = self._within_numbers(self._vocabulary.ids_of(mask))
        return self._allowed

    def _within_numbers(self, ids: np.ndarray) -> np.ndarray:
        room = None if self._numbers is None else self._numbers.room
        if room is None or room >= self._vocabulary.digit_runs.longest:
            return ids
        kept = self._vocabulary.digit_runs.within(ids, room)
        return kept if kept.size or self.accepting else ids  # a schema may ask for more than readers take

    def advance(self, token: int) -> None:
        """Raises EngineError if the token is not one of those allowed."""
        if not self._matcher.consume_token(token):
            self._complain()
        if self._numbers is not None:
            self._numbers.push(self._vocabulary.bytes_of(token))
        self._allowed = None

    @property
    def accepting(self) -> bool:
        return bool(self._matcher.is_accepting())

    @property
    def finished(self) -> bool:
        return self.accepting and (self._matcher.is_stopped() or not self.allowed().size)

    def _complain(self) -> None:
        if self._matcher.is_error():
            reason = in_our_words(self._matcher.get_error())
            raise EngineError(
                f"following a constraint: {reason}. A grammar with less ambiguity, or a schema with fewer alternatives "
                "at one place, can be followed."
            )


@cache
def bytes_alone() -> Vocabulary:
    """A vocabulary of the 256 bytes, for texts that no model writes."""
    return Vocabulary([bytes([n]) for n in range(256)], (), lambda text: list(text.encode()))


@lru_cache(maxsize=64)
def strings_of(pattern: str) -> "CompiledGrammar | None":
    try:
        return bytes_alone().compile(Grammar.json_schema({"type": "string", "pattern": pattern}))
    except EngineError:
        return None


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern of a JSON schema matches somewhere in the text, in time that is linear in it.

    True for patterns that no grammar can follow (look-around, back-references): nobody can say so of these in time.
    Raises nothing.
    """
    strings = strings_of(pattern)
    if strings is None:
        return True
    state = strings.begin()
    try:
        for byte in json.dumps(text, ensure_ascii=False).encode("utf-8", "replace"):
            state.advance(byte)
    except EngineError:
        return False
    return state.accepting


def ids_of(mask: bytes, size: int) -> np.ndarray:
    """The places below `size` of the bits that are set, ascending; bit n of byte m is at place 8 m + n."""
    bits = np.frombuffer(mask, np.uint8)
    places = np.flatnonzero(bits)
    if places.size > bits.size // 4:
        ids = np.flatnonzero(np.unpackbits(bits, count=size, bitorder="little").view(bool))
    else:
        rows, columns = np.nonzero(np.unpackbits(bits[places, None], axis=1, bitorder="little"))
        ids = places[rows] * 8 + columns
        ids = ids[ids < size]
    ids.setflags(write=False)
    return ids


def merged_ids(ids: np.ndarray, more: Collection[int]) -> np.ndarray:
    """Ascending ids, with these among them. Raises nothing."""
    wanted = np.array(sorted(set(more)), np.int64)
    places = np.searchsorted(ids, wanted)
    missing = np.array([place == ids.size or ids[place] != n for place, n in zip(places, wanted, strict=True)], bool)
    return np.insert(ids, places[missing], wanted[missing])
