"""What a program shows of its steps: the answer has the same bits, and every row that was asked for is there."""

from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.kernels.linear import available_instruction_sets
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
FAMILIES = ["llama", "mistral", "gpt_oss", "qwen3_moe", "deepseek_v3", "mamba", "mamba2"]
ATTENDS = ["llama", "gpt_oss", "deepseek_v3"]
IDS = np.random.default_rng(3).integers(0, 64, 600).astype(np.int32)
# Of float32: scores of size 10 that are rounded once in every sum, and their exponentials.
FLOAT32 = {"rtol": 2e-4, "atol": 2e-6}


def loaded(case, place):
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        return models.load(checkpoint, place)


def program_of(case, watch=(), threads=1, instruction_set=None, exact=False, cache="f16"):
    tracer = kernels.Tracer(exact=exact, cache=cache)
    model = loaded(case, packed.InMemory())
    return kernels.build(tracer, model, threads=threads, instruction_set=instruction_set, watch=watch)


def names_of(case, *parts):
    model = loaded(case, packed.InMemory())
    every = models.shown_by(model.family.name, model.config)
    return [name for name, value in every if not parts or value.name in parts]


def computed_of(case):
    """What is computed for whoever watches alone."""
    model = loaded(case, packed.InMemory())
    return [name for name, value in models.shown_by(model.family.name, model.config) if value.cost == "computed"]


def answer(program, ids=IDS[:90], cuts=(90,)):
    sequence, rows, done = program.new_sequence(4096), [], 0
    for count in cuts:
        rows.append(program.step([(sequence, ids[done : done + count])], "all"))
        done += count
    sequence.close()
    return np.concatenate(rows)


# --- the same bits ---


@pytest.mark.parametrize("case", FAMILIES)
@pytest.mark.parametrize("instruction_set", available_instruction_sets())
def test_the_answer_has_the_same_bits_whatever_is_watched(case, instruction_set):
    """Fused and split, whole and in pieces, alone and in a batch."""
    plain = program_of(case, instruction_set=instruction_set)
    expected = answer(plain)
    for watch in (computed_of(case), names_of(case)):
        watching = program_of(case, watch, threads=2, instruction_set=instruction_set)
        np.testing.assert_array_equal(answer(watching), expected)
        np.testing.assert_array_equal(answer(watching, cuts=(40, 1, 1, 48)), expected)
        first, second = watching.new_sequence(99), watching.new_sequence(99)
        watching.step([(first, IDS[:40])], "none")
        rows = watching.step([(second, IDS[100:117]), (first, IDS[40:90])], "all")
        np.testing.assert_array_equal(rows[17:], expected[40:])


@pytest.mark.parametrize("case", ["gpt_oss", "deepseek_v3"])
def test_what_is_seen_has_the_same_bits_for_every_instruction_set_and_number_of_threads(case):
    names, found = computed_of(case), []
    for instruction_set in available_instruction_sets():
        for threads in (1, 3):
            program = program_of(case, names, threads, instruction_set)
            answer(program)
            found.append([program.seen(name) for name in names])
    for other in found[1:]:
        for name, one, another in zip(names, found[0], other, strict=True):
            np.testing.assert_array_equal(another, one, err_msg=name)


@pytest.mark.parametrize("case", ["llama", "gpt_oss", "mamba2"])
def test_nothing_watched_is_the_same_program(case):
    tracer = kernels.Tracer()
    model = loaded(case, packed.InMemory())
    plain = tracer.finish(model.forward(tracer.begin(model.memories), tracer), threads=1)
    assert plain.kinds == program_of(case).kinds
    assert "attention rows" not in plain.kinds
    shown = program_of(case, computed_of(case)).kinds
    assert [kind for kind in shown if kind != "attention rows"][:8] == plain.kinds[:8]


# --- what is seen ---


def by_numpy(case, ids, name, expanded=0):
    ops = arithmetic.Ops(np.float64)
    model, recorder = loaded(case, ops), arithmetic.Recorder(name)
    cache = ops.new_cache(model.memories)
    for layer in cache.layers:
        if expanded:
            layer.expanded = expanded
    model.forward(ops.begin([(cache, ids)]), ops, recorder)
    return recorder.values()[name]


@pytest.mark.parametrize("cache", ["f32", "f16", "q8"])
@pytest.mark.parametrize("case", ATTENDS)
def test_rows_of_attention_are_those_of_numpy_and_sum_up_to_one(case, cache):
    """Over more than one segment of keys. Caches of fewer bits round keys: the rows are near, and still a whole."""
    name = "layers.1.attention.weights"
    sinks = "layers.1.attention.sink" if case == "gpt_oss" else None
    program = program_of(case, [name, *([sinks] if sinks else [])], exact=True, cache=cache, threads=2)
    answer(program, IDS[:300], (300,))
    expected = by_numpy(case, IDS[:300], name)
    seen = program.seen(name).reshape(expected.shape)
    if cache == "f32":
        np.testing.assert_allclose(seen, expected, **FLOAT32)
    assert np.abs(seen - expected).sum(-1).mean() < {"f32": 1e-5, "f16": 0.01, "q8": 0.2}[cache]
    of_sinks = program.seen(sinks) if sinks else 0
    np.testing.assert_allclose(seen.sum(-1) + of_sinks, 1, rtol=0, atol=2e-6)  # sums of 300 roundings of 6e-8
    assert (seen[expected == 0] == 0).all()
    if sinks and cache == "f32":
        np.testing.assert_allclose(of_sinks, by_numpy(case, IDS[:300], sinks), **FLOAT32)


