"""Token ids in, token ids out, and the way between them and texts: the methods of `Model` that know no conversation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ouvert.assistant import scoring_model
from ouvert.assistant.model_info import ModelInfo
from ouvert.engine import Constraint, Generation, Grammar, Sampling, Variant, Vocabulary


class Model(scoring_model.Model, Protocol):
    """A part of `ouvert.assistant.Model`, which has the rest."""

    @property
    def info(self) -> ModelInfo:
        """As `ouvert.assistant.Model` says it; raises what that says."""

    @property
    def vocabulary(self) -> Vocabulary:
        """As `ouvert.assistant.Model` says it; raises what that says."""

    @property
    def has_tokenizer(self) -> bool:
        """As `ouvert.assistant.Model` says it. Raises nothing."""

    def generate(
        self,
        token_ids: Sequence[int],
        sampling: Sampling | None = None,
        *,
        variant: Variant | None = None,
        **changes: Any,
    ) -> Iterator[int]:
        """The ids that follow, one by one; the id that ends the answer, if any, is the last.

        `changes` are fields of ouvert.Sampling, on top of `sampling` or else of `info.sampling`. Without `stop_ids`
        among them, the model's own end tokens end the answer. `variant`: of the model, with adapters and edits; left
        out, that with this model's adapters.

        Raises EngineError if the ids do not fit, sampling is out of range or this version does not compute the variant,
        and while they come if the answer cannot go on; TypeError for what is no field of ouvert.Sampling.
        """
        return (token.id for token in self.generation(token_ids, sampling, variant=variant, **changes))

    def generation(
        self,
        token_ids: Sequence[int],
        sampling: Sampling | None = None,
        *,
        variant: Variant | None = None,
        **changes: Any,
    ) -> Generation:
        """`generate`, whole: tokens with log-probabilities, cancelling, and why it ended. Raises what `generate`
        raises."""
        if sampling is None and "stop_ids" not in changes and self.has_tokenizer:
            changes["stop_ids"] = self.tokenizer.end_ids
        settings = replace(sampling or self.info.sampling, **changes)
        return self.engine.generate(token_ids, settings, self.variant if variant is None else variant)

    def tokenize(self, text: str) -> list[int]:
        """Ids of plain text: what looks like a control token is spelled out, and nothing is added at either end. Raises
        what `tokenizer` raises, and TokenizerError for a text that cannot be encoded."""
        return self.tokenizer.encode(text)

    def detokenize(self, token_ids: Iterable[int], *, control: bool = False) -> str:
        """The text of the ids, control tokens left out unless `control`. Raises what `tokenizer` raises, and
        TokenizerError for a negative id."""
        return self.tokenizer.decode(token_ids, control=control)

    def constraint(self, grammar: Grammar) -> Constraint:
        """A grammar over this model's tokens, for `generate`: `constraint=` holds every token to it.

        Raises EngineError for a grammar that is wrong or asks for what cannot be done.
        """
        return self.vocabulary.compile(grammar)
