"""The table of named values against what every family's graph shows and takes, in NumPy and in C++."""

import runpy
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.models import qwen3
from ouvert.weights import open_checkpoint

from .conftest import golden_called

# One golden of every family, and the embedding model that is made of one.
GOLDENS = {family.name: family.name for family in models.FAMILIES} | {"qwen3_embedding": "qwen3"}
IDS = np.arange(1, 6, dtype=np.int32)
DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "taps.md"


@pytest.fixture(params=sorted(GOLDENS))
def family(request):
    return request.param


def placed(family, places):
    with open_checkpoint(golden_called(GOLDENS[family]).folder / "model.safetensors") as checkpoint:
        own, config = models.recognise(checkpoint)
        parameters = own.parameters(config, checkpoint)  # the golden of qwen3 has a head, which embedding leaves out
        return models.place(qwen3.EMBEDDING if family == "qwen3_embedding" else own, config, parameters, places)


def in_numpy(family, tap, wanted="last"):
    ops = arithmetic.Ops()
    model = placed(family, ops)
    return model.forward(ops.begin([(ops.new_cache(model.memories), IDS)], wanted), ops, tap)


def in_cpp(family, tap, wanted="last"):
    """The same by a native program that keeps float32 everywhere."""
    tracer = kernels.Tracer(exact=True, cache="f32")
    model = placed(family, packed.InMemory())
    program = tracer.finish(model.forward(tracer.begin(model.memories), tracer, tap), threads=1)
    return program.step([(program.new_sequence(99), IDS)], wanted)


@dataclass
class Replace(arithmetic.Tap):
    """Puts `change(value)` in the place of one value. Changes of which operations know: they need no NumPy."""

    name: str
    change: object
    scope: str = ""
    names: list = field(default_factory=list)

    def __call__(self, name, value):
        self.names.append(self.scope + name)
        return self.change(value) if self.scope + name == self.name else value

    def wants(self, name):
        return self.name in ("", self.scope + name)

    def inside(self, scope):
        return Replace(self.name, self.change, f"{self.scope}{scope}.", self.names)


def doubled(value):
    return value + value


# --- what is shown ---


def test_every_family_is_in_the_table():
    assert {name for value in models.TAPS for name in value.families} == set(GOLDENS)


def test_numpy_shows_what_the_table_says_and_nothing_else(family):
    model = placed(family, arithmetic.Ops())
    table = dict(models.shown_by(family, model.config))
    everything = Replace("", None)
    in_numpy(family, everything)
    assert sorted(everything.names) == sorted(table)
    recorder = arithmetic.Recorder(*table)
    in_numpy(family, recorder)
    for name, value in recorder.values().items():
        rows = {"tokens": len(IDS), "wanted": 1}[table[name].rows]
        assert value.shape == (rows, *table[name].shape(model.config, len(IDS))), name
        assert value.dtype == (np.int32 if table[name].integers else np.float32), name


def test_cpp_shows_the_same_values_under_the_same_names(family):
    tracer = kernels.Tracer(exact=True, cache="f32")
    model = placed(family, packed.InMemory())
    table = dict(models.shown_by(family, model.config))
    program = kernels.build(tracer, model, threads=1, watch=table)
    returned = program.step([(program.new_sequence(99), IDS)], "last")
    np.testing.assert_array_equal(program.seen("norm" if family == "qwen3_embedding" else "logits"), returned)
    recorder = arithmetic.Recorder(*table)
    in_numpy(family, recorder)
    for name, expected in recorder.values().items():
        seen = program.seen(name)
        assert seen.shape == (len(expected), prod(table[name].shape(model.config, len(IDS)))), name
        assert seen.dtype == expected.dtype, name
        np.testing.assert_allclose(seen, expected.reshape(seen.shape), rtol=2e-4, atol=2e-5, err_msg=name)


def kinds_when_watching(family, *names):
    tracer = kernels.Tracer()
    return Counter(kernels.build(tracer, placed(family, packed.InMemory()), threads=1, watch=names).kinds)


