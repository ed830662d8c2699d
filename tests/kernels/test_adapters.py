"""Adapters of sequences in native programs: what they add, and that they change nothing else by a single bit."""

from dataclasses import replace

import numpy as np
import pytest
from tests.models.conftest import golden_called

from ouvert import arithmetic, kernels, models, packed
from ouvert.arithmetic import LowRank, as_mxint8
from ouvert.kernels.adapters import narrowest
from ouvert.weights import open_checkpoint

FAMILIES = [family.name for family in models.FAMILIES if not family.name.startswith("mamba")]
SETS = [name for name in ("plain", "avx2", "avx512") if name in ("plain", kernels.instruction_set()) or name == "avx2"]
IDS = np.array([n % 61 for n in range(90)], np.int32)
OTHERS = np.array([n * 7 % 61 for n in range(40)], np.int32)


def placed(family, places):
    with open_checkpoint(golden_called(family).folder / "model.safetensors") as checkpoint:
        return models.load(checkpoint, places)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def pairs_of(model, seed, rank=3, only=None):
    """Additions to every weight that may carry one, about as large as what they are added to."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, weight in model.adaptable.items():
        experts = tuple(e for e in range(weight.experts) if (e + seed) % 3) if holds_experts(name, model) else None
        many = () if experts is None else (len(experts),)
        a = rng.standard_normal((*many, rank, weight.columns)) / np.sqrt(weight.columns)
        b = rng.standard_normal((*many, weight.rows, rank)) / (8 * rank)
        if only is None or name in only:
            found[name] = LowRank(np.float32(a), np.float32(b), 1.5, experts)
    return found


def holds_experts(name, model):
    """Whether a weight is that of all experts of its layer."""
    parts = name.split(".")
    experts = getattr(model.parameters.layers[int(parts[1])], "experts", None)
    return experts is not None and getattr(experts, parts[-1], None) is model.adaptable[name]


def stepped(program, adapters, ids=IDS, beside=(), cuts=(), wanted="all"):
    """All rows of `ids` with these adapters, beside others' tokens in the same step, or cut into several."""
    mine = program.new_sequence(len(ids))
    mine.adapters = adapters
    work = [(mine, ids)]
    for other, theirs in beside:
        sequence = program.new_sequence(len(other))
        sequence.adapters = theirs
        work.insert(0, (sequence, other))
    if cuts:
        return np.concatenate([program.step([(mine, piece)], wanted) for piece in np.split(ids, cuts)])
    return program.step(work, ["all"] * len(work))[-len(ids) :]


class OneProduct:
    """Ids become rows of a table, and these are multiplied: by a weight alone, or with a residual."""

    memories = ()

    def __init__(self, table, weight, form):
        self.table, self.weight, self.form = table, weight, form
        self.adaptable = {"weight": weight}

    def forward(self, batch, ops, tap=None):
        x = ops.select(ops.embed(batch.ids, self.table), batch.wanted)
        y = tap("product", ops.linear(x, self.weight))
        return ops.add(y, x) if self.form == "residual" else ops.rms_norm(y, np.ones(self.weight.rows, np.float32), 0)


def f32(values):
    rows, columns = values.shape
    return kernels.Packed(
        "F32", rows, columns, kernels.pack("F32", values.reshape(-1).view(np.uint8), rows, columns)[0]
    )


