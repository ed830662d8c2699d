"""Adapters with numbers of 8 bits (MXINT8) in files that have no such numbers: 8 bits come back."""

from dataclasses import replace

import pytest

from ouvert.arithmetic import as_mxint8, is_mxint8
from ouvert.packed import Adapter
from ouvert.packed.adapters import read_gguf_adapter, read_peft, write_gguf_adapter, write_peft
from ouvert.weights import open_checkpoint


def in_eight_bits(adapter):
    return Adapter({
        name: replace(pair, a=as_mxint8(pair.a), b=as_mxint8(pair.b)) for name, pair in adapter.pairs.items()
    })  # fmt: skip


def takes_eight_bits(adapter):
    return all(is_mxint8(each) for pair in adapter.pairs.values() for each in (pair.a, pair.b))


@pytest.mark.parametrize("case", ["llama", "qwen3", "mixtral", "gpt_oss", "deepseek_v3"])
def test_peft_s_files_hold_them_in_16_bits_and_give_them_back(case, open_tiny, make_adapter, tmp_path):
    files = open_tiny(case)
    adapter = in_eight_bits(make_adapter(files))
    write_peft(adapter, tmp_path, files, base="somebody/tiny")
    with open_checkpoint(tmp_path / "adapter_model.safetensors") as checkpoint:
        assert {each.encoding for each in checkpoint.tensors.values()} == {"BF16"}
    found = read_peft(tmp_path, files)
    assert found.digest == adapter.digest
    assert takes_eight_bits(found)
    assert not takes_eight_bits(make_adapter(files))


@pytest.mark.parametrize("case", ["llama", "mixtral", "gpt_oss"])
def test_gguf_files_hold_them_and_give_them_back(case, open_tiny, make_adapter, tmp_path):
    files = open_tiny(case)
    adapter = in_eight_bits(make_adapter(files, ranks=(4, 2), scales=(0.5, 1.0)))
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    found = read_gguf_adapter(tmp_path / "adapter.gguf", files)
    assert found.digest == adapter.digest
    assert takes_eight_bits(found)
