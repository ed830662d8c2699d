"""One identity: whatever changes the numbers of an answer changes it, and everything that is kept is kept by it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from ouvert import models
from ouvert.engine import PageFiles, Sampling, open_engine
from ouvert.engine.identity import NumericIdentity, configuration_digest
from ouvert.packed import described
from ouvert.packed.recipe import recipe_digest
from ouvert.weights import open_checkpoint

BASE = NumericIdentity(
    weights="sha256:1", configuration="sha256:2", layout="a", arithmetic="native", build="b", exact=False, cache="f16"
)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
CHANGES = {
    "rope_theta": 500.0,
    "rope_scaling": YARN,
    "rms_norm_eps": 0.1,
    "max_position_embeddings": 1024,
    "sliding_window": 64,
}


@pytest.fixture
def editable(speaking_model, tmp_path):
    """A checkpoint of this test's own, and edit(**changes) of its config.json."""
    folder = tmp_path / "model"
    shutil.copytree(speaking_model(), folder)
    path = folder / "config.json"
    stated = json.loads(path.read_text())

    def edit(**changes):
        path.write_text(json.dumps(stated | changes))

    return folder, edit


def identity_of(folder, **settings):
    opened = open_engine(folder, threads=1, **settings)
    try:
        return opened.engine.facts.identity
    finally:
        opened.engine.close()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(NumericIdentity)])
def test_every_field_changes_the_digest(field):
    value = getattr(BASE, field)
    other = dataclasses.replace(BASE, **{field: not value if isinstance(value, bool) else f"{value}x"})
    assert other.digest != BASE.digest
    assert dataclasses.replace(other, **{field: value}).digest == BASE.digest


@pytest.mark.parametrize("key", CHANGES)
def test_what_config_json_says_is_part_of_a_models_identity(editable, key):
    folder, edit = editable
    before = identity_of(folder)
    edit(**{key: CHANGES[key]})
    after = identity_of(folder)
    assert after.configuration != before.configuration
    assert after.weights == before.weights
    edit()
    assert identity_of(folder) == before


def test_a_note_in_config_json_is_no_part_of_it(editable):
    folder, edit = editable
    before = identity_of(folder)
    edit(transformers_version="9.9", torch_dtype="float32")
    assert identity_of(folder) == before


def test_settings_that_change_numbers_change_it_and_threads_do_not(speaking_model):
    before = identity_of(speaking_model())
    assert identity_of(speaking_model(), exact=True).digest != before.digest
    assert identity_of(speaking_model(), cache_type="q8").digest != before.digest
    opened = open_engine(speaking_model(), threads=2)
    assert opened.engine.facts.identity == before
    opened.engine.close()


def test_numpy_and_native_programs_are_told_apart(speaking_model, monkeypatch):
    native = identity_of(speaking_model(), exact=True, cache_type="f32")
    monkeypatch.setattr("ouvert.kernels.available", lambda: False)
    plain = identity_of(speaking_model())
    assert (plain.exact, plain.cache) == (native.exact, native.cache)
    assert plain.digest != native.digest
    assert np.__version__ in plain.arithmetic


def test_kept_prefixes_of_another_configuration_are_never_used(editable, tmp_path):
    folder, edit = editable
    files = PageFiles(tmp_path / "pages", quota=1 << 30)
    prompt = np.random.default_rng(0).integers(0, 256, 300).tolist()

    def answered(prefixes):
        opened = open_engine(folder, threads=1, prefixes=prefixes)
        generation = opened.engine.generate(prompt, Sampling(temperature=0, max_tokens=8, logprobs=2))
        tokens = list(generation)
        reused = generation.stopped.reused_tokens
        opened.engine.close()
        return tokens, reused

    first, reused = answered(files)
    assert reused == 0
    assert answered(files)[1] > 250
    edit(rope_theta=10.0)
    second, reused = answered(files)
    assert reused == 0
    assert second == answered(None)[0] != first
    edit()
    again, reused = answered(files)
    assert (again, reused > 250) == (first, True)


def test_the_recipe_of_a_packed_file_is_of_what_its_bytes_come_from(smollm2):
    with open_checkpoint(smollm2) as checkpoint:
        family, config = models.recognise(checkpoint)

        def recipe(layout="1", source="sha256:0", **changes):
            changed = dataclasses.replace(config, **changes)
            return recipe_digest(layout, source, family.parameters(changed, checkpoint))

        before = recipe()
        # The heads say how GGUF's rows are turned round: the same shapes, other bytes.
        assert recipe(num_attention_heads=3, num_key_value_heads=1, head_dim=192) != before
        assert recipe(layout="2") != before
        assert recipe(source="sha256:1") != before
        assert recipe(rms_norm_eps=0.1) == before  # changes answers, but nothing that is packed


def test_configurations_of_two_formats_or_families_are_never_the_same():
    assert configuration_digest("llama", "gguf", (1, 2.5)) != configuration_digest("llama", "safetensors", (1, 2.5))
    assert configuration_digest("llama", "gguf", (1, 2.5)) != configuration_digest("qwen2", "gguf", (1, 2.5))


def test_what_an_identity_does_not_know_is_refused():
    with pytest.raises(TypeError, match=r"object .* not a value that is known"):
        described({"a": object()})