@pytest.mark.parametrize("rank", [1, 2, 15, 16, 17, 64])
@pytest.mark.parametrize("columns", [1, 5, 31, 32, 33, 576, 1024, 1025, 2100])
@pytest.mark.parametrize("instruction_set", SETS)
def test_an_addition_is_what_float64_makes_of_it(rank, columns, instruction_set):
    """A float32 sum of n products, four at a time, is off by at most n / 4 + 3 roundings of the sum of magnitudes."""
    rng = np.random.default_rng(rank * columns)
    table, weight = (rng.standard_normal((n, columns)).astype(np.float32) for n in (70, 33))
    a = rng.standard_normal((rank, columns)).astype(np.float32)
    b = rng.standard_normal((33, rank)).astype(np.float32)
    model = OneProduct(f32(table), f32(weight), "norm")
    programs = kernels.Programs(model, threads=2, instruction_set=instruction_set)
    program = programs.sibling(watch=["product"], adapted=["weight"])
    stepped(program, (kernels.Adapters({"weight": LowRank(a, b, 0.5)}),), np.arange(70, dtype=np.int32))

    def product(x, weight, a, b):
        return x @ weight.T + 0.5 * (x @ a.T) @ b.T

    given = [each.astype(np.float64) for each in (table, weight, a, b)]
    roundings = (columns / 4 + 3) + columns / 1024 + (rank / 4 + 3) + 3
    tolerance = roundings * 2**-24 * product(*map(np.abs, given))
    expected = product(*given)
    assert (np.abs(program.seen("product") - expected) <= tolerance).all()
    given[-1][:, -1] = 0  # one of the ranks left out would be noticed
    assert (np.abs(product(*given) - expected) > tolerance).any()


def test_a_product_with_its_residual_rounds_as_the_two_do():
    rng = np.random.default_rng(1)
    table, weight = (rng.standard_normal((n, 33)).astype(np.float32) for n in (70, 33))
    adapter = kernels.Adapters({"weight": LowRank(np.float32(rng.random((5, 33))), np.float32(rng.random((33, 5))), 2)})
    programs = kernels.Programs(OneProduct(f32(table), f32(weight), "residual"), threads=2)
    ids = np.arange(70, dtype=np.int32)
    fused = stepped(programs.sibling(adapted=["weight"]), (adapter,), ids)
    watching = programs.sibling(watch=["product"], adapted=["weight"])
    np.testing.assert_array_equal(stepped(watching, (adapter,), ids), fused)
    np.testing.assert_array_equal(fused, watching.seen("product") + table)


def test_a_whole_model_computes_what_its_merged_weights_would(family):
    """Both keep float32 throughout; sums come in another order, as in test_taps.py."""
    expected, found = merged_and_adapted(family)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("mistake", ["scale forgotten", "b of the wrong rows", "b untransposed", "neighbour's adapter"])
def test_a_planted_mistake_is_noticed(family, mistake):
    expected, found = merged_and_adapted(family, mistake)
    assert np.abs(found - expected).max() > 0.05


def one_merged(weight, pair):
    return (weight + pair.scale * (pair.b.astype(np.float64) @ pair.a)).astype(np.float32)


def merged_and_adapted(family, mistake=None):
    """The rows of NumPy with additions merged into float32 weights, and those of an adapted program."""
    model, ops = placed(family, packed.InMemory()), arithmetic.Ops()
    pairs = pairs_of(model, 1)

    def merged(name, weight):
        pair = pairs[name]
        if pair.experts is None:
            return one_merged(weight, pair)
        each = (pair.of_expert(e) for e in range(len(weight)))
        return [weight[e] if one is None else one_merged(weight[e], one) for e, one in enumerate(each)]

    readable = models.carrying(placed(family, ops), merged)
    batch = ops.begin([(ops.new_cache(readable.memories), IDS)], "all")
    if mistake == "scale forgotten":
        pairs = {name: replace(pair, scale=1.0) for name, pair in pairs.items()}
    elif mistake == "b of the wrong rows":
        pairs = {name: replace(pair, b=np.roll(pair.b, 1, axis=-2)) for name, pair in pairs.items()}
    elif mistake == "b untransposed":  # the same numbers, read as if columns came first
        pairs = {
            name: replace(pair, b=pair.b.swapaxes(-1, -2).reshape(pair.b.shape).copy()) for name, pair in pairs.items()
        }
    elif mistake == "neighbour's adapter":
        pairs = pairs_of(model, 2)
    programs = kernels.Programs(model, threads=2, exact=True, cache="f32")
    found = stepped(programs.sibling(adapted=model.adaptable), (kernels.Adapters(pairs),))
    return readable.forward(batch, ops), found