def test_the_table_says_which_values_split_an_instruction():
    """Fused instructions name their parts. The goldens have few layers, so not every family's value shows it."""
    split, kept = set(), set()
    for family in GOLDENS:
        config = placed(family, arithmetic.Ops()).config
        plain = kinds_when_watching(family)
        for name, value in models.shown_by(family, config):
            if name == "logits" or name.startswith(f"layers.{config.num_hidden_layers - 1}."):
                continue  # in the last layer only the wanted rows are computed, which changes more than this
            lost = plain - kinds_when_watching(family, name)
            (split if any(", " in kind for kind in lost) else kept).add(value)
    assert {value.name for value in split} == {value.name for value in models.TAPS if value.cost == "split"}
    assert {value.name for value in models.TAPS if value.cost != "split"} - {"logits"} <= {v.name for v in kept}


# --- what may be replaced ---


def test_an_editable_value_may_be_replaced_alike_in_numpy_and_in_cpp(family):
    config = placed(family, arithmetic.Ops()).config
    plain = {run: run(family, arithmetic.Tap()) for run in (in_cpp, in_numpy)}
    for name, value in models.shown_by(family, config):
        if not value.editable or value.integers:
            continue
        changed = {run: run(family, Replace(name, doubled)) for run in plain}
        largest = np.abs(changed[in_numpy]).max()
        np.testing.assert_allclose(changed[in_cpp], changed[in_numpy], rtol=0, atol=1e-4 * largest, err_msg=name)
        for run, before in plain.items():
            assert not np.array_equal(changed[run], before), f"{name}, {run.__name__}"


def exchanging_experts():
    """Lets the last layer take the experts that the layer before it chose."""
    seen = []

    class Exchange(arithmetic.Tap):
        def __call__(self, name, value):
            if name == "experts.chosen":
                seen.append(value)
                return seen[0]
            return value

    return Exchange()


def test_the_choice_of_experts_may_be_replaced_alike_in_numpy_and_in_cpp():
    ours, theirs = (run("gpt_oss", exchanging_experts()) for run in (in_cpp, in_numpy))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    assert np.abs(theirs - in_numpy("gpt_oss", arithmetic.Tap())).max() > 1e-3 * np.abs(theirs).max()


def refusal(run, *given):
    with pytest.raises(models.TapError) as caught:
        run(*given)
    return str(caught.value)


def test_what_may_not_be_replaced_is_refused_in_the_same_words():
    words = {refusal(run, "llama", Replace("logits", doubled)) for run in (in_numpy, in_cpp)}
    [said] = words
    assert said == (
        "tap: logits was replaced, expected the value itself, for it may only be looked at. "
        "docs/formats/taps.md says which values may be replaced."
    )


@pytest.mark.parametrize("run", [in_numpy, in_cpp])
@pytest.mark.parametrize("other", [None, 0.0, np.zeros((3, 7), np.int8)], ids=["nothing", "a number", "another array"])
def test_a_replacement_of_another_kind_is_refused_by_name(run, other):
    said = refusal(run, "llama", Replace("layers.1.attention.out", lambda value: other))
    assert said.startswith("tap: layers.1.attention.out was replaced by")
    assert "Return a value of the same operations, shape and type." in said


def test_an_array_is_no_replacement_in_cpp():
    said = refusal(in_cpp, "llama", Replace("layers.0.out", lambda value: np.zeros((len(IDS), 24), np.float32)))
    assert "was replaced by ndarray" in said
    assert "expected Traced" in said


def test_whole_numbers_cannot_be_added_in_cpp():
    with pytest.raises(kernels.TracingError, match="whole numbers"):
        in_cpp("gpt_oss", Replace("layers.0.experts.chosen", doubled))


def test_a_value_that_the_table_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(models.taps, "TAPS", [value for value in models.TAPS if value.name != "mlp.inner"])
    assert refusal(in_numpy, "llama", arithmetic.Tap()) == (
        "tap: llama shows layers.0.mlp.inner, expected a name of ouvert.models.TAPS. "
        "Add it to the table in models/taps.py."
    )


