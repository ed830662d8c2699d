"""What a model will take once it is here, told before it is fetched."""

import pytest

from ouvert.assistant import packed_bytes_foreseen, sizes_of
from ouvert.store import find_alias


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5-coder:1.5b", "qwen3:0.6b"])
@pytest.mark.parametrize("precision", [None, "8"])
def test_of_a_short_name_the_tables_know_it(name, precision):
    sizes = sizes_of(find_alias(name), precision)
    assert packed_bytes_foreseen(precision)(name, {}) == sizes.store - sizes.fetch > 0


@pytest.mark.parametrize(
    ("file", "precision", "expected"),
    [
        ("model.safetensors", None, 281_250),
        ("model.safetensors", "4", 281_250),
        ("model.safetensors", "8", 531_250),
        ("model.safetensors", "16", 1_000_000),
        ("model.safetensors", "stored", 1_000_000),
        ("Model-1B-BF16.gguf", None, 281_250),
        ("model-f16-00001-of-00002.gguf", "8", 531_250),
        ("model-Q4_K_M.gguf", None, 1_000_000),
        ("model-Q8_0.gguf", "8", 1_000_000),
        ("f16ish.gguf", None, 1_000_000),
    ],
)
def test_of_other_models_names_and_sizes_tell_it(file, precision, expected):
    assert packed_bytes_foreseen(precision)("org/model", {file: 1_000_000}) == expected