@pytest.mark.parametrize("instruction_set", SETS)
def test_whoever_has_no_adapter_keeps_every_bit_beside_those_who_do(family, instruction_set):
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2, instruction_set=instruction_set)
    one, two = (kernels.Adapters(pairs_of(model, seed)) for seed in (1, 2))
    roomy = programs.sibling(adapted=model.adaptable)
    clean = stepped(programs.plain, ())
    np.testing.assert_array_equal(stepped(roomy, ()), clean)
    np.testing.assert_array_equal(stepped(roomy, (), beside=[(OTHERS, (one,)), (IDS[:3], (two, one))]), clean)
    assert not np.array_equal(stepped(roomy, (one,)), clean)


def test_an_adapted_answer_has_the_same_bits_however_its_steps_are_shared_and_cut(family):
    model = placed(family, packed.InMemory())
    names = sorted(model.adaptable)
    one, two = kernels.Adapters(pairs_of(model, 1)), kernels.Adapters(pairs_of(model, 2, rank=17, only=names[::2]))
    for mine in ((one,), (one, two), (two, one)):
        found = []
        for instruction_set in SETS:
            for threads in (1, 2, 3):
                programs = kernels.Programs(model, threads=threads, instruction_set=instruction_set)
                roomy = programs.sibling(adapted=names)
                found.append(stepped(roomy, mine))
                found.append(stepped(roomy, mine, beside=[(OTHERS, (two,)), (IDS, ()), (IDS, (one,))]))
                found.append(stepped(roomy, mine, cuts=[1, 19, 20, 21, 64, 70, 89]))
        for rows in found:
            np.testing.assert_array_equal(rows, found[0])
        last = np.concatenate([stepped(roomy, mine, IDS[: n + 1], wanted="last", cuts=[n])[-1:] for n in (1, 63, 89)])
        np.testing.assert_array_equal(last, found[0][[1, 63, 89]])


