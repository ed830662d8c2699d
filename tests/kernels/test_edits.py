"""Edits of sequences in native programs: what they change, and that they change nothing else by a single bit.

What an edit does to a row is held to `arithmetic.changed` in tests/operations and, in a whole model, to NumPy here and
to transformers with hooks in tests/references/models.
"""

import numpy as np
import ouvert.kernels._native as _native
import pytest
from tests.models.conftest import golden_called

from ouvert import arithmetic, kernels, models, packed
from ouvert.models import Edit, EditError, changes_of
from ouvert.weights import open_checkpoint

FAMILIES = sorted(family.name for family in models.FAMILIES)
SETS = [name for name in ("plain", "avx2", "avx512") if name in ("plain", kernels.instruction_set()) or name == "avx2"]
IDS = np.array([n % 61 for n in range(90)], np.int32)
OTHERS = np.array([n * 7 % 61 for n in range(40)], np.int32)


def placed(family, places):
    with open_checkpoint(golden_called(family).folder / "model.safetensors") as checkpoint:
        return models.load(checkpoint, places)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def editable(model):
    """Names and widths of all values that may be edited."""
    return {
        name: int(np.prod(value.shape(model.config)))
        for name, value in models.shown_by(model.family.name, model.config)
        if value.editable and not value.integers
    }


def some_edit(operation, name, width, **settings):
    values = np.random.default_rng(width).standard_normal(width).astype(np.float32)
    count = {"zero": 0, "scale": 1}.get(operation, width)
    return Edit(operation=operation, tap=name, values=tuple(map(float, values[:count])), **settings)


def stepped(programs, edits, ids=IDS, beside=(), cuts=()):
    """All rows of `ids` with these edits (or None), in a program with the places of all who share the steps."""
    places = frozenset().union(*(each.places for each in (edits, *(e for _, e in beside)) if each is not None))
    program = programs.sibling(places=places)
    mine = program.new_sequence(len(ids))
    mine.edits = edits
    work = [(mine, ids)]
    for other, theirs in beside:
        sequence = program.new_sequence(len(other))
        sequence.edits = theirs
        work.insert(0, (sequence, other))
    if cuts:
        return np.concatenate([program.step([(mine, piece)], "all") for piece in np.split(ids, cuts)])
    return program.step(work, ["all"] * len(work))[-len(ids) :]


@pytest.mark.parametrize("instruction_set", SETS)
def test_whoever_has_no_edits_keeps_every_bit_beside_those_who_do(family, instruction_set):
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2, instruction_set=instruction_set)
    names = editable(model)
    everywhere = kernels.Edits(changes_of([some_edit("scale", name, 1) for name in names], model))
    assert everywhere.places == names.keys()
    clean = stepped(programs, None)
    np.testing.assert_array_equal(stepped(programs, None, beside=[(OTHERS, everywhere), (IDS[:3], None)]), clean)
    assert not np.array_equal(stepped(programs, everywhere), clean)


def test_an_edited_answer_has_the_same_bits_however_its_steps_are_shared_and_cut(family):
    model = placed(family, packed.InMemory())
    names = editable(model)
    edits = [
        some_edit(operation, name, width, start=20, stop=70, strength=0.5)
        for n, (name, width) in enumerate(names.items())
        for operation in [models.OPERATIONS[n % len(models.OPERATIONS)]]
    ]
    found = []
    for instruction_set in SETS:
        programs = kernels.Programs(model, threads=2, instruction_set=instruction_set)
        mine = kernels.Edits(changes_of(edits, model))
        other = kernels.Edits(changes_of(edits[:2], model))
        found.append(stepped(programs, mine))
        found.append(stepped(programs, mine, beside=[(OTHERS, other), (IDS, None)]))
        found.append(stepped(programs, mine, cuts=[1, 19, 20, 21, 64, 70, 89]))
    for rows in found:
        np.testing.assert_array_equal(rows, found[0])


@pytest.mark.parametrize("operation", models.OPERATIONS)
def test_an_edit_of_strength_0_changes_no_bit(family, operation):
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2)
    edits = [some_edit(operation, name, width, strength=0.0) for name, width in editable(model).items()]
    assert changes_of(edits, model) == {}
    np.testing.assert_array_equal(stepped(programs, kernels.Edits(changes_of(edits, model))), stepped(programs, None))


