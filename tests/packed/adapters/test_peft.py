"""Adapters in PEFT's files: written and read again, and what is refused. What peft itself computes from them:
tests/references/adapters."""

import json

import pytest

from ouvert.models import counterparts
from ouvert.packed.adapters import AdapterError, read_peft, write_peft

DENSE = ["llama", "mistral", "qwen2", "qwen3"]


@pytest.mark.parametrize("case", DENSE)
def test_every_weight_that_may_carry_an_adapter_has_a_counterpart(case, open_tiny, adaptable_names):
    files = open_tiny(case)
    parts = [part.ours for each in counterparts(files.family, files.config, "transformers") for part in each.parts]
    assert set(parts) == adaptable_names(files)
    assert len(parts) == len(set(parts))


@pytest.mark.parametrize("case", DENSE)
def test_what_is_written_is_read_as_the_same_adapter(case, open_tiny, make_adapter, tmp_path):
    files = open_tiny(case)
    adapter = make_adapter(files, scales=(1.25, 0.7, 4.0))
    write_peft(adapter, tmp_path, files)
    assert read_peft(tmp_path, files).digest == adapter.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_another_models_adapter_is_refused_with_both_sizes(open_tiny, make_adapter, tmp_path):
    write_peft(make_adapter(open_tiny("llama")), tmp_path, open_tiny("llama"), base="somebody/llama")
    with pytest.raises(AdapterError, match=r"24 rows and 30 columns; this model's has 16 and 30.*somebody/llama"):
        read_peft(tmp_path, open_tiny("mistral"))


def test_dora_is_refused_with_what_to_do(open_tiny, make_adapter, tmp_path):
    files = open_tiny("llama")
    write_peft(make_adapter(files), tmp_path, files)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True}))
    with pytest.raises(AdapterError, match=r"use_dora is True: DoRA.*Merge it into its base"):
        read_peft(tmp_path, files)
