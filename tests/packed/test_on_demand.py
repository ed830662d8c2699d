"""Experts that stay in the packed file: the same bits as with all weights in memory, whatever the cache holds."""

import os
from pathlib import Path

import numpy as np
import pytest

from ouvert import kernels
from ouvert.arithmetic import LowRank
from ouvert.packed import PackedFile, open_model
from ouvert.weights import CheckpointError, sha256_of
from ouvert.weights.mapping import mapped_file

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
FAMILIES = ("deepseek_v3", "gpt_oss-mxfp4", "mixtral", "qwen3_moe-normalised")
NOTHING, SOME, ALL = 0, 3 * 24_576, 10**9  # bytes of experts kept; an expert of these models takes 24,576 with its room


@pytest.fixture(params=FAMILIES)
def model(request):
    return GOLDENS / request.param


@pytest.fixture
def placed(model, tmp_path):
    """placed(expert_bytes) -> the model, packed in this test's folder; closed at its end."""
    file = PackedFile(place=lambda name: tmp_path / name, source_digest=sha256_of(model / "model.safetensors"))
    made = []

    def placed(expert_bytes):
        with open_model(model) as files:
            made.append(files.place_packed(file, 1, expert_bytes=expert_bytes))
        return made[-1]

    yield placed
    for each in made:
        each.close()


def program_of(placed, threads=2, **settings):
    return kernels.build(kernels.Tracer(**settings), placed.model, threads=threads)


def computed(placed, threads=2, **settings):
    """Logits of two sequences: a prompt that meets every expert, single tokens, and both sequences in one step."""
    program, random = program_of(placed, threads, **settings), np.random.default_rng(0)

    def ids(count):
        return random.integers(0, 64, count).astype(np.int32)

    first, second = program.new_sequence(100), program.new_sequence(100)
    rows = [program.step([(first, ids(70))], "all")]
    rows += [program.step([(first, ids(1))], "last") for _ in range(5)]
    rows += [program.step([(first, ids(2)), (second, ids(9))], ["none", "all"])]
    program.close()
    return np.concatenate(rows).tobytes()


@pytest.mark.parametrize("settings", [{}, {"exact": True}])
def test_experts_on_disk_change_no_bit(placed, settings):
    expected = computed(placed(None), **settings)
    for expert_bytes in (NOTHING, SOME, ALL):
        for threads in (1, 3):
            assert computed(placed(expert_bytes), threads, **settings) == expected


def test_adapters_of_experts_on_disk_change_no_bit(placed):
    """Experts are computed in rounds, and what is added to them comes with each round."""

    def adapted(one, threads):
        names = one.model.adaptable
        programs = kernels.Programs(one.model, threads=threads)
        program, random = programs.sibling(adapted=names), np.random.default_rng(0)
        sequences = [program.new_sequence(100) for _ in range(3)]
        for seed, sequence in enumerate(sequences[:2]):
            sequence.adapters = (kernels.Adapters({name: addition(each, seed) for name, each in names.items()}),)
        work = [
            (sequence, random.integers(0, 64, count).astype(np.int32))
            for sequence, count in zip(sequences, (70, 1, 9), strict=True)
        ]
        rows = program.step(work, "all")
        clean = programs.plain.step([(programs.plain.new_sequence(100), work[-1][1])], "all")
        assert np.array_equal(clean, rows[-9:])
        assert not np.array_equal(
            programs.plain.step([(programs.plain.new_sequence(100), work[0][1])], "all"), rows[:70]
        )
        programs.close()
        return rows.tobytes()

    expected = adapted(placed(None), 2)
    for expert_bytes in (NOTHING, SOME, ALL):
        for threads in (1, 3):
            assert adapted(placed(expert_bytes), threads) == expected