@pytest.mark.parametrize("case", ["llama", "mistral", "gpt_oss"])
def test_values_by_the_rows_are_what_the_heads_mix(case):
    names = [f"layers.1.attention.{part}" for part in ("weights", "v", "mixed")]
    program = program_of(case, names, exact=True, cache="f32")
    answer(program, IDS[:300], (300,))
    config = loaded(case, packed.InMemory()).config
    weights, v, mixed = map(program.seen, names)
    v = v.reshape(300, config.num_key_value_heads, config.head_dim)
    v = np.repeat(v, config.num_attention_heads // config.num_key_value_heads, axis=1)
    total = np.einsum("thp,phd->thd", weights.reshape(300, config.num_attention_heads, 300), v)
    np.testing.assert_allclose(total.reshape(300, -1), mixed, rtol=0, atol=2e-6 * np.abs(v).max())


@pytest.mark.parametrize("case", ATTENDS)
def test_the_heaviest_are_those_of_the_rows(case):
    names = [f"layers.0.attention.{part}" for part in ("weights", "top", "top_weights")]
    both, alone = program_of(case, names), program_of(case, names[1:])
    for program in (both, alone):
        answer(program, IDS[:300], (299, 1))
        program.step([(program.new_sequence(4096), IDS[:300])], "last")
    top, top_weights = (both.seen(name).reshape(300, -1, models.TOP) for name in names[1:])
    rows = both.seen(names[0]).reshape(300, top.shape[1], -1)
    for name in names[1:]:
        np.testing.assert_array_equal(alone.seen(name), both.seen(name))
    for t in (0, 3, 8, 63, 64, 65, 255, 256, 299):
        for row, positions, weights in zip(rows[t], top[t], top_weights[t], strict=True):
            first = 0 if case != "gpt_oss" else max(0, t + 1 - loaded(case, packed.InMemory()).config.windows[0])
            order = sorted(range(first, t + 1), key=lambda s: (-row[s], s))[: models.TOP]
            padded = order + [-1] * (models.TOP - len(order))
            assert list(positions) == padded
            assert list(weights) == [row[s] if s >= 0 else 0 for s in padded]


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v2"])
def test_rows_of_tokens_in_the_expanded_form_are_those_of_the_absorbed_one(case):
    names = ["layers.1.attention.weights", "layers.1.attention.q"]
    program, found = program_of(case, names, exact=True, cache="f32", threads=2), []
    for expanded in (0, 70):
        sequence = program.new_sequence(99)
        sequence.expanded = expanded
        program.step([(sequence, IDS[:90])], "all")
        found.append([program.seen(name) for name in names])
    for name, absorbed, expanded in zip(names, *found, strict=True):
        np.testing.assert_allclose(expanded, absorbed, rtol=1e-3, atol=1e-4 * np.abs(absorbed).max(), err_msg=name)
    true = by_numpy(case, IDS[:90], names[0], expanded=70)
    np.testing.assert_allclose(found[1][0].reshape(true.shape), true, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", ["gpt_oss", "mixtral", "deepseek_v3"])
def test_what_each_expert_adds_sums_up_to_what_they_add(case):
    names = [f"layers.1.experts.{part}" for part in ("each", "out", "chosen")]
    program = program_of(case, names)
    answer(program)
    each, out, chosen = map(program.seen, names)
    total = each.reshape(len(out), chosen.shape[1], -1).sum(1)
    np.testing.assert_allclose(total, out, rtol=0, atol=2e-6 * np.abs(out).max())


# --- which rows ---


def test_a_step_that_is_cut_in_turns_shows_every_row():
    names = ["layers.0.out", "layers.1.attention.weights", "layers.1.attention.sink", "norm", "logits"]
    program = program_of("gpt_oss", names)
    logits = program.step([(program.new_sequence(999), IDS)], "all")
    np.testing.assert_array_equal(program.seen("logits"), logits)
    assert all(len(program.seen(name)) == 600 for name in names)
    np.testing.assert_array_equal(program.seen_positions("layers.0.out"), np.arange(600))
    rows = program.seen(names[1]).reshape(600, -1, 600)
    pieces = program_of("gpt_oss", names)
    sequence = pieces.new_sequence(999)
    for start in range(0, 600, 200):
        pieces.step([(sequence, IDS[start : start + 200])], "all")
        for name in ("layers.0.out", "layers.1.attention.sink", "norm"):
            np.testing.assert_array_equal(pieces.seen(name), program.seen(name)[start : start + 200])
        part = pieces.seen(names[1]).reshape(200, rows.shape[1], -1)
        np.testing.assert_array_equal(part, rows[start : start + 200, :, : start + 200])
        np.testing.assert_array_equal(pieces.seen_positions(names[1]), np.arange(start, start + 200))


@pytest.mark.parametrize("rows", ["last", [0, 511, 512, 599, 7000], []])
def test_only_the_rows_that_were_asked_for_are_kept(rows):
    names = ["layers.0.out", "layers.1.attention.weights", "layers.1.attention.top"]
    every = program_of("gpt_oss", names)
    some = program_of("gpt_oss", names)
    some.keep_rows(rows)
    for program in (every, some):
        program.step([(program.new_sequence(999), IDS)], "last")
    positions = [599] if rows == "last" else [row for row in rows if row < 600]
    for name in names:
        expected = every.seen(name)[np.asarray(positions, int)]
        seen = some.seen(name)
        assert len(seen) == len(positions)
        np.testing.assert_array_equal(some.seen_positions(name), positions)
        np.testing.assert_array_equal(seen, expected)


def test_rows_differ_from_name_to_name_and_from_step_to_step():
    names = ["layers.0.attention.weights", "layers.0.attention.top_weights", "layers.0.attention.sink"]
    every, some = program_of("gpt_oss", names), program_of("gpt_oss", names)
    some.keep_rows("last", names[0])
    some.keep_rows([2, 41], names[1])
    sequences = [[program.new_sequence(99) for _ in range(2)] for program in (every, some)]
    for start, stop in ((0, 5), (5, 6), (6, 40), (40, 43)):
        for program, (one, other) in zip((every, some), sequences, strict=True):
            program.step([(one, IDS[start:stop]), (other, IDS[100 + start : 100 + stop])], "last")
        positions = np.tile(np.arange(start, stop), 2)
        for name, kept in zip(names, (positions == stop - 1, np.isin(positions, (2, 41)), positions >= 0), strict=True):
            np.testing.assert_array_equal(some.seen(name), every.seen(name)[kept])
            np.testing.assert_array_equal(some.seen_positions(name), positions[kept])


def test_a_step_that_would_keep_too_much_is_refused_with_both_numbers_and_changes_nothing():
    name = "layers.0.attention.weights"
    program = program_of("llama", [name])
    sequence = program.new_sequence(999)
    program.seen_limit = 10**6
    with pytest.raises(ValueError, match=rf"takes \d+ bytes \({name} alone, 600 rows, \d+\), expected at most") as told:
        program.step([(sequence, IDS)], "last")
    assert "1000000" in str(told.value)
    assert sequence.length == 0
    program.keep_rows("last")
    program.step([(sequence, IDS)], "last")
    assert len(program.seen(name)) == 1


def test_what_was_seen_stays_as_it_was_when_the_next_step_comes():
    names = ["layers.0.attention.top", "layers.0.attention.top_weights"]
    program = program_of("llama", names)
    sequence = program.new_sequence(99)
    program.step([(sequence, IDS[:9])], "last")
    program.step([(sequence, IDS[9:10])], "last")
    seen = [program.seen(name) for name in names]
    before = [each.copy() for each in seen]
    program.step([(sequence, IDS[10:11])], "last")
    for now, then in zip(seen, before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert not np.array_equal(program.seen(names[1]), before[1])


def test_a_step_that_was_refused_leaves_nothing_to_see():
    names = ["layers.0.out", "layers.0.attention.weights"]
    program = program_of("llama", names)
    sequence = program.new_sequence(99)
    program.step([(sequence, IDS[:9])], "last")
    with pytest.raises(ValueError, match="token id 64000"):
        program.step([(sequence, np.asarray([1, 64000], np.int32))], "last")
    assert [len(program.seen(name)) for name in names] == [0, 0]
    program.step([(sequence, IDS[9:10])], "last")
    assert [len(program.seen(name)) for name in names] == [1, 1]


def test_wrong_names_and_words_are_refused():
    program = program_of("llama", ["layers.0.out"])
    with pytest.raises(
        LookupError, match=r"keep_rows: layers\.9\.out is not watched; watched are \['layers\.0\.out'\]"
    ):
        program.keep_rows("last", "layers.9.out")
    with pytest.raises(ValueError, match="keep_rows: rows is 'first', expected all, last, or positions"):
        program.keep_rows("first")
    with pytest.raises(LookupError, match=r"layers\.0\.attention\.sink \(near it: layers\.0\.attention\."):
        program_of("llama", ["layers.0.attention.sink"])
    with pytest.raises(LookupError, match=r"layers\.0\.attention\.weights.* of layers 0 to \d+ mixer\.B"):
        program_of("mamba", ["layers.0.attention.weights"])
