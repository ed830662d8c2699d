"""What happened inside while a sequence was computed: values that were kept, and the views over them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ouvert.inspection.attention import Attention, attention_names, attention_of, heads_asked
from ouvert.inspection.attribution import Attribution, attribution_names, attribution_of
from ouvert.inspection.confidence import Confidence
from ouvert.inspection.error import InspectionError
from ouvert.inspection.experts import ExpertsView, experts_names, experts_of, layers_with_experts
from ouvert.inspection.head import Head
from ouvert.inspection.lens import FocusLens, Lens, check_top, focus_of, layers_asked, lens_of, lens_view, streams
from ouvert.inspection.names import own_name, own_names
from ouvert.inspection.page import page as html_page
from ouvert.inspection.positions import Positions, places_asked
from ouvert.inspection.price import Price, check_price, price_of
from ouvert.inspection.saving import page_without_words, trace_bytes, write_whole
from ouvert.inspection.states import (
    HiddenAttention,
    States,
    hidden_attention_of,
    hidden_names,
    joined_steps,
    states_names,
    states_of,
)
from ouvert.inspection.subject import Array, Step, Subject, steps_of
from ouvert.inspection.tokens import TracedToken, pieces_of, token_facts
from ouvert.inspection.view import Kind, View, html_table

VERSION = 1
USUAL_MOST = "1 GB"
MOST_IN_LENS = 5_000_000  # tokens that a lens names: five at 8192 places in 120 layers
MOST_QUERIES = 256  # whose attention is shown at once

V = TypeVar("V", bound=View)


class Trace:
    """A sequence computed once more by the program's sibling over the weights that serve, with the same bits.

    `trace["layers.12.out"]` is what was kept of a value, (places, width); names are those of docs/formats/taps.md, or
    of TransformerLens, nnterp and transformers where those mean the same numbers. Views compute what was not kept once
    more. `tokens`: all tokens; `places`: those whose values were kept; `facts`: of which model, weights and build.

    `trace_of` makes one. Making one raises nothing.
    """

    def __init__(
        self,
        *,
        subject: Subject | None,
        facts: Mapping[str, Any],
        tokens: tuple[TracedToken, ...],
        places: Array,
        kept: Mapping[str, Array],
        views: Mapping[str, View],
        expanded: int = 0,
        receipt: str | None = None,
        kind: Kind = "observation",
        max_bytes: int | str = USUAL_MOST,
    ) -> None:
        self.facts, self.tokens, self.places, self.receipt, self.kind = facts, tokens, places, receipt, kind
        self._subject, self._kept, self._views = subject, dict(kept), dict(views)
        self.expanded, self._max_bytes = expanded, max_bytes

    # --- values ---

    @property
    def ids(self) -> list[int]:
        """The tokens' ids. Raises nothing."""
        return [token.id for token in self.tokens]

    @property
    def names(self) -> list[str]:
        """The names of the values that were kept. Raises nothing."""
        return list(self._kept)

    def __getitem__(self, name: str) -> Array:
        """(places, width), float32 or int32. A value that was not kept is computed now, and kept.

        Raises InspectionError for a name of no value, with near ones, and for what would take too many bytes.
        """
        if name in self._kept:
            return self._kept[name]
        own = own_name(self.subject, name)
        if own not in self._kept:
            self.record([own])
        return self._kept[own]

    def dims(self, name: str) -> tuple[str, ...]:
        """The names of the axes of `trace[name]`: ("token", "hidden"). A value of heads has one axis for all of them,
        ("token", "q_heads*head_dim"). Raises InspectionError for a name of no value."""
        value = self.subject.names[own_name(self.subject, name)]
        return ("token", value.dims.replace(" ", "*"))

    def record(self, names: str | Iterable[str]) -> Price:
        """Keep these values too: the sequence is computed once more. What that took, as it was forecast.

        Raises InspectionError for a name of no value, and for more bytes than `max_bytes`.
        """
        missing = [name for name in own_names(self.subject, names) if name not in self._kept]
        price = price_of(self.subject, len(self.tokens), missing, len(self.places))
        check_price(price, self._max_bytes, "recording")
        parts: dict[str, list[Array]] = {name: [] for name in missing}
        for step in self.steps(missing, self.places):
            for name in missing:
                parts[name].append(step.values[name])
        self._kept |= {name: np.concatenate(rows) for name, rows in parts.items()}
        return price

    def steps(self, names: Sequence[str], places: Array, *, logits: bool = False) -> Iterator[Step]:
        """These values at these places, a step at a time: those that were kept, else the sequence is computed again.

        Raises InspectionError where the sequence would have to be computed and the model is not here.
        """
        if not logits and all(name in self._kept for name in names) and np.isin(places, self.places).all():
            rows = np.searchsorted(self.places, places)
            yield Step(places, {name: self._kept[name][rows] for name in names}, None)
            return
        upto = self.ids[: int(places[-1]) + 1]
        for step in steps_of(self.subject, names, upto, logits=logits, expanded=self.expanded):
            rows = np.flatnonzero(np.isin(step.places, places))
            if rows.size:
                values = {name: value[rows] for name, value in step.values.items()}
                yield Step(step.places[rows], values, None if step.logits is None else step.logits[rows])

    @property
    def subject(self) -> Subject:
        """The model, where it is here. Raises InspectionError where the trace was read from a file alone."""
        if self._subject is None:
            raise InspectionError(
                f"looking into a trace: it was read from a file, and only {', '.join(self._kept) or 'no values'} and "
                f"the views {', '.join(self._views)} are in it. Read it with its model: load_trace(path, model=...)."
            )
        return self._subject

    # --- views ---

    def confidence(self, positions: Positions | None = None) -> Confidence:
        """How sure the model was of each token: its log-probability, rank, the spread, the five likeliest.

        It is computed with every trace, of all tokens but the first. `positions`: as of a trace; left out, all. Raises
        InspectionError for a model that writes no text, and for positions without a token that came after another.
        """
        whole = self._view(Confidence, (), self._lost)
        if positions is None:
            return whole
        found = whole.at(places_asked(self.tokens, positions))
        if not len(found.places):
            raise InspectionError("confidence: the first token comes after nothing, so it has none. Ask for others.")
        return found

    def lens(self, top: int = 5, layers: str | Iterable[int] | None = None, positions: Positions | None = None) -> Lens:
        """What the model would say after each layer: the `top` likeliest tokens at each place.

        `layers`: all, "every 4", or numbers; the last is always there, with the bits of the logits. `positions`: as of
        a trace; left out, those that were kept. Raises InspectionError for layers, positions or a top that are not
        there, and for a model that writes no text.
        """
        layers, positions = listed(layers), listed(positions)

        def made() -> Lens:
            chosen = layers_asked(self.subject, layers)
            check_top(self.subject, top)
            asked = self._places(positions)
            check_rows(len(chosen), len(asked), top)
            steps = self.steps(streams(chosen), asked)
            places, outcomes = lens_of(self.subject, steps, chosen, self._came, top)
            said = {int(token) for each in outcomes for token in each.ids.ravel()} | set(self.ids)
            return lens_view(self.subject, chosen, places, outcomes, self._came, self._pieces(said))

        return self._view(Lens, (top, layers, positions), made)

    def focus(
        self,
        tokens: Iterable[int | str],
        layers: str | Iterable[int] | None = None,
        positions: Positions | None = None,
    ) -> FocusLens:
        """The logits of a few tokens after each layer: ids, or texts that are one token each. See `lens`.

        Raises InspectionError as `lens` does, and for a text that is no token or several.
        """
        layers, positions, asked = listed(layers), listed(positions), tuple(tokens)

        def made() -> FocusLens:
            chosen = layers_asked(self.subject, layers)
            wanted = [self._token(each) for each in asked]
            steps = self.steps(streams(chosen), self._places(positions))
            return focus_of(self.subject, steps, chosen, wanted, self._pieces(wanted))

        return self._view(FocusLens, (asked, layers, positions), made)

    def attention(
        self,
        layer: int,
        head: int | Iterable[int] | None = None,
        query: Positions | int = "last",
        *,
        values: bool = False,
    ) -> Attention:
        """Where the heads of a layer look from the tokens `query`, and how much of their attention the sink takes.

        `head`: one, several, or all. `query`: a place, or positions as of a trace, at most MOST_QUERIES. `values`: also
        how much the value at each place adds to the residual stream. Raises InspectionError for a layer, head or query
        that is not there, and for a model without attention.
        """
        heads, queries = listed(head), listed(query)

        def made() -> Attention:
            names = attention_names(self.subject, layer, values)
            places = places_asked(self.tokens, [queries] if isinstance(queries, int) else queries)
            if len(places) > MOST_QUERIES:
                raise InspectionError(
                    f"attention: {len(places)} queries, expected at most {MOST_QUERIES}. Ask for some of them: query=."
                )
            steps = self.steps(names, np.arange(places[-1] + 1) if values else places)
            return attention_of(self.subject, steps, layer, places, heads_asked(self.subject, heads), values)

        return self._view(Attention, (layer, heads, queries, values), made)

    def experts(self, positions: Positions | None = None, *, norms: bool = False) -> ExpertsView:
        """Which experts were chosen, with what weight, and how the work was spread. `norms`: also how much each added.

        Raises InspectionError for a model without experts, and for positions that are not there.
        """
        positions = listed(positions)

        def made() -> ExpertsView:
            layers = layers_with_experts(self.subject)
            steps = self.steps(experts_names(layers, norms), self._places(positions))
            return experts_of(self.subject, steps, layers, norms)

        return self._view(ExpertsView, (positions, norms), made)

    def attribution(
        self, token: int | str | None = None, position: int | None = None, *, heads: bool = False
    ) -> Attribution:
        """The logit of `token` after the token at `position`, as the sum of what every part of the model gave to it.

        Left out, it is the last token of the sequence, after the one before it; without `token` the one that came
        there, and behind the last the likeliest. `heads`: also what each head gave. Raises InspectionError for a token
        or a position that is not there, for heads of a model without attention, and for a model that writes no text.
        """

        def made() -> Attribution:
            asked = max(len(self.tokens) - 2, 0) if position is None else position
            place = int(places_asked(self.tokens, [asked])[0])
            [step] = self.steps(attribution_names(self.subject, heads), np.array([place]))
            wanted = self._likeliest(step, place) if token is None else self._token(token)
            return attribution_of(self.subject, step, place, wanted, heads, self._pieces([wanted]))

        return self._view(Attribution, (token, position, heads), made)

    def states(self, positions: Positions | None = None) -> States:
        """The norms of Mamba's states and its time steps. Raises InspectionError for a model without states."""
        positions = listed(positions)

        def made() -> States:
            return states_of(self.subject, self.steps(states_names(self.subject), self._places(positions)))

        return self._view(States, (positions,), made)

    def hidden_attention(self, layer: int, query: int = -1) -> HiddenAttention:
        """What reaches the token at `query` from every token before it, in one layer of Mamba.

        Raises InspectionError for a model without states, and for a layer or a query that is not there.
        """

        def made() -> HiddenAttention:
            names = hidden_names(self.subject, layer)
            place = int(places_asked(self.tokens, [query])[0])
            step = joined_steps(self.steps(names, np.arange(place + 1)), names)
            return hidden_attention_of(self.subject, step, layer, place)

        return self._view(HiddenAttention, (layer, query), made)

    @property
    def available(self) -> list[str]:
        """The names of the views that it can give: all that the model has; of a file alone, those in it. Raises
        nothing."""
        return sorted({view.view for view in self.views}) if self._subject is None else self._subject.views

    @property
    def views(self) -> list[View]:
        """Those that were computed so far. Raises nothing."""
        return list(self._views.values())

    # --- forms ---

    def json(self) -> dict[str, Any]:
        """The summary of docs/formats/trace.md: no values, no views. Raises nothing."""
        return {
            "trace": VERSION,
            "kind": self.kind,
            "model": dict(self.facts),
            "receipt": self.receipt,
            "tokens": [token_facts(token) for token in self.tokens],
            "places": self.places.tolist(),
            "recorded": [
                {"name": name, "shape": list(value.shape), "bytes": value.nbytes} for name, value in self._kept.items()
            ],
            "views": [view.view for view in self.views],
            "available": self.available,
        }

    def save(self, path: Path | str, *, words: bool = True) -> None:
        """Write what was kept, the tokens and the views that were computed: one safetensors file, which `load_trace`
        reads. It is there whole or not at all, and only its owner can read it.

        It holds the conversation, word for word. Without `words` it has neither texts nor ids of tokens, nor the values
        `embedding` and `logits`; whoever has the model can still tell something of the words from other values. Raises
        OSError where it cannot be written.
        """
        write_whole(Path(path), self.to_bytes(words=words))

    def to_bytes(self, *, words: bool = True) -> bytes:
        """What `save` writes. Raises nothing."""
        views = {key: view.json() for key, view in self._views.items()}
        return trace_bytes({**self.json(), "expanded": self.expanded, "views": views}, self._kept, words=words)

    def table(self) -> list[dict[str, Any]]:
        """One row a token: what it is and how sure the model was of it. Raises nothing."""
        known = self.confidence().table() if "confidence" in self.available else []
        sure = {row["place"]: row for row in known}
        return [
            {"place": token.place, "id": token.id, "text": token.text, "part": token.part, "channel": token.channel}
            | {name: sure[token.place][name] if token.place in sure else None for name in ("logprob", "rank")}
            for token in self.tokens
        ]

    def page(self, path: str | Path, *, words: bool = True) -> None:
        """Write one HTML file of the views that were computed so far, and the lens. It asks nobody for anything.

        The words of a conversation are in it. Without `words` it has neither texts nor ids of tokens, nor a lens on
        chosen tokens; whoever has the model can still tell something of the words from the numbers. Raises what `lens`
        raises, and OSError.
        """
        write_whole(Path(path), self.to_html(words=words))

    def to_html(self, *, words: bool = True) -> bytes:
        """What `page` writes. Raises what `lens` raises."""
        if "lens" in self.available and not any(isinstance(view, Lens) for view in self.views):
            self.lens()
        facts, views = self.json(), [view.json() for view in self.views]
        return html_page(facts, views) if words else html_page(*page_without_words(facts, views))

    def __repr__(self) -> str:
        return (
            f"<Trace of {self.facts['name']} ({self.kind}): {len(self.tokens)} tokens, kept {', '.join(self.names)}; "
            f"views {', '.join(self.available)}>"
        )

    def _repr_html_(self) -> str:
        return html_table(self.table())

    # --- what views need ---

    def _view(self, kind: type[V], asked: tuple[Any, ...], make: Callable[[], V]) -> V:
        """The view, made the first time that it is asked for so."""
        key = f"{kind.view} {asked}"
        view = self._views.get(key) or replace(make(), kind=self.kind)
        if not isinstance(view, kind):
            raise TypeError(f"{key} is a {type(view).__name__}, expected {kind.__name__}.")
        self._views[key] = view
        return view

    def _lost(self) -> Confidence:
        self.subject.need("confidence")
        raise InspectionError("confidence: the file of this trace does not have it. Make the trace again.")

    def _likeliest(self, step: Step, place: int) -> int:
        """The token that came after a place, or the likeliest where none came."""
        if place in self._came:
            return self._came[place]
        head = Head(self.subject)
        try:
            return int(head.all_logits(step.values[streams([self.subject.layers - 1])[0]])[0].argmax())
        finally:
            head.close()

    @property
    def _came(self) -> dict[int, int]:
        """The token that came after each place."""
        return {before.place: after.id for before, after in zip(self.tokens, self.tokens[1:], strict=False)}

    def _places(self, positions: Positions | None) -> Array:
        return self.places if positions is None else places_asked(self.tokens, positions)

    def _pieces(self, ids: Iterable[int]) -> dict[str, str]:
        return pieces_of(ids, self.subject.tokenizer)

    def _token(self, given: int | str) -> int:
        """Raises InspectionError for a text that is not one token, and for an id that the model does not have."""
        if not isinstance(given, str):
            most = int(self.subject.model.config.vocab_size)
            if not 0 <= int(given) < most:
                raise InspectionError(f"focus lens: the token is {given!r:.80}, expected an id from 0 to {most - 1}.")
            return int(given)
        tokenizer = self.subject.tokenizer
        found = [] if tokenizer is None else tokenizer.encode(given)
        if len(found) != 1:
            raise InspectionError(
                f"focus lens: {given!r:.80} is {len(found)} tokens ({found}), expected one. Give one of these ids, or "
                "a text that is one token; a word that follows another begins with a space."
            )
        return int(found[0])


def check_rows(layers: int, places: int, top: int) -> None:
    """Raises InspectionError for a lens of more numbers than MOST_IN_LENS."""
    if layers * places * top > MOST_IN_LENS:
        raise InspectionError(
            f"lens: {top} tokens at {places} places in {layers} layers are {layers * places * top}, expected at most "
            f"{MOST_IN_LENS}. Ask for fewer tokens (top), layers or positions."
        )


def listed(given: Any) -> Any:
    """The same, with numbers in a tuple: what a view was asked for is kept beside it. Raises nothing."""
    return given if given is None or isinstance(given, str | int) else tuple(given)