def test_the_order_of_several_adapters_is_that_of_the_sequence_and_each_of_them_adds(family):
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2, exact=True, cache="f32")
    roomy = programs.sibling(adapted=model.adaptable)
    pairs, others = pairs_of(model, 1), pairs_of(model, 4)  # of the same experts
    both = {
        name: replace(
            pairs[name],
            a=np.concatenate([pairs[name].a, others[name].a], -2),
            b=np.concatenate([pairs[name].b, others[name].b], -1),
        )
        for name in pairs
    }
    one, two = kernels.Adapters(pairs), kernels.Adapters(others)
    expected = stepped(roomy, (kernels.Adapters(both),))
    np.testing.assert_allclose(stepped(roomy, (one, two)), expected, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(stepped(roomy, (two, one)), expected, rtol=2e-3, atol=2e-4)


def test_what_is_watched_is_adapted_and_watching_changes_no_bit(family):
    model = placed(family, packed.InMemory())
    programs = kernels.Programs(model, threads=2)
    named = models.shown_by(model.family.name, model.config)
    names = [name for name, value in named if value.cost in ("memory", "split")]
    adapter = kernels.Adapters(pairs_of(model, 1))
    expected = stepped(programs.sibling(adapted=model.adaptable), (adapter,))
    watching = programs.sibling(watch=names, adapted=model.adaptable)
    np.testing.assert_array_equal(stepped(watching, (adapter,)), expected)
    seen = watching.seen("layers.0.attention.q").copy()
    stepped(watching, ())
    assert not np.array_equal(watching.seen("layers.0.attention.q"), seen)


def test_a_handle_can_take_another_s_place_between_steps(family):
    model = placed(family, packed.InMemory())
    roomy = kernels.Programs(model, threads=2).sibling(adapted=model.adaptable)
    expected = stepped(roomy, (kernels.Adapters(pairs_of(model, 2)),), IDS[:40])
    sequence = roomy.new_sequence(90)
    for seed in (0, 1, 2):
        sequence.truncate(0)
        sequence.adapters = (kernels.Adapters(pairs_of(model, seed)),)
        rows = roomy.step([(sequence, IDS[:40])], "all")
    np.testing.assert_array_equal(rows, expected)
    sequence.truncate(0)
    sequence.adapters = ()
    np.testing.assert_array_equal(roomy.step([(sequence, IDS[:40])], "all"), stepped(roomy, (), IDS[:40]))


def test_more_tokens_than_a_step_takes(family):
    model = placed(family, packed.InMemory())
    roomy = kernels.Programs(model, threads=2).sibling(adapted=model.adaptable)
    adapter = kernels.Adapters(pairs_of(model, 1))
    ids = np.resize(IDS, 700)
    np.testing.assert_array_equal(stepped(roomy, (adapter,), ids), stepped(roomy, (adapter,), ids, cuts=[300]))


@pytest.mark.parametrize("bits", [8, 16])
def test_numbers_take_as_few_bits_as_hold_them_and_add_the_same(family, bits):
    model = placed(family, packed.InMemory())
    roomy = kernels.Programs(model, threads=2).sibling(adapted=model.adaptable)
    found = []
    assert narrowest(as_mxint8(np.random.default_rng(0).random((16, 64), np.float32))) == "MXINT8"
    for mask, layout in ((0xFFFF0000, "BF16"), (0xFFFFE000, "F16"), (0xFFFFFFFF, "F32")):
        sample = (np.random.default_rng(0).random((16, 64), np.float32).view(np.uint32) & np.uint32(mask)).view(
            np.float32
        )
        assert narrowest(sample) == layout
    pairs = {
        name: replace(
            pair,
            a=as_mxint8(pair.a) if bits == 8 else (pair.a.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
            b=as_mxint8(pair.b) if bits == 8 else (pair.b.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
        )
        for name, pair in pairs_of(model, 1).items()
    }
    adapters = kernels.Adapters(pairs)
    found = stepped(roomy, (adapters,))
    original = kernels.adapters.narrowest
    kernels.adapters.narrowest = lambda numbers: "F32"
    try:
        wide = kernels.Adapters(pairs)
        assert adapters.nbytes < wide.nbytes
        np.testing.assert_array_equal(stepped(roomy, (wide,)), found)
    finally:
        kernels.adapters.narrowest = original


def test_what_does_not_fit_is_refused_by_name():
    model = placed("llama", packed.InMemory())
    programs = kernels.Programs(model, threads=1)
    pairs = pairs_of(model, 1)
    some = programs.sibling(adapted=["layers.0.q"])
    assert programs.sibling(adapted=["layers.0.q"]) is some
    with pytest.raises(ValueError, match=r"layers\.0\.k: this program has no room"):
        stepped(some, (kernels.Adapters({"layers.0.k": pairs["layers.0.k"]}),))
    with pytest.raises(ValueError, match=r"layers\.0\.q: this program has no room"):
        stepped(programs.plain, (kernels.Adapters({"layers.0.q": pairs["layers.0.q"]}),))
    with pytest.raises(ValueError, match=r"layers\.0\.q: the addition is .*expected"):
        stepped(some, (kernels.Adapters({"layers.0.q": pairs["layers.0.down"]}),))
    with pytest.raises(kernels.TracingError, match=r"layers\.0\.router"):
        programs.sibling(adapted=["layers.0.router"])
    experts = placed("mixtral", packed.InMemory())
    roomy = kernels.Programs(experts, threads=1).sibling(adapted=experts.adaptable)
    pair = pairs_of(experts, 1)["layers.0.gate"]
    for wrong in (replace(pair, experts=(*pair.experts[:-1], 99)), pair.of_expert(pair.experts[0])):
        with pytest.raises(ValueError, match=r"layers\.0\.gate: the addition is .*expected"):
            stepped(roomy, (kernels.Adapters({"layers.0.gate": wrong}),))
    with pytest.raises(ValueError, match="float64"):
        kernels.Adapters({"layers.0.q": LowRank(np.zeros((1, 4)), np.zeros((4, 1)), 1.0)})
