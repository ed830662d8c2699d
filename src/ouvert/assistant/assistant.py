"""The assistant's interface: one chat format joined to one engine. A request in, typed events out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ouvert.assistant.answer import Answer
from ouvert.assistant.answer_constraints import AnswerConstraints
from ouvert.assistant.consulting import with_sources
from ouvert.assistant.edits import variant_of
from ouvert.assistant.error import AssistantError, ContextExceeded
from ouvert.assistant.grammars import Grammars
from ouvert.assistant.kept_reasoning import KeptReasoning
from ouvert.assistant.meaning import Note, request_for_model
from ouvert.assistant.outline_constraint import OutlineConstraint
from ouvert.assistant.plan import AnswerPlan
from ouvert.assistant.receipts.ended import Identity, Outcome
from ouvert.assistant.receipts.ledger import Ledger
from ouvert.assistant.receipts.writer import AdapterFacts, ReceiptWriter
from ouvert.assistant.request import ChatRequest
from ouvert.assistant.scores import Scores
from ouvert.assistant.truncation import LeftOut, answer_room, without_oldest_turns
from ouvert.assistant.watching import Watcher
from ouvert.chat import ChatFormat, Conversation, Rendered
from ouvert.engine import Engine, Sampling, Token, Vocabulary
from ouvert.safety import Guard

NORMALISED = 4  # characters that a tokenizer may make one of: letters and their marks


class Assistant:
    """Answers conversations. Holds no conversation itself, and may write several answers at once.

    What it remembers between answers, in memory and bounded: compiled grammars, and thoughts behind open tool calls.

    Making one raises nothing.
    """

    def __init__(
        self,
        engine: Engine,
        chat: ChatFormat,
        model: str,
        tokenizer_digest: str,
        vocabulary: Callable[[], Vocabulary] | None = None,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - a value that never changes
        adapters: AdapterFacts | None = None,
    ) -> None:
        """`model` is its name for people; engine, chat format and vocabulary belong to the same model.

        Without a `vocabulary` answers are not held to anything, and demands are refused. Receipts are kept in `ledger`;
        without one they are only handed over. They count what `guard` saw; without one they say nothing of connections.
        `sampling` is used where a request does not say otherwise. `adapters`: what receipts say of a variant's.
        """
        self.engine, self.chat, self.default_sampling = engine, chat, sampling
        self.identity = Identity(
            model=model,
            format=chat.name,
            tokenizer_digest=tokenizer_digest,
            template_digest=chat.digest,
            end_ids=tuple(sorted(chat.stop_ids)),
        )
        self.grammars = Grammars(vocabulary)
        self.constraints = AnswerConstraints(chat, self.grammars)
        self.kept_reasoning = KeptReasoning()
        self._adapters = adapters
        self._receipts = ReceiptWriter(engine, ledger, guard, adapters)

    def without_memory(self, sampling: Sampling) -> "Assistant":
        """Another assistant of the same model: with this sampling, no ledger, and no thoughts of earlier answers.

        Raises nothing.
        """
        vocabulary = (lambda: self.grammars.vocabulary) if self.grammars.has_vocabulary else None
        name, digest = self.identity.model, self.identity.tokenizer_digest
        return Assistant(self.engine, self.chat, name, digest, vocabulary, sampling=sampling, adapters=self._adapters)

    def answer(self, request: ChatRequest) -> Answer:
        """The answer, as it is written.

        Stop texts are looked for in the answer's text, not in its reasoning nor in tool calls. The chat format's own
        end tokens are added to `stop_ids`. With `logprobs` the pieces of its text are ScoredText. The model is held to
        the request's demands, and to the outline of its chat format where that has one. Thoughts that belong to an open
        tool loop and that the caller left out are put back, if they led to that call, in that turn, in an answer of the
        same `asker`.

        Raises EngineError if the conversation does not fit, or a grammar cannot be compiled; what the chat format
        raises for what it cannot write or hold to; AssistantError for demands that make no sense here; ValueError for
        an empty stop string.
        """
        plan = self.plan(request)
        scores = None if plan.sampling.logprobs is None else Scores(self.grammars.vocabulary)
        parser = self.chat.parser(plan.rendered)
        vocabulary = self.grammars.vocabulary if plan.watcher is not None else None
        return Answer(plan, self.engine, parser, scores, self._receipts, self.kept_reasoning, vocabulary)

    def prompt(self, request: ChatRequest) -> Rendered:
        """What `answer` reads, but for turns that it leaves out and thoughts that it puts back. Raises what it does."""
        meant_here, _ = request_for_model(request, self.chat)
        return self.chat.render(meant_here.conversation)

    def plan(self, request: ChatRequest) -> AnswerPlan:
        """What `answer` is going to do. Nothing is computed yet. Raises what `answer` raises."""
        request, citer = with_sources(request, self.engine.context)
        request, notes = request_for_model(request, self.chat)
        changes = {name: value for name, value in request.sampling.items() if value is not None}
        sampling = replace(self.default_sampling, **changes)
        conversation, left_out = self._that_fits(request, sampling)
        conversation, restored = self.kept_reasoning.restored(conversation, request.asker)
        rendered = self.chat.render(conversation)
        ContextExceeded.check(len(rendered.ids), self.engine.context)
        request = replace(request, variant=variant_of(request.variant, request.edits, rendered), edits=())
        outcome = Outcome()
        constraint = self.constraints.of(conversation, rendered, request.demands, outcome)
        watcher = Watcher(request.watch, self.engine.shown, self.identity.model) if request.watch else None
        if left_out:
            notes.append(Note("truncation", f"{len(left_out)} of the oldest messages were left out"))
        return AnswerPlan(
            request=request,
            identity=self.identity_in(self.chat.for_conversation(conversation)),
            conversation=conversation,
            rendered=rendered,
            restored=restored,
            left_out=left_out,
            constraint=constraint,
            sampling=self._held(sampling if watcher is None else replace(sampling, watch=watcher.asked), constraint),
            own_stop_ids=sampling.stop_ids - self.chat.stop_ids,
            outcome=outcome,
            watcher=watcher,
            citer=citer,
            notes=(*notes, *(Note(f"{each}, is not held to") for each in outcome.loosened)),
        )

    def _that_fits(self, request: ChatRequest, sampling: Sampling) -> tuple[Conversation, LeftOut]:
        """The conversation, without its oldest turns where the request allows that and nothing else helps."""
        if request.truncate:
            room = answer_room(sampling.max_tokens, self.engine.context)
            return without_oldest_turns(request.conversation, self.chat, self.engine.context, room)
        self.refuse_what_never_fits(request.conversation)
        return request.conversation, {}

    def _held(self, sampling: Sampling, constraint: OutlineConstraint | None) -> Sampling:
        """The sampling with the constraint, and the chat format's end tokens."""
        if constraint is not None:
            if sampling.constraint is not None:
                raise AssistantError(
                    "sampling.constraint was given for a conversation, expected None: it would hold thoughts and calls "
                    "as well. Say what the answer must be with response_schema or response_grammar."
                )
            sampling = replace(sampling, constraint=constraint)
        return replace(sampling, stop_ids=sampling.stop_ids | self.chat.stop_ids)

    def identity_in(self, chat: ChatFormat) -> Identity:
        """What receipts of answers in this variant of the format say of the model. Raises nothing."""
        return replace(self.identity, format=chat.name, template_digest=chat.digest)

    def identity_like(self, receipt: Mapping[str, Any]) -> Identity:
        """The same for the variant that a receipt was written of; where it is none of them, for the first.

        Raises KeyError for a receipt that names no model.
        """
        variants = self.chat.variants
        wanted = receipt["model"].get("template_digest")
        return self.identity_in(next((each for each in variants if each.digest == wanted), variants[0]))

    def score(self, ids: Sequence[int], top: int = 0) -> list[Token]:
        """`Engine.score`, handed on. Raises EngineError as that does."""
        return self.engine.score(ids, top)

    def refuse_what_never_fits(self, conversation: Conversation) -> None:
        """Raise ContextExceeded for texts so long that no spelling of them fits: cutting megabytes into tokens, only to
        count them, takes seconds. What the model said before is not counted: templates leave thoughts out."""
        given = (each.content.strip() for each in conversation.messages if each.role != "assistant")
        least = sum(map(len, given)) // (NORMALISED * self.grammars.longest_token)
        if least > self.engine.context:
            raise ContextExceeded(least, self.engine.context, at_least=True)
