"""Programs of one model: they share weights, threads and caches, and a sequence is one of all of them."""

import numpy as np
import pytest
from tests.models.conftest import golden_called

from ouvert import kernels, models, packed
from ouvert.kernels.building import MOST_SIBLINGS
from ouvert.weights import open_checkpoint

FAMILIES = sorted(family.name for family in models.FAMILIES)
IDS = np.array([n % 61 for n in range(150)], np.int32)


def programs_of(family, **settings):
    with open_checkpoint(golden_called(family).folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    return model, kernels.Programs(model, threads=2, **settings)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def shown(model):
    """The names of the values that the graph has anyway."""
    named = models.shown_by(model.family.name, model.config)
    return [name for name, value in named if value.cost in ("memory", "split")]


def in_turns(programs, cuts):
    """All rows of IDS, cut at `cuts`, the n-th piece by the n-th of these programs in turn."""
    sequence = programs[0].new_sequence(len(IDS))
    pieces = np.split(IDS, cuts)
    rows = [programs[n % len(programs)].step([(sequence, piece)], "all") for n, piece in enumerate(pieces)]
    sequence.close()
    return np.concatenate(rows)


def test_a_sequence_may_be_stepped_by_any_of_them(family):
    model, programs = programs_of(family)
    names = shown(model)
    everything, some = programs.sibling(watch=names), programs.sibling(watch=names[::3])
    alone = in_turns([programs.plain], [])
    np.testing.assert_array_equal(in_turns([programs.plain, everything, some], [1, 40, 64, 65, 100, 149]), alone)


def test_what_a_sibling_keeps_is_what_a_program_of_its_own_would_keep(family):
    model, programs = programs_of(family)
    watching = programs.sibling(watch=["layers.0.out"])
    own = kernels.build(kernels.Tracer(), model, threads=1, watch=["layers.0.out"])
    sequence = programs.plain.new_sequence(len(IDS))
    programs.plain.step([(sequence, IDS[:50])], "none")
    watching.step([(sequence, IDS[50:])], "none")
    own.step([(own.new_sequence(len(IDS)), IDS)], "none")
    np.testing.assert_array_equal(watching.seen("layers.0.out"), own.seen("layers.0.out")[50:])


def test_pages_of_one_are_pages_of_all(family):
    _, programs = programs_of(family)
    watching = programs.sibling(watch=["layers.0.out"])
    first = watching.new_sequence(len(IDS))
    watching.step([(first, IDS[:128])], "none")
    resumed = programs.plain.resume([first.page(0), first.page(1)], 128, len(IDS))
    expected = in_turns([programs.plain], [128])[-1]
    np.testing.assert_array_equal(programs.plain.step([(resumed, IDS[128:])], "last")[0], expected)
    assert programs.plain.cache_bytes_in_use == watching.cache_bytes_in_use > 0


def test_threads_and_the_limit_of_caches_are_those_of_the_plain_one():
    _, programs = programs_of("llama", instruction_set="plain", cache="f32")
    watching = programs.sibling(watch=["layers.0.out"])
    assert (watching.threads, watching.instruction_set, watching.cache_type) == (2, "plain", "f32")
    programs.plain.cache_limit = 0
    with pytest.raises(MemoryError, match="limit of 0"):
        watching.step([(watching.new_sequence(9), IDS[:3])], "last")


def test_the_last_few_are_kept():
    model, programs = programs_of("llama")
    names = shown(model)[: MOST_SIBLINGS + 1]
    made = [programs.sibling(watch=[name]) for name in names]
    assert programs.sibling(watch=[names[-1]]) is made[-1]
    assert programs.sibling(watch=[names[0]]) is not made[0]  # it was made anew
    made[0].step([(made[0].new_sequence(9), IDS[:3])], "last")  # whoever holds it can go on using it
    assert programs.sibling() is programs.plain


def test_names_that_are_not_shown_are_refused():
    _, programs = programs_of("llama")
    with pytest.raises(LookupError, match=r"layers\.99\.out"):
        programs.sibling(watch=["layers.99.out"])


def test_none_is_made_once_they_are_closed():
    _, programs = programs_of("llama")
    programs.close()
    with pytest.raises(ValueError, match="closed"):
        programs.sibling(watch=["layers.0.out"])
