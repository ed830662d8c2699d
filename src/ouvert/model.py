"""`ouvert.Model`: a loaded model that answers (`assistant`) and can be looked into (`inspection`).

The two parts do not know each other. They meet here: the one gives tokens, whose they are, and the weights; the other
computes them once more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

from ouvert import assistant, inspection
from ouvert.chat import Message

P = ParamSpec("P")


class Model(assistant.Model):
    """A loaded model. Close it, or use it as a context manager, to give its memory back.

    `load` makes one, and says what it raises.
    """

    def trace(
        self,
        messages: str | Iterable[Message | Mapping[str, Any]] | None = None,
        *,
        text: str | None = None,
        ids: Sequence[int] | None = None,
        record: str | Iterable[str] = ("embedding", "layers.*.out"),
        positions: str | Iterable[int] = "all",
        max_bytes: int | str = "1 GB",
        **settings: Any,
    ) -> inspection.Trace:
        """Look inside while the model answers a conversation, or reads a `text` or token `ids`.

        The answer is written as `chat` would, with `settings` of that. Then the whole sequence is computed once more
        with the same bits, and the values that `record` names are kept (docs/formats/taps.md; a name without its layer
        means that of every layer) at `positions`: "all", "prompt", "answer", "last", "message 2", or numbers.

        Raises InspectionError for a name, a position or a model that cannot be looked at, and, before anything is
        kept, for more than `max_bytes`; TypeError for other than one of messages, text and ids, and for settings
        without messages; what `chat` and its answer raise, and what `tokenize` raises.
        """
        subject = inspection.subject_of(self)
        transcript = self._transcript(messages, text, ids, settings)
        return inspection.trace_of(subject, transcript, record=record, positions=positions, max_bytes=max_bytes)

    def _transcript(
        self,
        messages: str | Iterable[Message | Mapping[str, Any]] | None,
        text: str | None,
        ids: Sequence[int] | None,
        settings: Mapping[str, Any],
    ) -> assistant.Transcript:
        given = [name for name, value in (("messages", messages), ("text", text), ("ids", ids)) if value is not None]
        if len(given) != 1 or (settings and messages is None):
            raise TypeError(
                f"tracing: given are {', '.join([*given, *settings]) or 'no tokens'}, expected one of messages, text "
                "and ids. Settings of an answer go with messages."
            )
        if messages is not None:
            return assistant.transcript_of(self.chat(messages, **settings), self.chat_format)
        return assistant.Transcript(prompt_ids=tuple(ids if ids is not None else self.text_ids(text or "")))

    @classmethod
    def of(cls, model: assistant.Model) -> "Model":
        """The same model, with what looks inside. The one given is not to be used any more. Raises nothing."""
        joined = cls.__new__(cls)
        joined.__dict__.update(model.__dict__)
        return joined


def joining(load: Callable[P, assistant.Model]) -> Callable[P, Model]:
    """`load`, whose model can be looked into. Raises what `load` raises."""

    @wraps(load)
    def joined(*args: P.args, **kwargs: P.kwargs) -> Model:
        return Model.of(load(*args, **kwargs))

    return joined


load = joining(assistant.load)
