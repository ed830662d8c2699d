"""`ouvert.Model`: a loaded model that answers (`assistant`) and can be looked into (`inspection`).

The two parts do not know each other. They meet here: the one gives tokens, whose they are, and the weights; the other
computes them once more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

from ouvert import assistant, inspection
from ouvert.causes import FindsCauses
from ouvert.chat import Message, Rendered
from ouvert.store import AdapterRecord, Directions, Store, default_home

P = ParamSpec("P")


class Model(FindsCauses):
    """A loaded model. Close it, or use it as a context manager, to give its memory back.

    `load` makes one, and says what it raises.
    """

    def answer(self, request: assistant.ChatRequest) -> assistant.Answer:
        """What `chat` gives, asked for with one value. "probe:NAME" in its `watch` is the direction of that name on
        this machine.

        Raises what `chat` raises, AssistantError for what is no ChatRequest, TypeError for a key of `request.sampling`
        that is no field of ouvert.Sampling, StoreError where there is no such direction, and InspectionError for a file
        that is none."""
        if isinstance(request, assistant.ChatRequest) and request.watch:
            request = replace(request, watch=tuple(map(named_probe, request.watch)))
        return super().answer(request)

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

        With `edits` (ouvert.Edit) among the settings, also of a text, the trace is of the edited model, and its views
        say that they are an intervention.

        Raises InspectionError for a name, a position or a model that cannot be looked at, and, before anything is
        kept, for more than `max_bytes`; TypeError for other than one of messages, text and ids, and for settings
        without messages; what `chat` and its answer raise, and what `tokenize` raises.
        """
        transcript = self._transcript(messages, text, ids, settings)
        subject = inspection.subject_of(self, transcript.variant)
        return inspection.trace_of(subject, transcript, record=record, positions=positions, max_bytes=max_bytes)

    def open(
        self,
        receipt: str | Mapping[str, Any],
        contents: Mapping[str, Any] | None = None,
        *,
        messages: str | Iterable[Message | Mapping[str, Any]] | None = None,
        prompt: Sequence[int] | None = None,
        output: Sequence[int] | None = None,
        record: str | Iterable[str] = ("embedding", "layers.*.out"),
        positions: str | Iterable[int] = "all",
        max_bytes: int | str = "1 GB",
    ) -> inspection.Trace:
        """Look inside an answer that was given: all of it is computed once more, what came from a cache included.

        `receipt`: itself, or its number, the beginning of its digest, or "last", in the model's ledger. What was said:
        what was kept beside the receipt; else `contents`, the `messages`, whose answer is then written once more, or
        the ids of `prompt` and `output`. The other arguments are those of `trace`.

        Raises LedgerError, with what differs, where this model would not give the bits of the answer, and where what
        was said is not known or not what was said; what `trace` raises.
        """
        transcript = assistant.reopened(self, *self._said(receipt, contents, messages, prompt, output))
        subject = inspection.subject_of(self, transcript.variant)
        return inspection.trace_of(subject, transcript, record=record, positions=positions, max_bytes=max_bytes)

    def _said(
        self,
        receipt: str | Mapping[str, Any],
        contents: Mapping[str, Any] | None,
        messages: str | Iterable[Message | Mapping[str, Any]] | None,
        prompt: Sequence[int] | None,
        output: Sequence[int] | None,
    ) -> tuple[Mapping[str, Any], assistant.ReplayInput]:
        if isinstance(receipt, str):
            if self.ledger is None:
                raise assistant.LedgerError(
                    f"opening the receipt {receipt!r:.80}: this model keeps no receipts, expected the receipt itself. "
                    "Give `Finished.receipt`, or load the model with receipts=True."
                )
            entry = self.ledger.find(receipt)
            receipt, contents = entry.receipt, contents or self.ledger.contents(entry.digest)
        conversation = None if messages is None else assistant.conversation_as_asked(receipt, messages)
        return receipt, assistant.ReplayInput(
            contents=None if contents is None else assistant.read_contents(contents),
            conversation=conversation,
            prompt=prompt,
            output=output,
        )

    def _transcript(
        self,
        messages: str | Iterable[Message | Mapping[str, Any]] | None,
        text: str | None,
        ids: Sequence[int] | None,
        settings: Mapping[str, Any],
    ) -> assistant.Transcript:
        given = [name for name, value in (("messages", messages), ("text", text), ("ids", ids)) if value is not None]
        if len(given) != 1 or (settings.keys() - {"edits"} and messages is None):
            raise TypeError(
                f"tracing: given are {', '.join([*given, *settings]) or 'no tokens'}, expected one of messages, text "
                "and ids. Settings of an answer go with messages."
            )
        if messages is not None:
            return assistant.transcript_of(self.chat(messages, **settings), self.chat_format)
        read = tuple(ids if ids is not None else self.text_ids(text or ""))
        whole = Rendered(ids=read, spans=(), text=text or "")
        variant = assistant.variant_of(self.variant, settings.get("edits", ()), whole)
        return assistant.Transcript(prompt_ids=read, variant=variant)

    @classmethod
    def of(cls, model: assistant.Model) -> "Model":
        """The same model, with what looks inside. The one given is not to be used any more. Raises nothing."""
        joined = cls.__new__(cls)
        joined.__dict__.update(model.__dict__)
        return joined


def named_probe(name: str | assistant.Probe) -> str | assistant.Probe:
    """The probe of a direction that is kept here, for "probe:NAME"; anything else as it is. Raises StoreError if there
    is none, and InspectionError and CheckpointError for a file that is none."""
    if not isinstance(name, str) or not name.startswith(assistant.PROBE):
        return name
    own = name.removeprefix(assistant.PROBE)
    path = Directions(default_home()).path(own)
    return assistant.Probe.of(own, inspection.read_direction(path, ours=True))


def joining(load: Callable[P, assistant.Model]) -> Callable[P, Model]:
    """`load`, whose model can be looked into. Raises what `load` raises."""

    @wraps(load)
    def joined(*args: P.args, **kwargs: P.kwargs) -> Model:
        return Model.of(load(*args, **kwargs))

    return joined


load = joining(assistant.load)


def adapters(store: Store | None = None) -> tuple[AdapterRecord, ...]:
    """The adapters on this machine whose records can be read, by name: each with its base, digest and state.

    `store`: another than the one of this user. Raises nothing.
    """
    return (store or Store(default_home())).adapters.readable()
