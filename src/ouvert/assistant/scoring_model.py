"""What a model thinks of texts that are there already: the methods of `Model` that read and write nothing."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ouvert.assistant.error import AssistantError
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.scoring import (
    ReadText,
    ScoredChoice,
    beginning_of,
    check_choices,
    choices_of_answer,
    choices_of_text,
    scored_choices,
    text_to_read,
)
from ouvert.chat import ChatFormat
from ouvert.engine import Engine, Token, Variant
from ouvert.tokenization import Tokenizer


class Model(Protocol):
    """A part of `ouvert.assistant.Model`, which has the rest."""

    engine: Engine
    variant: Variant

    @property
    def tokenizer(self) -> Tokenizer:
        """As `ouvert.assistant.Model` says it; raises what that says."""

    @property
    def chat_format(self) -> ChatFormat:
        """As `ouvert.assistant.Model` says it; raises what that says."""

    def text_ids(self, text: str) -> list[int]:
        """As `ouvert.assistant.Model` says it; raises what that says."""

    def logits(self, token_ids: Sequence[int], *, start: int = 0) -> np.ndarray:
        """float32 (tokens, vocabulary): row i scores what comes after token_ids[: i + 1]; only those from `start` on.
        Raises EngineError if they do not fit, and where another program computes."""
        return self.engine.logits(token_ids, self.variant, start=start)

    def score(self, token_ids: Sequence[int], top: int = 0, *, start: int = 1, owner: str = "") -> list[Token]:
        """For every token from position `start` on its log-probability, and the `top` likeliest. Raises what `logits`
        raises, and EngineError for a start below 1."""
        return self.score_all([token_ids], top, starts=[start], owner=owner)[0]

    def score_all(
        self,
        texts: Sequence[Sequence[int]],
        top: int = 0,
        *,
        starts: Sequence[int] | None = None,
        owner: str = "",
    ) -> list[list[Token]]:
        """What `score` gives of each text, bit for bit, many in a step; what they begin with in common is computed
        once. Raises what `score` raises, before anything is computed."""
        return self.engine.score_all(texts, top, self.variant, starts=starts, owner=owner)

    def read(self, texts: Sequence[str], top: int = 0, *, owner: str = "") -> list[ReadText]:
        """How likely each text is, token by token, behind the token that a text begins with: bits per byte compare
        between models. Raises AssistantError for an empty text, and what `score` and `tokenize` raise."""
        given = [text_to_read(self.tokenizer, text) for text in texts]
        found = self.score_all([ids for ids, _ in given], top, owner=owner)
        pairs = zip(given, found, strict=True)
        return [ReadText(tuple(ids), tuple(tokens), counted) for (ids, counted), tokens in pairs]

    def choices(
        self,
        context: str,
        choices: Sequence[str],
        *,
        chat: bool = False,
        thinking: bool | None = None,
        owner: str = "",
    ) -> list[ScoredChoice]:
        """How likely each choice is behind the context, which is computed once: as a text that goes on character by
        character, or with `chat` as the whole answer to what a user says. Tokens that reach over the border count.

        Raises AssistantError for choices that are none, and what `score`, `tokenize` and `render` raise.
        """
        check_choices(choices)
        if chat:
            conversation = as_conversation(context, None, None, thinking)
            parts = choices_of_answer(self.chat_format, conversation, choices)
        else:
            parts = choices_of_text(self.text_ids, beginning_of(self.tokenizer), context, choices)
        return scored_choices(choices, parts, lambda ids, starts: self.score_all(ids, starts=starts, owner=owner))

    def reread(
        self, prompt: Sequence[int], written: Sequence[int], top: int = 5, *, tokenizer: str = "", owner: str = ""
    ) -> list[Token]:
        """What this model thinks of an answer that another wrote: for each of its tokens the log-probability here, and
        the `top` likeliest here. `tokenizer`: the digest of the other's, which has to be this model's own.

        Raises AssistantError for another tokenizer and an empty prompt, and what `score` raises.
        """
        if tokenizer and tokenizer != self.tokenizer.digest:
            raise AssistantError(
                f"reading an answer again: its tokens are of the tokenizer {tokenizer}, expected this model's, "
                f"{self.tokenizer.digest}. Compare models with the same vocabulary, or the bits per byte of texts."
            )
        if not prompt:
            raise AssistantError("reading an answer again: its prompt has no tokens, expected those that it follows.")
        return self.score([*prompt, *written], top, start=len(prompt), owner=owner)
