"""Whose adapter lies at a path, before its model is known."""

import numpy as np
import pytest

from ouvert.packed import AdapterError, adapter_at, write_gguf_adapter, write_peft
from ouvert.weights import CheckpointError


@pytest.fixture
def written(open_tiny, make_adapter, tmp_path):
    """(files, their adapter): as PEFT's folder `peft`, and as adapter.gguf."""
    files = open_tiny("llama")
    adapter = make_adapter(files, ranks=(3,))
    (tmp_path / "peft").mkdir()
    write_peft(adapter, tmp_path / "peft", files, "org/llama")
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    return files, adapter


@pytest.mark.parametrize("path", ["peft", "peft/adapter_config.json", "peft/adapter_model.safetensors", "adapter.gguf"])
def test_a_folder_its_files_and_a_gguf_file_are_adapters(path, written, tmp_path):
    files, adapter = written
    found = adapter_at(tmp_path / path)
    assert found.kind == ("gguf" if path.endswith("gguf") else "peft")
    assert found.base == (None if found.kind == "gguf" else "org/llama")
    assert all(each.is_file() for each in found.files)
    assert found.open(files).adapter.digest == adapter.digest


def test_what_is_no_adapter_is_refused(written, open_tiny, tmp_path):
    with pytest.raises(AdapterError, match=r"holds no adapter_config.json"):
        adapter_at(tmp_path)
    for file in ("model.gguf", "model.safetensors"):
        with pytest.raises(AdapterError, match=r"is none, expected the folder that peft writes"):
            adapter_at(open_tiny("llama").path / file)
    (tmp_path / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(AdapterError, match=r"is a pickle, which may run code"):
        adapter_at(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"there is nothing at .*, expected the folder that peft writes"):
        adapter_at(tmp_path / "nothing")


def test_gguf_has_one_layout_of_experts(written, tmp_path):
    files, _ = written
    with pytest.raises(AdapterError, match=r"GGUF has only one"):
        adapter_at(tmp_path / "adapter.gguf").open(files, "peft")


@pytest.mark.parametrize("file", ["peft/adapter_config.json", "peft/adapter_model.safetensors", "adapter.gguf"])
def test_damaged_bytes_are_an_error_of_ours_or_other_numbers(file, written, tmp_path):
    """Some bytes changed, the headers most of all: nothing else than our own errors comes of it."""
    files, _ = written
    whole, random, said = (tmp_path / file).read_bytes(), np.random.default_rng(3), []
    path = tmp_path / ("peft" if file.startswith("peft") else file)
    for trial in range(300):
        damaged = bytearray(whole)
        for at in random.integers(0, 600 if trial % 2 else min(len(whole), 6000), 3):
            damaged[int(at) % len(whole)] = int(random.integers(0, 256))
        (tmp_path / file).write_bytes(damaged)
        try:
            adapter_at(path).open(files)
        except CheckpointError as problem:
            said.append(str(problem))
    assert len(said) > 150
    assert all(each.endswith((".", "?")) for each in said)