# --- layers, one by one ---


def test_layers_one_by_one_give_the_bits_of_the_whole(golden):
    ops = arithmetic.Ops()
    with open_checkpoint(golden.folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, ops)
    count = model.config.num_hidden_layers
    recorder = arithmetic.Recorder("embedding", *(f"layers.{n}.out" for n in range(count)))
    model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids)]), ops, recorder)
    expected = recorder.values()
    layers = model.layers(ops.begin([(ops.new_cache(model.memories), golden.ids)]), ops)
    assert len(layers) == count
    x = expected["embedding"]
    for n, run_layer in enumerate(layers):
        x = run_layer(x)
        np.testing.assert_array_equal(x, expected[f"layers.{n}.out"])


def test_a_layer_alone_takes_any_hidden_states(family):
    """What each layer adds does not depend on whether the others ran, only on what it is given."""
    ops = arithmetic.Ops()
    model = placed(family, ops)
    x = np.random.default_rng(0).standard_normal((len(IDS), model.config.hidden_size)).astype(np.float32)
    alone = model.layers(ops.begin([(ops.new_cache(model.memories), IDS)]), ops)[1](x)
    first, second, *_ = model.layers(ops.begin([(ops.new_cache(model.memories), IDS)]), ops)
    first(x)
    np.testing.assert_array_equal(second(x), alone)
    assert alone.shape == x.shape
    assert not np.array_equal(alone, x)


def test_taps_see_and_replace_within_layers_too():
    ops = arithmetic.Ops()
    model = placed("mamba", ops)
    recorder = arithmetic.Recorder("layers.1.mixer.out")
    layers = model.layers(ops.begin([(ops.new_cache(model.memories), IDS)]), ops, recorder)
    x = np.ones((len(IDS), model.config.hidden_size), np.float32)
    y = layers[1](x)
    np.testing.assert_array_equal(x + recorder.values()["layers.1.mixer.out"], y)


def test_programs_of_layers_one_by_one_give_the_bits_of_the_whole(family):
    """A program traced layer by layer, after the graph's own beginning and before its own end."""
    tracer = kernels.Tracer()
    model = placed(family, packed.InMemory())
    batch = tracer.begin(model.memories)
    x = tracer.embed(batch.ids, model.parameters.embedding)
    for run_layer in model.layers(batch, tracer):
        x = run_layer(x)
    eps = getattr(model.config, "rms_norm_eps", None) or model.config.layer_norm_epsilon
    x = tracer.rms_norm(tracer.select(x, batch.wanted), model.parameters.norm, eps)
    out = x if model.family.embeds else tracer.linear(x, model.parameters.unembedding)
    layered = tracer.finish(out, threads=1)
    tracer = kernels.Tracer()
    whole = kernels.build(tracer, placed(family, packed.InMemory()), threads=1)
    found, expected = (each.step([(each.new_sequence(99), IDS)], "all") for each in (layered, whole))
    np.testing.assert_array_equal(found, expected)


# --- while text is written ---


def test_what_is_watched_live_is_spread_over_the_layers_and_has_the_last(family, monkeypatch):
    config = placed(family, arithmetic.Ops()).config
    shown = [name for name, _ in models.shown_by(family, config)]
    every = models.live_names(family, config)
    assert every == [name for name in shown if name in every]
    monkeypatch.setattr(models.taps, "LIVE_LAYERS", 1)
    one = models.live_names(family, config)
    last = f"layers.{config.num_hidden_layers - 1}.attention.top"
    assert [name for name in one if name.endswith("attention.top")] == [name for name in shown if name == last]
    assert [name for name in one if "attention" not in name] == [name for name in every if "attention" not in name]
    assert one


# --- the document ---


def test_the_document_is_written_from_the_table():
    written = runpy.run_path(str(DOCUMENT.with_name("write_taps.py")))["page"]()
    assert DOCUMENT.read_text(encoding="utf-8") == written, "run make reference"
