"""Merged models in the programs that they are for: transformers and llama.cpp compute what we do with the adapter."""

import numpy as np
import pytest

from ouvert.packed import open_model
from ouvert.packed.adapters import plan_merge, write_gguf_adapter, write_merge

FOLDERS = ["llama", "qwen2", "qwen3", "mixtral", "qwen3_moe", "gpt_oss", "gpt_oss-mxfp4", "deepseek_v3"]
GGUF = ["llama", "qwen2", "qwen3", "mixtral", "qwen3_moe-normalised"]
# Rounding of weights, as logits show it, behind the middle one of the tokens: a router may choose otherwise by a hair.
ROUNDED = {"bf16": 0.02, "f16": 0.003, "q8_0": 0.05}


def distance(ours, theirs):
    return np.median(np.abs(ours - theirs).max(1)) / np.abs(theirs).max()


@pytest.mark.parametrize("case", FOLDERS)
@pytest.mark.parametrize("encoding", ["bf16", "f16"])
def test_transformers_computes_from_a_merged_folder_what_we_do(
    case, encoding, open_tiny, make_adapter, ours, theirs, transformers_model, tmp_path
):
    files = open_tiny(case)
    adapter = make_adapter(files)
    write_merge(plan_merge(files, adapter, encoding), tmp_path / "merged", {})
    found = theirs(transformers_model(tmp_path / "merged"))
    assert distance(ours(files, adapter), found) < ROUNDED[encoding]
    assert distance(ours(files, None), found) > 0.3


@pytest.mark.parametrize("case", GGUF)
@pytest.mark.parametrize("encoding", ["bf16", "f16", "q8_0"])
def test_llama_cpp_computes_from_a_merged_file_what_we_do(
    case, encoding, goldens, make_adapter, ours, llama_cpp, ids, tmp_path
):
    with open_model(goldens / case / "model.gguf") as files:
        adapter = make_adapter(files)
        write_merge(plan_merge(files, adapter, encoding), tmp_path / "merged.gguf", {"ouvert.adapter": "tickets"})
        with llama_cpp(tmp_path / "merged.gguf", context=64) as theirs:
            found = theirs.logits(ids)
        assert distance(ours(files, adapter), found) < ROUNDED[encoding]
        assert distance(ours(files, None), found) > 0.3


def test_smollm2_merged_answers_in_llama_cpp_as_here(smollm2, make_adapter, llama_cpp, tmp_path):
    """Real weights, in Q4_1. An adapter about as large as trained ones are: a few thousandths of the weights."""
    with open_model(smollm2) as files:
        adapter = make_adapter(files, ranks=(8,), scales=(0.02,))
        write_merge(plan_merge(files, adapter, "q8_0"), tmp_path / "merged.gguf", {})
        ids = np.arange(40) * 97 % 40_000
        with llama_cpp(tmp_path / "merged.gguf") as merged, llama_cpp(smollm2) as base:
            found, before = merged.logits(ids), base.logits(ids)
            assert distance(before, found) > 0.01
            write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
            base.adapt(tmp_path / "adapter.gguf")
            assert distance(base.logits(ids), found) < 0.03
