"""From a path to a model's weights, configuration and language, without an engine."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ouvert
from ouvert import kernels, models
from ouvert.assistant import pack_installed
from ouvert.engine import open_engine
from ouvert.engine.fit import demand_of_files
from ouvert.engine.loading import describe_files
from ouvert.packed import InMemory, PackedFile, PackedWeights, open_model
from ouvert.store import Store
from ouvert.weights import CheckpointError, sha256_of

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"


@pytest.fixture
def file(smollm2, tmp_path):
    return PackedFile(place=lambda name: tmp_path / f"{name}.safetensors", source_digest=sha256_of(smollm2))


@pytest.fixture
def recognised(monkeypatch):
    """The paths of the checkpoints that were recognised, in order."""
    paths = []
    recognise = models.recognise

    def counted(checkpoint, *args):
        paths.append(checkpoint.path)
        return recognise(checkpoint, *args)

    monkeypatch.setattr(models, "recognise", counted)
    monkeypatch.setattr("ouvert.models.families.recognise", counted)
    return paths


def bytes_of(weight):
    return weight.data if isinstance(weight, kernels.Packed) else weight.reshape(-1).view(np.uint8)


@pytest.mark.parametrize("name", sorted(each.name for each in GOLDENS.iterdir()))
def test_weights_packed_into_memory_are_those_of_the_packed_file(name, tmp_path):
    """Every family: BF16, MXFP4 and FP8 blocks, experts, rows in another order, tied heads."""
    path = GOLDENS / name / "model.safetensors"
    file = PackedFile(place=lambda name: tmp_path / f"{name}.safetensors", source_digest=sha256_of(path))
    in_memory = InMemory(threads=2)
    with open_model(path) as files:
        files.place_packed(file, 1).close()
        [packed] = tmp_path.glob("*.safetensors")
        weights = PackedWeights(packed)
        for parameter in files.parameters:
            found, expected = in_memory.place(parameter), weights.place(parameter)
            assert type(found) is type(expected)
            np.testing.assert_array_equal(bytes_of(found), bytes_of(expected))
            if isinstance(found, kernels.Packed):
                assert (found.layout, found.rows, found.columns, found.experts) == (
                    (expected.layout, expected.rows, expected.columns, expected.experts)
                )


@pytest.mark.parametrize("how", ["from a packed file", "packed into memory", "in NumPy", "looked at", "packed only"])
def test_a_load_recognises_its_checkpoint_once(smollm2, file, recognised, monkeypatch, how):
    match how:
        case "looked at":
            describe_files(smollm2)
            demand_of_files(smollm2)
            assert len(recognised) == 2
            return
        case "packed only":
            store = Store(file.place("x").parent)
            pack_installed(store, store.resolve(str(smollm2)))
        case "in NumPy":
            monkeypatch.setattr(kernels, "available", lambda: False)
            open_engine(smollm2, threads=1).engine.close()
        case _:
            open_engine(smollm2, packed=file if how == "from a packed file" else None).engine.close()
    assert len(recognised) == 1


def test_a_model_loaded_with_too_large_a_context_is_recognised_once(smollm2, recognised, tmp_path):
    with ouvert.load(smollm2, store=Store(tmp_path / "store"), context=10**6, clip_context=True) as model:
        assert model.info.context == model.info.trained_context
    assert len(recognised) == 1


def test_weights_configuration_and_language_are_reached_without_engine_and_assistant(smollm2, tmp_path):
    program = """
import sys
from pathlib import Path
import numpy as np
from ouvert import kernels
from ouvert.chat import Conversation, Language, Message
from ouvert.packed import PackedFile, open_model
from ouvert.weights import sha256_of
path, folder = map(Path, sys.argv[1:])
file = PackedFile(place=lambda name: folder / f"{name}.safetensors", source_digest=sha256_of(path))
with open_model(path) as files:
    language = Language("smollm2", files.family.name, files.metadata, files.folder)
    placed = files.place_packed(file, threads=1)
program = kernels.build(kernels.Tracer(), placed.model, threads=1, watch=["layers.3.out"])
ids = np.array(language.tokenizer.encode("The capital of France is"), np.int32)
logits = program.step([(program.new_sequence(100), ids)], "last")
assert placed.watch.wait() is None
print(language.tokenizer.decode([int(logits.argmax())]), language.chat_format.name)
print(program.seen("layers.3.out").shape == (len(ids), placed.model.config.hidden_size))
print(placed.model.parameters.layers[0].q.layout)
placed.close()
print(sorted(name for name in sys.modules if name in ("ouvert.engine", "ouvert.assistant")))
"""
    found = subprocess.run(
        [sys.executable, "-c", program, str(smollm2), str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert found.stdout.splitlines() == [" Paris template", "True", "Q4_1", "[]"], found.stderr


def test_what_is_not_a_model_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_model(tmp_path)


def test_without_the_native_part_files_are_opened_looked_at_and_placed_in_numpy(smollm2):
    program = """
import sys
sys.modules["ouvert.kernels._native"] = None  # as if it had never been built
from pathlib import Path
from ouvert import kernels
from ouvert.arithmetic import Ops
from ouvert.packed import InMemory, open_model
assert not kernels.available()
with open_model(Path(sys.argv[1])) as files:
    placed = files.place(Ops())
    print(placed.model.family.name, placed.packed_digest, placed.watch.fault())
    placed.close()
    try:
        InMemory().place(files.parameters[0])
    except ImportError:
        print("packs nothing")
"""
    found = subprocess.run([sys.executable, "-c", program, str(smollm2)], check=False, capture_output=True, text=True)
    assert found.stdout.splitlines() == ["llama None None", "packs nothing"], found.stderr