def addition(weight, seed):
    """To a weight, or to some of the experts that it holds."""
    random = np.random.default_rng(seed)
    experts = tuple(e for e in range(weight.experts) if (e + seed) % 3) if weight.experts > 1 else None
    many = () if experts is None else (len(experts),)
    a, b = random.standard_normal((*many, 3, weight.columns)), random.standard_normal((*many, weight.rows, 3))
    return LowRank(np.float32(a), np.float32(b / 8), 0.5, experts)


def test_a_cache_that_holds_all_reads_each_expert_once(placed):
    one = placed(ALL)
    computed(one)
    met = one.experts.reads()
    assert met.lookups - met.hits <= one.experts.native.statistics[-1]
    computed(one)
    assert one.experts.reads().bytes - met.bytes == 0


def test_two_experts_are_kept_however_little_is_allowed_and_read_again_and_again(placed):
    one = placed(NOTHING)
    computed(one)
    slots, slot_bytes = one.experts.native.statistics[3:5]
    assert slots == 2
    assert one.experts.bytes_in_memory == 2 * slot_bytes
    reads = one.experts.reads()
    assert 0 <= reads.hits < reads.lookups / 2
    assert reads.bytes > 0


def test_only_experts_and_looked_up_embeddings_stay_in_the_file(placed, model):
    whole = placed(NOTHING).model.parameters
    with open_model(model) as files:
        tied = any(each.same_as == "embedding" for each in files.parameters)
    assert (mapped_file(whole.embedding.data) is None) == tied
    for layer in whole.layers:
        for name in layer.__dataclass_fields__:
            weight = getattr(layer, name)
            data = weight.data if isinstance(weight, kernels.Packed) else weight
            assert not isinstance(data, np.ndarray) or mapped_file(data) is None
    experts = [layer.experts for layer in whole.layers if getattr(layer, "experts", None) is not None]
    assert experts
    assert all(isinstance(each.down, kernels.StoredExperts) for each in experts)


def test_a_file_that_is_cut_shorter_while_it_is_read_is_damage(placed, tmp_path):
    one = placed(NOTHING)
    program = program_of(one)
    sequence = program.new_sequence(10)
    program.step([(sequence, np.arange(4, dtype=np.int32))], "last")
    assert one.watch.fault() is None
    [path] = tmp_path.iterdir()
    os.truncate(path, 4096)
    program.step([(sequence, np.arange(4, dtype=np.int32))], "last")
    assert one.experts.lost
    assert "bytes now" in one.watch.fault().what or "cut shorter" in one.watch.fault().what
    program.close()


def test_what_cannot_be_read_is_damage_even_if_the_file_looks_whole(placed, tmp_path, monkeypatch):
    one = placed(NOTHING)
    assert one.watch.fault() is None
    monkeypatch.setattr(kernels.ExpertCache, "lost", True)
    assert "could not be read" in one.watch.fault().what


def test_a_file_without_what_is_copied_is_refused(placed, tmp_path, monkeypatch):
    placed(NOTHING).close()

    def unreadable(self, offset, size):
        raise OSError("bytes cannot be read.")

    monkeypatch.setattr(kernels.ExpertCache, "read", unreadable)
    with pytest.raises(CheckpointError, match=r"cannot be read.*made again"):
        placed(NOTHING)


def test_the_check_spares_the_disk_and_comes_to_its_end(placed):
    one = placed(SOME)
    assert one.watch.wait() is None
    assert one.watch.checked()


def test_a_long_prompt_finds_what_the_one_before_it_left(placed):
    one = placed(NOTHING)
    computed(one)
    experts, room = one.experts.native.statistics[-1], one.experts.native.statistics[4]
    kept = 2 * experts // 3
    half = placed(kept * room)
    program, random = program_of(half), np.random.default_rng(1)
    hits = []
    for _ in range(3):
        sequence, before = program.new_sequence(100), half.experts.reads()
        program.step([(sequence, random.integers(0, 64, 90).astype(np.int32))], "last")
        hits.append((half.experts.reads() - before).hits)
    assert hits[0] == 0
    assert min(hits[1:]) >= kept / 2  # one that goes through all layers and keeps the latest finds almost none
    program.close()
