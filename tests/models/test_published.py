"""The table of published configurations: which are read, which are refused, and why. published.json says the sources.

tests/references/models/test_published.py shrinks the same ones and compares them with transformers.
"""

import json
import tomllib
from pathlib import Path

import pytest

import ouvert.store
from ouvert import models
from ouvert.models import CheckpointError
from ouvert.weights import open_checkpoint

TABLE = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
BY_NAME = {row["name"]: row for row in TABLE["models"]}
KINDS = {kind for family in models.FAMILIES for kind in family.model_types}
BUILT = [name for name, row in BY_NAME.items() if row["config"]["model_type"] in KINDS]


def read(config):
    [family] = [each for each in models.FAMILIES if config["model_type"] in each.model_types]
    return family.config_from_hf(config, "config.json")


def test_every_alias_is_in_the_table_or_it_is_said_why_not():
    path = Path(ouvert.store.__file__).with_name("aliases.toml")
    aliases = {row["name"] for row in tomllib.loads(path.read_text(encoding="utf-8"))["alias"]}
    in_table = [alias for row in TABLE["models"] for alias in row.get("aliases", [])]
    assert sorted([*in_table, *TABLE["not_read"]]) == sorted(aliases)


def test_every_configuration_has_an_address_it_was_read_from():
    rows = [*TABLE["models"], *TABLE["refused"]]
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row["source"].startswith("https://"), row["name"]


def test_the_families_that_are_not_built_are_those_that_we_do_not_know():
    stated = {row["config"]["model_type"] for row in TABLE["models"]}
    assert sorted(stated - KINDS) == TABLE["not_built"]


@pytest.mark.parametrize("name", BUILT)
def test_a_published_configuration_is_read_as_it_is(name):
    stated = BY_NAME[name]["config"]
    config = read(stated)
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "tie_word_embeddings"):
        if key in stated and hasattr(config, key):
            assert getattr(config, key) == stated[key]


@pytest.mark.parametrize("row", TABLE["refused"], ids=lambda row: row["name"])
def test_what_is_refused_is_refused_by_name_and_for_a_reason(row, golden_of):
    folder = golden_of("llama").folder
    assert row["why"]
    with open_checkpoint(folder) as checkpoint, pytest.raises(CheckpointError, match=row["says"]):
        models.recognise(checkpoint, row["config"])


def test_qwens_million_tokens_are_one_chunk_here():
    row = BY_NAME["Qwen/Qwen2.5-7B-Instruct-1M"]["config"]
    assert read(row).max_position_embeddings == 262144
    short = row["dual_chunk_attention_config"] | {"chunk_size": 1000, "local_size": 100}
    assert read(row | {"dual_chunk_attention_config": short}).max_position_embeddings == 1000
    for broken, said in (
        (short | {"local_size": 1000}, "local_size is not smaller than chunk_size"),
        (short | {"window": 7}, r"unknown keys \['window'\]"),
    ):
        with pytest.raises(CheckpointError, match=said):
            read(row | {"dual_chunk_attention_config": broken})


def test_up_to_a_chunk_the_positions_of_dual_chunk_attention_are_the_plain_ones():
    """The distance at which a query sees a key, as An et al. (arXiv:2402.17463, equations 3 to 8) count it."""
    chunk, local = 12, 4
    span = chunk - local

    def distance(query, key):
        if query // span == key // span:
            return query % span - key % span
        if query // span == key // span + 1:
            return min(query % span + span, chunk) - key % span
        return chunk - key % span

    plain = {(query, key) for query in range(40) for key in range(query + 1) if distance(query, key) == query - key}
    assert all((query, key) in plain for query in range(chunk) for key in range(query + 1))
    assert (chunk + 1, 0) not in plain


def test_vectors_of_yarn_grow_by_what_attn_factor_multiplies():
    row = BY_NAME["deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"]["config"]
    assert read(row).rope.scaling.attention_factor == pytest.approx(1, abs=1e-9)
    stated = row["rope_scaling"] | {"attention_factor": 1.0}
    with pytest.raises(CheckpointError, match="expected one of them"):
        read(row | {"rope_scaling": stated})


def test_dynamic_stretching_changes_nothing_as_far_as_the_model_may_look():
    plain = BY_NAME["Qwen/Qwen2.5-0.5B"]["config"]
    stretched = plain | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    assert read(stretched) == read(plain)
    with pytest.raises(CheckpointError, match="factor is missing"):
        read(plain | {"rope_scaling": {"type": "dynamic"}})
    longer = {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 4096}
    with pytest.raises(CheckpointError, match="original_max_position_embeddings is 4096, and we compute it only as"):
        read(plain | {"rope_scaling": longer})


def test_falcon3s_second_word_for_its_gate_is_understood():
    row = BY_NAME["meta-llama/Llama-3.1-8B-Instruct"]["config"]
    assert read(row | {"activation": "swiglu"}) == read(row)
    with pytest.raises(CheckpointError, match="activation is 'gelu', and we compute it only as 'swiglu'"):
        read(row | {"activation": "gelu"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weight_block_size": [64, 64]}, r"weight_block_size is \[64, 64\]"),
        ({"weight_block_size": None}, "weight_block_size is missing"),
        ({"fmt": "e5m2"}, "fmt is 'e5m2'"),
        ({"scale_fmt": "linear"}, "scale_fmt is 'linear'"),
        ({"rotation": True}, r"unknown keys \['rotation'\]"),
    ],
)
def test_fp8_in_another_form_than_blocks_is_refused_by_the_key(changed, said):
    row = BY_NAME["Qwen/Qwen3-8B-FP8"]["config"]
    with pytest.raises(CheckpointError, match=said):
        read(row | {"quantization_config": row["quantization_config"] | changed})
