"""Holding an answer to its outline: which tokens may come next, given where in the answer one is.

`chat.Outline` says what a format's answers are made of; this follows one, token by token, as `engine.Constraint`.
Headers are spelled in one way, the one models were trained on; contents are any text, or what a grammar lets through.
"""

import codecs
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ouvert.assistant.error import AssistantError
from ouvert.chat import ANSWER_END, ANSWER_START, Outline, Segment
from ouvert.engine import Constraint, ConstraintState, Vocabulary, merged_ids

LONGEST_CHARACTER = 4  # bytes of UTF-8, so at most as many tokens
MOST_CALLS = 64  # of an answer that another engine holds to its outline
MOST_BETWEEN = 2  # line breaks behind thoughts


class OutlineConstraint:
    """`engine.Constraint` for one answer."""

    def __init__(
        self,
        outline: Outline,
        contents: Sequence[Constraint | None],
        vocabulary: Vocabulary,
        think_budget: int | None = None,
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        """`contents[n]` is what the contents of segment n must be; None: free text.

        After `think_budget` tokens of thought, and the rest of a character that has begun, the model is made to end
        them, and `cut` is called. Raises AssistantError for a budget where the model does not think.
        """
        if think_budget is not None:
            if think_budget < 0:
                raise AssistantError(f"think_budget is {think_budget}, expected 0 tokens or more.")
            if not any(segment.kind == "thought" for segment in outline.segments):
                raise AssistantError(
                    f"think_budget is {think_budget}, but this model does not think before it answers. Leave it out."
                )
        self.outline, self.contents, self.vocabulary = outline, tuple(contents), vocabulary
        self.think_budget, self.cut = think_budget, cut
        self._free: dict[int, np.ndarray] = {}

    @property
    def speaks(self) -> bool:
        """Whether an answer can have any text beside its calls."""
        return any(segment.kind in ("preamble", "answer") for segment in self.outline.segments)

    def begin(self) -> "OutlineState":
        return OutlineState(self)

    @property
    def source(self) -> Mapping[str, Any]:
        """The outline, and the grammars of its contents."""
        outline = self.outline
        return {
            "outline": {
                "segments": [
                    segment_source(segment, contents)
                    for segment, contents in zip(outline.segments, self.contents, strict=True)
                ],
                "follows": {kind: sorted(next_kinds) for kind, next_kinds in outline.follows.items()},
                "cut": list(outline.cut),
                "inside": None if outline.inside is None else segment_source(outline.inside, None),
                "between": sorted(outline.between),
                "gap": list(outline.gap),
                "closing": list(outline.closing),
                "think_budget": self.think_budget,
            }
        }

    def text_or(self, token: int) -> np.ndarray:
        """All text, or this control token."""
        if token not in self._free:
            self._free[token] = merged_ids(self.vocabulary.text_ids, [token])
        return self._free[token]


class OutlineState:
    """`engine.ConstraintState` for one answer. Exactly one of these says where it is: forced,
    before, inside, ending, over.

    What closes a list of calls counts as the header of a segment without contents.
    """

    def __init__(self, constraint: OutlineConstraint) -> None:
        self._constraint, self._outline = constraint, constraint.outline
        self._forced: list[int] = []  # what is left of the tokens that cut a thought off
        self._header: tuple[int, ...] = ()  # what is written of a header
        self._between = 0  # line breaks since the last thought
        self._calls = 0  # that are written
        self._follows = self._outline.follows[ANSWER_START]
        self._segment: Segment | None = None  # whose contents are being written
        self._inner: ConstraintState | None = None  # and what they must be
        self._ending = 0  # how many of its ends are written
        self._over = False
        self._thought = 0  # tokens of thought so far
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")  # of the thought
        self._bare: dict[int, ConstraintState | None] = {}  # what segments without a header must be, if one begins here
        if self._outline.inside is not None:
            self._enter(self._outline.inside)
        else:
            self._look()

    @property
    def accepting(self) -> bool:
        if self._forced or self._over or self._ending:
            return False
        if self._segment is None:
            if self._header:
                return self._in_gap and ANSWER_END in self._follows
            empty = (inner is None or inner.accepting for inner in self._bare.values())
            return ANSWER_END in self._follows or any(empty)
        return not self._segment.ends and (self._inner is None or self._inner.accepting)

    @property
    def finished(self) -> bool:
        return self._over

    def allowed(self) -> np.ndarray | None:
        if self._over:
            return np.empty(0, np.int64)
        if self._forced:
            return np.array(self._forced[:1])
        if self._segment is None:
            return self._allowed_before()
        if self._ending:
            return np.array([self._segment.ends[self._ending]])
        if self._inner is None:
            return self._constraint.text_or(self._segment.ends[0]) if self._segment.ends else None
        allowed = self._inner.allowed()
        if allowed is not None and self._segment.ends and self._inner.accepting:
            return merged_ids(allowed, self._segment.ends[:1])
        return allowed

    def advance(self, token: int) -> None:
        if self._forced:
            del self._forced[0]
            if not self._forced:
                self._close()
        elif self._segment is None:
            self._advance_before(token)
        elif self._ending:
            self._advance_ends()
        else:
            self._advance_contents(self._segment, token)

    # --- before a segment ---------------------------------------------------------------------------------------------

    def _candidates(self) -> list[tuple[int, Segment]]:
        """The segments that may begin here, with their places in the outline."""
        return [
            (n, segment)
            for n, segment in enumerate(self._outline.segments)
            if segment.kind in self._follows and not (segment.kind == "thought" and self._spent)
        ]

    def _header_of(self, segment: Segment) -> tuple[int, ...]:
        """The segment's header at this place of the answer: a later call may begin differently."""
        if segment.kind == "call" and self._calls and segment.later is not None:
            return segment.later(self._calls)
        return segment.header

    @property
    def _closings(self) -> list[tuple[int, ...]]:
        """What a model may write to say that there are no more calls."""
        closing = self._outline.closing if self._calls and ANSWER_END in self._follows else ()
        gap = self._outline.gap if len(self._follows) > 1 else ()
        return [closing, gap + closing] if closing and gap else [closing] if closing else []

    @property
    def _in_gap(self) -> bool:
        """Whether nothing but white space between two calls is written: it promises nothing."""
        return bool(self._calls) and self._header == self._outline.gap[: len(self._header)]

    def _look(self) -> None:
        """Stand before the next segment."""
        thought = self._segment is not None and self._segment.kind == "thought"
        self._between = 0 if thought else MOST_BETWEEN
        self._segment, self._inner, self._header, self._ending = None, None, (), 0
        self._bare = {}
        for n, segment in self._candidates():
            if not self._header_of(segment):
                self._bare[n] = begun(self._constraint.contents[n])

    def _allowed_before(self) -> np.ndarray | None:
        written = len(self._header)
        headers = [*(self._header_of(segment) for _, segment in self._candidates()), *self._closings]
        next_ids = {header[written] for header in headers if len(header) > written and header[:written] == self._header}
        if written:
            return np.array(sorted(next_ids))
        if any(inner is None for inner in self._bare.values()):  # free text may begin, and with it anything
            return self._all_but_spent_thoughts()
        if self._between < MOST_BETWEEN:
            next_ids |= self._outline.between
        allowed = np.array(sorted(next_ids), np.int64)
        for inner in self._bare.values():
            more = None if inner is None else inner.allowed()
            if more is None:
                return None
            allowed = np.union1d(allowed, more)
        return allowed

    def _all_but_spent_thoughts(self) -> np.ndarray | None:
        spent = [s.header[0] for s in self._outline.segments if s.kind == "thought" and s.header and self._spent]
        return np.delete(np.arange(self._constraint.vocabulary.size), spent) if spent else None

    def _advance_before(self, token: int) -> None:
        header = (*self._header, token)
        headers = [(n, segment, self._header_of(segment)) for n, segment in self._candidates()]
        begun_headers = [each for each in headers if each[2][: len(header)] == header]
        closings = self._closings
        if begun_headers or any(closing[: len(header)] == header for closing in closings):
            self._header = header
            for n, segment, whole in begun_headers:
                if whole == header:
                    self._enter(segment, begun(self._constraint.contents[n]))
                    return
            self._over = header in closings
            return
        bare = next((n for n, inner in self._bare.items() if inner is None or takes(inner, token)), None)
        if bare is None:
            self._between += 1
            return
        segment = self._outline.segments[bare]
        self._enter(segment, self._bare[bare])
        self._advance_contents(segment, token)

    # --- inside a segment ---------------------------------------------------------------------------------------------

    def _enter(self, segment: Segment, inner: ConstraintState | None = None) -> None:
        self._segment, self._inner, self._header, self._ending = segment, inner, (), 0
        if segment.kind == "thought":
            self._cut_if_spent()
        elif inner is not None and inner.finished and not segment.ends:
            self._close()

    def _advance_contents(self, segment: Segment, token: int) -> None:
        ends = segment.ends and token == segment.ends[0]
        if ends and (self._inner is None or (self._inner.accepting and not takes(self._inner, token))):
            self._advance_ends()
            return
        if self._inner is not None:
            self._inner.advance(token)
            if self._inner.finished and not segment.ends:
                self._close()
        if segment.kind == "thought":
            self._thought += 1
            self._characters.decode(self._constraint.vocabulary.bytes_of(token))
            self._cut_if_spent()

    def _advance_ends(self) -> None:
        self._ending += 1
        if self._segment is not None and self._ending == len(self._segment.ends):
            self._close()

    def _close(self) -> None:
        """The segment is over; so is the answer, where nothing may follow."""
        if self._segment is not None:
            self._follows = self._outline.follows[self._segment.kind]
            self._calls += self._segment.kind == "call"
        self._over = self._follows == {ANSWER_END} and not self._closings
        self._look()

    # --- the budget ---------------------------------------------------------------------------------------------------

    @property
    def _spent(self) -> bool:
        return self._constraint.think_budget is not None and self._thought >= self._constraint.think_budget

    def _cut_if_spent(self) -> None:
        """A character that has begun is waited for."""
        budget = self._constraint.think_budget
        if budget is None or not self._spent:
            return
        half, _ = self._characters.getstate()
        if not half or self._thought >= budget + LONGEST_CHARACTER - 1:
            self._forced = list(self._outline.cut)
            self._constraint.cut()


def segment_source(segment: Segment, contents: Constraint | None) -> dict[str, Any]:
    """The segment as JSON. Headers that are numbered are listed for MOST_CALLS calls."""
    headers = [] if segment.later is None else [list(segment.later(n)) for n in range(1, MOST_CALLS + 1)]
    while len(headers) > 1 and headers[-1] == headers[-2]:
        headers.pop()
    return {
        "kind": segment.kind,
        "header": list(segment.header),
        "ends": list(segment.ends),
        "later": headers,
        "contents": None if contents is None else contents.source["grammar"],
    }


def begun(constraint: Constraint | None) -> ConstraintState | None:
    return None if constraint is None else constraint.begin()


def takes(state: ConstraintState, token: int) -> bool:
    allowed = state.allowed()
    if allowed is None:
        return True
    place = int(np.searchsorted(allowed, token))
    return place < allowed.size and int(allowed[place]) == token
