"""Packed files are derived, and so they are checked: damage, wherever it is, is found, said, and made good."""

import dataclasses
import hashlib
import json
import os
import shutil
import threading

import numpy as np
import pytest

from ouvert.assistant import open_installed
from ouvert.engine import EngineFailedError, PackedFile, PageFiles, Sampling, open_engine
from ouvert.engine.interface import WeightsDamagedError
from ouvert.packed import PackedWeights, damage_in, kept, reading
from ouvert.store import Store
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, sha256_of

PROMPT = list(range(40, 80))


@pytest.fixture
def model(speaking_model, tmp_path):
    """A checkpoint of this test's own."""
    folder = tmp_path / "model"
    shutil.copytree(speaking_model({"\n": "again", "again": "again"}), folder)
    return folder


@pytest.fixture
def said():
    return []


@pytest.fixture
def file(model, tmp_path, said):
    (tmp_path / "packed").mkdir()
    return PackedFile(
        place=lambda name: tmp_path / "packed" / f"{name}.safetensors",
        source_digest=sha256_of(model / "model.safetensors"),
        say=said.append,
    )


@pytest.fixture
def opened(model, file):
    """opened() -> the model, its weights from the packed file. Engines are closed at the end."""
    engines = []

    def opened(**settings):
        made = open_engine(model, threads=1, packed=file, weights_digest=file.source_digest, **settings)
        engines.append(made.engine)
        return made

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture
def path(opened, tmp_path):
    """The packed file, written."""
    opened().engine.close()
    [path] = (tmp_path / "packed").iterdir()
    return path


@pytest.fixture
def in_the_background(monkeypatch):
    """However small, files are checked while they answer; `go` lets the check begin."""
    go = threading.Event()
    check = reading.check_of_pieces

    def waiting(mapped, pieces):
        def begin(ended):
            while not go.wait(0.01) and not ended():
                pass
            return check(mapped, pieces)(ended)

        return begin

    monkeypatch.setattr(kept, "CHECKED_AT_ONCE", -1)
    monkeypatch.setattr(reading, "check_of_pieces", waiting)
    yield go
    go.set()


def answer(engine, tokens=4, prompt=PROMPT):
    generation = engine.generate(prompt, Sampling(temperature=0, max_tokens=tokens, logprobs=2))
    return list(generation)


def flip(path, place, size=1):
    with open(path, "r+b") as file:
        file.seek(place)
        before = file.read(size)
        file.seek(place)
        file.write(bytes(byte ^ 0x55 for byte in before))


def disturb(path):
    """Other weights that still give numbers: the lowest bytes of a thousand floats."""
    middle = path.stat().st_size // 128 * 64
    for place in range(middle, middle + 4096, 4):
        flip(path, place)