@pytest.mark.parametrize("operation", models.OPERATIONS)
def test_every_edit_of_every_value_is_what_numpy_makes_of_it(family, operation):
    """Both keep float32 throughout; sums come in another order, as in test_taps.py."""
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=1, exact=True, cache="f32")
    ops = arithmetic.Ops()
    readable = placed(family, ops)
    clean = stepped(programs, None, OTHERS)
    for name, width in editable(model).items():
        changes = changes_of([some_edit(operation, name, width, start=5, stop=30, strength=0.75)], model)
        batch = ops.begin([(ops.new_cache(readable.memories), OTHERS)], "all")
        tap = arithmetic.ChangingTap([changes] * len(OTHERS), batch.positions, batch.wanted)
        expected = readable.forward(batch, ops, tap)
        seen = stepped(programs, kernels.Edits(changes), OTHERS)
        np.testing.assert_allclose(seen, expected, rtol=2e-3, atol=2e-4, err_msg=name)
        np.testing.assert_array_equal(seen[:5], clean[:5])
        assert not np.array_equal(seen[5:], clean[5:]), name


def test_a_whole_layer_of_recorded_values_gives_the_recorded_logits(family):
    """Patching all tokens of a layer: whatever came before it, the rest is that of the run that was recorded. And a
    run's own values put back change no bit. States and caches of the layers before it are of the run itself."""
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2)
    last = f"layers.{len(model.memories) - 1}.out"
    for name in ("embedding", last):
        watching = programs.sibling(watch=[name])
        clean = watching.step([(watching.new_sequence(len(OTHERS)), OTHERS)], "all")
        kept = tuple(map(float, watching.seen(name).ravel()))
        put = Edit(operation="replace", tap=name, values=kept, start=0, stop=len(OTHERS))
        edits = kernels.Edits(changes_of([put], model))
        corrupted = OTHERS[::-1].copy()
        np.testing.assert_array_equal(stepped(programs, edits, corrupted), clean)
        np.testing.assert_array_equal(stepped(programs, edits, OTHERS), clean)
        assert not np.array_equal(stepped(programs, None, corrupted), clean)


def test_silencing_no_head_and_no_expert_changes_nothing_and_all_of_them_is_zero():
    model = placed("gpt_oss", packed.InMemory())
    programs = kernels.Programs(model, threads=2)
    sizes = model.config.sizes()
    same = [
        Edit(operation="scale", tap="layers.*.attention.mixed", values=(1.0,), heads=(0,)),
        Edit(operation="scale", tap="layers.*.experts.each", values=(1.0,), experts=(0,)),
    ]
    np.testing.assert_array_equal(stepped(programs, kernels.Edits(changes_of(same, model))), stepped(programs, None))
    watching = programs.sibling(
        watch=["layers.0.attention.mixed", "layers.0.experts.weights", "layers.0.experts.out"],
        places=["layers.0.attention.mixed", "layers.0.experts.weights"],
    )
    sequence = watching.new_sequence(len(IDS))
    heads, experts = tuple(range(sizes["q_heads"])), tuple(range(sizes["experts"]))
    silent = [
        Edit(operation="zero", tap="layers.0.attention.mixed", heads=heads),
        Edit(operation="zero", tap="layers.0.experts.each", experts=experts),
    ]
    sequence.edits = kernels.Edits(changes_of(silent, model))
    watching.step([(sequence, IDS)], "none")
    for name in ("layers.0.attention.mixed", "layers.0.experts.weights", "layers.0.experts.out"):
        assert not watching.seen(name).any()


def test_only_the_named_heads_and_experts_are_silenced():
    model = placed("gpt_oss", packed.InMemory())
    programs = kernels.Programs(model, threads=2)
    sizes = model.config.sizes()
    names = ["layers.0.attention.mixed", "layers.0.experts.chosen", "layers.0.experts.weights"]
    places = [names[0], names[2]]

    def seen(edits):
        program = programs.sibling(watch=names, places=places)
        sequence = program.new_sequence(len(IDS))
        sequence.edits = kernels.Edits(changes_of(edits, model))
        program.step([(sequence, IDS)], "none")
        return [program.seen(name) for name in names]

    mixed, chosen, weights = seen([Edit(operation="zero", tap=names[0], heads=(1,))])
    clean, _, _ = seen([])
    each = sizes["queries"] // sizes["q_heads"]
    assert not mixed[:, each : 2 * each].any()
    clean[:, each : 2 * each] = 0
    np.testing.assert_array_equal(mixed, clean)
    _, before, full = seen([])
    _, chosen, weights = seen([Edit(operation="zero", tap="layers.0.experts.each", experts=(int(before[0, 0]),))])
    np.testing.assert_array_equal(chosen, before)
    silenced = chosen == before[0, 0]
    assert silenced.any()
    assert not weights[silenced].any()
    np.testing.assert_array_equal(weights[~silenced], full[~silenced])


