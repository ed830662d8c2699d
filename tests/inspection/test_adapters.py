"""What is seen of a model with adapters is what computes: cut between layers, computed exactly, divided among heads."""

from dataclasses import replace

import numpy as np
import pytest

from ouvert import inspection, kernels
from ouvert.arithmetic import LowRank
from ouvert.inspection.layer_programs import LayerPrograms
from ouvert.inspection.microscope import Adapted
from ouvert.inspection.rerun import Rerun
from ouvert.inspection.subject import adapted_weights, adapters_within, pairs_of

from .conftest import IDS

FAMILIES = ["llama", "qwen3", "gpt_oss", "mixtral-window", "deepseek_v3"]


def additions(model, seed, size=0.1):
    """An adapter of rank 2 on every weight that may carry one; of experts, on the first two."""
    random = np.random.default_rng(seed)
    pairs = {}
    for name, weight in model.adaptable.items():
        experts = (0, 1) if weight.experts > 1 else None
        shape = () if experts is None else (2,)
        a = random.standard_normal((*shape, 2, weight.columns)).astype(np.float32) * size
        b = random.standard_normal((*shape, weight.rows, 2)).astype(np.float32) * size
        pairs[name] = LowRank(a, b, 1.5, experts)
    return pairs


@pytest.fixture
def adapted():
    """adapted(subject) -> the same with two adapters, the second at half its scale, as an engine would compute it."""

    def made(subject):
        pairs = (additions(subject.model, 1), pairs_of(additions(subject.model, 2), 0.5))
        changed = replace(subject, adapters=pairs)

        def watch(names):
            tracer = kernels.Tracer(exact=subject.exact, cache=subject.cache_type)
            weights = adapted_weights(changed)
            program = kernels.build(tracer, subject.model, threads=1, watch=names, adapted=weights)
            return Adapted(program, adapters_within(changed))

        return replace(changed, watch=watch)

    return made


@pytest.mark.parametrize("case", FAMILIES)
def test_layer_after_layer_gives_the_bits_of_the_whole_with_its_adapters(case, subject_called, adapted, served_logits):
    bare = subject_called(case)
    subject = adapted(bare)
    programs = LayerPrograms(subject)
    run = Rerun(programs, IDS)
    rows = run.values["embedding"][None]
    for n in range(run.layers):
        rows = run.through(n, 0, rows)
        np.testing.assert_array_equal(rows[0], run.values[f"layers.{n}.out"])
    np.testing.assert_array_equal(programs.logits(rows[0]), run.logits)
    assert not np.array_equal(run.logits, served_logits(bare))
    run.close()
    programs.close()


def test_an_adapter_that_is_left_out_of_the_layers_is_noticed(subject_called, adapted):
    subject = adapted(subject_called("llama"))
    programs = LayerPrograms(replace(subject, adapters=subject.adapters[:1]))
    run = Rerun(programs, IDS)
    made = run.through(0, 0, run.values["embedding"][None])
    assert not np.array_equal(made[0], run.values["layers.0.out"])


def test_computed_exactly_it_has_its_adapters_too(subject_called, adapted, trace):
    served, exact = adapted(subject_called("llama")), adapted(subject_called("llama", exact=True))
    computed = trace(inspection.exact(served), record="logits")["logits"]
    np.testing.assert_array_equal(computed, trace(exact, record="logits")["logits"])
    bare = trace(inspection.exact(subject_called("llama")), record="logits")["logits"]
    assert not np.array_equal(computed, bare)


def test_heads_add_up_to_what_attention_adds_through_the_adapted_matrix(subject_called, adapted, trace):
    """Where the addition to the output matrix is left out, the same tolerance notices it."""
    subject = adapted(subject_called("llama", exact=True))
    found = trace(subject).attribution(17, 9, heads=True)
    np.testing.assert_allclose(found.head_rest, 0, atol=1e-5 * np.abs(found.values).sum())
    assert found.sum == pytest.approx(found.logit, abs=2e-5 * np.abs(found.values).sum())
    forgotten = trace(replace(subject, adapters=())).attribution(17, 9, heads=True)
    assert np.abs(forgotten.head_rest).max() > 1e-3 * np.abs(found.values).sum()