def header_bytes(path):
    with open(path, "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def test_a_packed_file_knows_its_pieces_and_its_digest(opened, path):
    found = PackedWeights(path)
    data = path.read_bytes()
    assert found.pieces
    assert all(hashlib.sha256(data[each.start : each.stop]).digest() == each.digest for each in found.pieces)
    covered = sum(each.stop - each.start for each in found.pieces)
    assert covered == sum(found.checkpoint.tensors[name].data.nbytes for name in found.placements)
    table = b"".join(each.digest for each in found.pieces)
    engine = opened().engine
    assert engine.facts.packed_digest == f"sha256:{hashlib.sha256(table).hexdigest()}"
    assert engine.facts.weights_checked


def test_two_makings_are_told_apart_and_have_the_same_digest(opened, path):
    first, content = PackedWeights(path), path.read_bytes()
    path.unlink()
    opened()
    second = PackedWeights(path)
    assert path.read_bytes() != content
    assert (first.digest, first.made == second.made) == (second.digest, False)


@pytest.mark.parametrize("seed", range(12))
def test_one_wrong_byte_anywhere_is_found_before_it_computes(opened, path, said, seed):
    engine = opened().engine
    right = answer(engine)
    engine.close()
    said.clear()
    flip(path, int(np.random.default_rng(seed).integers(0, path.stat().st_size)))
    assert damage_in(path) is not None
    engine = opened().engine
    assert any(each.startswith("Packed weights are made again.") for each in said)
    assert answer(engine) == right
    assert engine.facts.weights_checked
    assert damage_in(path) is None


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 200, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_made_again(opened, path, said, kept):
    size = path.stat().st_size
    os.truncate(path, int(kept * size) if isinstance(kept, float) else kept)
    said.clear()
    opened()
    assert [each[:31] for each in said] == ["Packed weights are made again. "]
    assert path.stat().st_size == size


def test_a_file_of_another_recipe_under_this_name_is_made_again(opened, path, said, tmp_path):
    content = path.read_bytes()
    other = tmp_path / "other"
    with SafetensorsWriter(other, {"a": ("U8", (1,))}, {"format": "ouvert packed rows16-2"}) as writer:
        writer.write("a", b"x")
    os.replace(other, path)
    said.clear()
    opened()
    assert "format is 'ouvert packed rows16-2', expected" in said[0]
    assert len(path.read_bytes()) == len(content)


def test_what_an_older_version_packed_is_removed_with_a_word(opened, path, said):
    older = path.with_name("rows16-2.safetensors")
    older.write_bytes(b"as it was")
    opened().engine.close()
    assert older.exists()  # nothing was packed
    path.unlink()
    opened()
    assert not older.exists()
    assert any(str(older) in each and "packed by another version" in each for each in said)


def test_a_configuration_that_packs_nothing_else_keeps_its_file(opened, path, model, tmp_path):
    stated = (model / "config.json").read_text()
    (model / "config.json").write_text(stated.replace('"rope_theta": 10000.0', '"rope_theta": 9.0'))
    assert opened().engine.facts.packed_digest == PackedWeights(path).digest
    assert list((tmp_path / "packed").iterdir()) == [path]  # the same bytes compute


def test_the_same_weights_with_tied_and_with_other_embeddings_both_run(model, file):
    weights = model / "model.safetensors"
    with open_checkpoint(weights) as checkpoint:
        values = {name: tensor.decode() for name, tensor in checkpoint.tensors.items()}
    values["lm_head.weight"] = values["model.embed_tokens.weight"]
    with SafetensorsWriter(weights, {name: ("F32", value.shape) for name, value in values.items()}) as writer:
        for name, value in values.items():
            writer.write(name, value)
    file = dataclasses.replace(file, source_digest=sha256_of(weights))
    stated = json.loads((model / "config.json").read_text())
    answers, digests = [], []
    for tied in (True, False, True):
        (model / "config.json").write_text(json.dumps(stated | {"tie_word_embeddings": tied}))
        engine = open_engine(model, packed=file, weights_digest=file.source_digest).engine
        answers.append(answer(engine))
        digests.append(engine.facts.packed_digest)
        engine.close()
    assert answers[0] == answers[1] == answers[2]
    assert digests[0] == digests[2] != digests[1]


def test_a_source_that_is_not_what_its_digest_says_is_not_packed(opened, model, tmp_path):
    flip(model / "model.safetensors", (model / "model.safetensors").stat().st_size - 9)
    with pytest.raises(CheckpointError, match=r"packing .*: its digest is sha256:.*, expected sha256:.*fetch"):
        opened()
    assert list((tmp_path / "packed").iterdir()) == []


def test_until_they_are_checked_receipts_say_so(opened, path, in_the_background):
    engine = opened().engine
    answer(engine)
    assert not engine.facts.weights_checked
    in_the_background.set()
    assert engine.check_weights() is None
    assert engine.facts.weights_checked


def test_damage_ends_the_answers_in_flight_and_the_file_is_made_again(opened, path, in_the_background):
    whole = PackedWeights(path).digest
    disturb(path)
    engine = opened().engine
    generation = engine.generate(PROMPT, Sampling(temperature=0))
    tokens = iter(generation)
    next(tokens)
    assert not engine.facts.weights_checked
    in_the_background.set()
    with pytest.raises(WeightsDamagedError, match=r"is not what was written.*That file was removed.*ask again"):
        list(tokens)
    assert not engine.facts.weights_checked
    assert engine.failure is not None
    with pytest.raises(EngineFailedError):
        engine.generate(PROMPT, Sampling())
    assert not path.exists()
    again = opened().engine
    assert again.check_weights() is None
    assert (again.facts.packed_digest, again.facts.weights_checked) == (whole, True)


def test_damage_is_known_before_anybody_asks_for_an_answer(opened, path, in_the_background):
    flip(path, path.stat().st_size // 2)
    engine = opened().engine
    in_the_background.set()
    assert "damaged" in engine.check_weights()
    assert "damaged" in engine.failure
    with pytest.raises(WeightsDamagedError):
        engine.generate(PROMPT, Sampling())


def test_a_file_that_another_process_made_again_is_not_removed(opened, path, in_the_background, tmp_path):
    whole = path.read_bytes()
    flip(path, path.stat().st_size // 2)
    engine = opened().engine
    (tmp_path / "again").write_bytes(whole)
    os.replace(tmp_path / "again", path)
    in_the_background.set()
    assert engine.check_weights() is not None
    assert path.read_bytes() == whole


def test_what_changes_after_the_check_is_checked_again_and_no_longer_called_checked(opened, path):
    engine = opened().engine
    assert engine.facts.weights_checked
    os.utime(path, ns=(5, 5))
    assert not engine.facts.weights_checked
    answer(engine)
    flip(path, path.stat().st_size // 2, 64)
    os.utime(path, ns=(5, 5))  # however the times are set back
    assert not engine.facts.weights_checked
    assert "damaged" in engine.check_weights()
    with pytest.raises(EngineFailedError, match="damaged"):
        engine.generate(PROMPT, Sampling())
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 4096, 0.5, 0.99])
def test_a_file_that_is_cut_shorter_while_it_answers_is_an_error(opened, path, size):
    engine = opened().engine
    tokens = iter(engine.generate(PROMPT, Sampling(temperature=0)))
    next(tokens)
    os.truncate(path, int(size * path.stat().st_size) if isinstance(size, float) else size)
    with pytest.raises(WeightsDamagedError, match=r"has \d+ bytes now, expected \d+"):
        list(tokens)
    assert not engine.facts.weights_checked
    assert opened().engine.facts.weights_checked


def test_a_cut_between_the_look_at_the_size_and_the_reading_is_an_error_too(opened, path, monkeypatch):
    engine = opened().engine
    # No look at the file ever shows it, not even one that has begun: only who reads beyond the end finds out.
    monkeypatch.setattr("ouvert.weights.MappedFile.state_now", lambda mapped: mapped.state)
    answer(engine)
    os.truncate(path, header_bytes(path))
    with pytest.raises(WeightsDamagedError, match="was cut shorter"):
        answer(engine)


def test_what_damaged_weights_left_is_never_used_with_whole_ones(opened, path, in_the_background, tmp_path):
    """Their kept prefixes have the right names but for the making of the file."""
    prompt = np.random.default_rng(0).integers(40, 80, 300).tolist()
    files = PageFiles(tmp_path / "pages", quota=1 << 30)

    def answered():
        engine = opened(prefixes=files).engine
        generation = engine.generate(prompt, Sampling(temperature=0, max_tokens=4))
        list(generation)
        return engine, generation.stopped.reused_tokens

    disturb(path)
    for least in (0, 250):
        engine, reused = answered()
        assert reused >= least  # they are kept, and used as long as nobody knows better
        if least == 0:
            engine.close()
    in_the_background.set()
    assert engine.check_weights() is not None
    engine.close()
    assert answered()[1] == 0


def test_where_numpy_computes_the_source_is_what_is_checked(model, file, monkeypatch):
    monkeypatch.setattr("ouvert.kernels.available", lambda: False)
    for digest, right in ((file.source_digest, True), ("sha256:" + "0" * 64, False)):
        engine = open_engine(model, packed=file, weights_digest=digest).engine
        assert (engine.check_weights() is None) == right
        assert engine.facts.weights_checked == right
        assert engine.facts.packed_digest is None
        assert (model / "model.safetensors").exists()
        engine.close()


def test_the_store_says_that_it_packs_again(model, tmp_path):
    class Told:
        def __init__(self):
            self.said = []

        def say(self, text):
            self.said.append(text)

        def begin(self, *_): ...
        def advance(self, *_): ...
        def end(self): ...
        def require_wanted(self): ...

    store, told = Store(tmp_path / "home"), Told()
    open_installed(store, store.resolve(str(model)), progress=told).engine.close()
    assert told.said == []
    [path] = store.packed_files.folder.glob("*/*.safetensors")
    flip(path, path.stat().st_size - 200)
    open_installed(store, store.resolve(str(model)), progress=told).engine.close()
    assert [each[:30] for each in told.said] == ["Packed weights are made again."]