def test_a_layer_is_silenced_by_what_it_adds(family):
    """With `layers.0.*.out` zero, what leaves layer 0 is what entered it."""
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=1)
    edits = kernels.Edits(changes_of([Edit(operation="zero", tap="layers.0.*.out")], model))
    program = programs.sibling(watch=["embedding", "layers.0.out"], places=edits.places)
    sequence = program.new_sequence(len(IDS))
    sequence.edits = edits
    program.step([(sequence, IDS)], "none")
    np.testing.assert_array_equal(program.seen("layers.0.out"), program.seen("embedding"))


def test_a_watched_value_is_seen_as_it_is_after_its_edits():
    model = placed("llama", packed.InMemory())
    programs = kernels.Programs(model, threads=1)
    edits = kernels.Edits(changes_of([Edit(operation="zero", tap="layers.0.out", start=2, stop=4)], model))
    program = programs.sibling(watch=["layers.0.out"], places=edits.places)
    sequence = program.new_sequence(9)
    sequence.edits = edits
    program.step([(sequence, IDS[:6])], "none")
    seen = program.seen("layers.0.out")
    assert [bool(row.any()) for row in seen] == [True, True, False, False, True, True]


def test_a_program_without_the_place_refuses_the_sequence():
    model = placed("llama", packed.InMemory())
    programs = kernels.Programs(model, threads=1)
    sequence = programs.plain.new_sequence(9)
    sequence.edits = kernels.Edits(changes_of([Edit(operation="zero", tap="layers.0.out")], model))
    with pytest.raises(ValueError, match=r"edits of \['layers.0.out'\], and this program has places for \[\]"):
        programs.plain.step([(sequence, IDS[:3])], "last")
    sequence.edits = None
    programs.plain.step([(sequence, IDS[:3])], "last")


def test_a_sibling_with_more_places_is_used_again():
    model = placed("llama", packed.InMemory())
    programs = kernels.Programs(model, threads=1)
    both = programs.sibling(places=["layers.0.out", "layers.1.out"])
    assert programs.sibling(places=["layers.1.out"]) is both


WRONG = {
    "layers.0.outs": ({"tap": "layers.0.outs"}, r"no such value. Near it are .*layers.0.out"),
    "layers.99.out": ({"tap": "layers.99.out"}, r"gpt_oss with 2 layers has no such value"),
    "logits": ({"tap": "logits"}, "may only be looked at"),
    "whole numbers": ({"tap": "layers.0.experts.chosen"}, "whole numbers, and may only be looked at"),
    "heads": ({"tap": "layers.0.out", "heads": (0,)}, "this value has none"),
    "many heads": ({"tap": "layers.0.attention.mixed", "heads": (99,)}, r"heads \[99\], expected 0 to"),
    "experts elsewhere": ({"tap": "layers.0.out", "experts": (0,)}, "it has no experts"),
    "many experts": ({"tap": "layers.0.experts.each", "experts": (99,)}, r"experts \[99\], expected 0 to"),
    "adding to experts": (
        {"tap": "layers.0.experts.each", "operation": "add", "values": (1.0,)},
        "add, expected scale or zero",
    ),
    "few numbers": (
        {"tap": "layers.0.out", "operation": "add", "values": (1.0,)},
        r"1 values, expected \d+ for all tokens",
    ),
    "many rows": (
        {"tap": "layers.0.experts.scores", "operation": "add", "values": (1.0,) * 10, "stop": 3},
        r"10 values, expected 5 for all tokens of the edit, or as many for each of them \(3 tokens\)",
    ),
    "rows without an end": (
        {"tap": "layers.0.experts.scores", "operation": "add", "values": (1.0,) * 10},
        "give it a stop",
    ),
    "no direction": (
        {"tap": "layers.0.experts.scores", "operation": "project_out", "values": (0.0,) * 5},
        "a direction of zeros",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_model_cannot_do_is_refused_by_name(wrong):
    settings, said = WRONG[wrong]
    with pytest.raises(EditError, match=said):
        changes_of([Edit(**{"operation": "zero"} | settings)], placed("gpt_oss", packed.InMemory()))


def test_every_instruction_set_here_was_tried():
    assert set(SETS) >= {"plain", _native.best_instruction_set()}
