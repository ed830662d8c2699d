"""Recipes: every value has a default, an unknown key is refused by name with the nearest one, what is written is read
back."""

import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from ouvert.tuning import Recipe, TuningError, read_recipe, with_options
from ouvert.tuning.other_names import CALLED_HERE, NOT_HERE, SAID_OTHERWISE
from ouvert.tuning.recipe_values import RANGES, dotted

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "recipe.md"


def test_nothing_said_is_every_default():
    assert Recipe.of({}) == Recipe()


def test_what_is_said_is_taken_and_the_rest_is_usual():
    recipe = Recipe.of({"model": "smollm2", "adapter": {"rank": 8}, "optimise": {"rate": 1, "epochs": 2}})
    assert (recipe.model, recipe.adapter.rank, recipe.adapter.alpha) == ("smollm2", 8, 32.0)
    assert isinstance(recipe.optimise.epochs, float)
    assert recipe.data == Recipe().data


def test_a_whole_recipe_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "recipe.toml"
    said = {"model": 'a "b"\\ \x7f é', "method": "grpo", "reward": {"use": ["exact:answer", "./r.py:score"]}}
    recipe = Recipe.of(said)
    path.write_text(recipe.toml, encoding="utf-8")
    assert read_recipe(path) == recipe
    assert tomllib.loads(recipe.toml)["reward"]["use"] == ["exact:answer", "./r.py:score"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"optimise": {"rat": 1e-4}}, "optimise.rate"),
        ({"optimize": {}}, "optimise"),
        ({"rate": 1e-4}, "optimise.rate"),
        ({"seeds": 1}, "seed"),
        ({"adapter": {"lenght": 3}}, "data.length"),
        ({"learning_rate": 1e-4}, "optimise.rate"),
        ({"lora_r": 8}, "adapter.rank"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(said, meant):
    with pytest.raises(TuningError, match=rf"there is no key '.+Did you mean {re.escape(meant)}\?"):
        Recipe.of(said, "r.toml")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", -1, "expected a whole number from 0"),
        ("seed", True, "expected a whole number"),
        ("seed", 1.0, "expected a whole number"),
        ("method", "stf", 'Did you mean "sft"'),
        ("method", 3, '"sft" or "dpo"'),
        ("data", 3, "a section with train"),
        ("data.held_out", 0.6, "a number from 0 to 0.5 or a text"),
        ("data.pack", 1, "true or false"),
        ("data.pack", "yes", "true or false"),
        ("data.length", "1024", "a whole number"),
        ("data.too_long", "cut", '"cut at message"'),
        ("adapter.rank", 0, "from 1 to 1024"),
        ("adapter.experts", "busiest", '"busiest 0.25"'),
        ("adapter.experts", "busiest 1.5", '"busiest 0.25"'),
        ("optimise.rate", 0, "a number above 0, at most 1"),
        ("optimise.rate", "1e-4", "a number above 0"),
        ("optimise.clip", float("nan"), "from 0 on"),
        ("optimise.clip", float("inf"), "from 0 on"),
        ("reward.use", "stops", "a list of texts"),
        ("reward.use", [], "a list of texts, one at least"),
        ("data.date", "5 November", 'a day such as "2026-11-05"'),
        ("data.date", "2026-13-05", 'a day such as "2026-11-05"'),
        ("data.date", "2026-02-30", 'a day such as "2026-11-05"'),
        ("optimise.steps", 10**400, "a whole number from 0"),
        ("optimise.rate", 10**400, "a number above 0, at most 1"),
        ("optimise.clip", -(10**400), "from 0 on"),
        ("adapter.alpha", 1e308, "above 0"),
    ],
)
def test_a_value_of_another_kind_or_out_of_range_is_refused_by_name(key, value, sentence):
    section, _, inner = key.partition(".")
    with pytest.raises(TuningError) as refused:
        Recipe.of({section: {inner: value} if inner else value}, "r.toml")
    assert f"reading r.toml: {key} is " in str(refused.value)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("experts", ["all", "none", "busiest 0.25", "busiest .5", "busiest 1", "0 3 12"])
def test_experts_are_named_or_counted(experts):
    assert Recipe.of({"adapter": {"experts": experts}}).adapter.experts == experts


def test_what_the_method_does_nothing_with_is_refused():
    with pytest.raises(TuningError, match=r"preference\.beta has no effect on the method 'sft', only on dpo"):
        Recipe.of({"preference": {"beta": 0.2}})
    assert Recipe.of({"method": "dpo", "preference": {"beta": 0.2}}).preference.beta == 0.2
    assert Recipe.of(Recipe().mapping() | {"reward": asdict(Recipe().reward)}) == Recipe()


@pytest.mark.parametrize("method", ["dpo", "orpo", "grpo"])
def test_shipped_single_answers_are_mixed_into_single_answers_alone(method):
    with pytest.raises(
        TuningError, match=rf"safety\.mix is 0\.05, and has no effect on the method '{method}', only on"
    ):
        Recipe.of({"method": method, "safety": {"mix": 0.05}})
    assert Recipe.of({"method": method, "safety": {"mix": 0}}).safety.mix == 0
    assert with_options(Recipe(), {"method": method}).safety.mix == Recipe.of({"method": method}).safety.mix == 0
    assert with_options(Recipe.of({"method": method}), {"method": "kto"}).safety.mix == Recipe().safety.mix > 0
    assert with_options(Recipe.of({"safety": {"mix": 0.0}}), {"method": "kto"}).safety.mix == 0


def test_what_others_have_and_nothing_here_does_is_said_with_its_reason():
    with pytest.raises(TuningError, match=r"no key 'neftune_noise_alpha'.*Leave it out: the forward pass"):
        Recipe.of({"neftune_noise_alpha": 5})
    assert not NOT_HERE.keys() & CALLED_HERE.keys()


# Keys of recipes that people have: Axolotl's, LLaMA-Factory's, TRL's, mlx-lm's examples.
THEIRS = (
    "use_dora", "load_in_4bit", "load_in_8bit", "optim", "gradient_checkpointing", "bf16", "fp16", "deepspeed", "fsdp",
    "flash_attention", "lora_target_modules", "dataset_prepared_path", "output_dir", "logging_steps", "eval_steps",
    "save_steps", "wandb_project", "wandb_entity", "report_to", "chat_template", "bnb_4bit_quant_type", "fsdp_config",
    "warmup_steps", "gradient_accumulation_steps",
)  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_a_name_of_theirs_has_a_reason_or_a_place_and_is_no_section(name):
    with pytest.raises(TuningError) as refused:
        Recipe.of({name: 4}, "r.toml")
    assert re.search(r"Leave it out: \w.+|Did you mean \w+\.\w+\? \w.+", str(refused.value))
    sections = "|".join({each.partition(".")[0] for each in dotted(Recipe) if "." in each})
    assert not re.search(rf"Did you mean ({sections})\?", str(refused.value))


def test_a_value_is_never_answered_with_a_section():
    for name in ("optimize", "rewards", "adapters", "optimiser", "datas"):
        with pytest.raises(TuningError) as refused:
            Recipe.of({name: "adamw"})
        assert not re.search(r"Did you mean \w+\?", str(refused.value)), name


def test_a_share_is_said_where_theirs_is_a_count():
    with pytest.raises(TuningError, match=r"optimise\.warm_up\? It is a share of all steps: 10 steps of 200 are 0\.05"):
        Recipe.of({"warmup_steps": 10})
    assert SAID_OTHERWISE.keys() <= CALLED_HERE.keys()


def test_all_keys_that_there_are_not_are_said_at_once():
    with pytest.raises(TuningError) as refused:
        Recipe.of({"learning_rate": 1, "data": {"lenght": 3}, "optim": "adamw", "seed": -1}, "r.toml")
    said = str(refused.value).splitlines()
    assert said[0] == "reading r.toml: 3 keys that there are not:"
    assert [line.split("'")[1] for line in said[1:4]] == ["learning_rate", "data.lenght", "optim"]


def test_every_number_has_a_range_and_every_foreign_name_leads_somewhere():
    names = set(dotted(Recipe))
    values = Recipe().mapping()
    numbers = {
        name
        for name in names
        if isinstance(value := values[name] if "." not in name else values[name.split(".")[0]][name.split(".")[1]],
                      int | float) and not isinstance(value, bool)
    }  # fmt: skip
    assert numbers == set(RANGES)
    assert set(CALLED_HERE.values()) <= names
    assert not set(CALLED_HERE) & {name.rpartition(".")[2] for name in names}


def test_what_is_no_recipe_is_said_with_its_path(tmp_path):
    for text in ("rate = ", "\xff"):
        (path := tmp_path / "r.toml").write_bytes(text.encode("latin-1"))
        with pytest.raises(TuningError, match=r"reading the recipe .*r\.toml"):
            read_recipe(path)
    with pytest.raises(TuningError, match="No such file"):
        read_recipe(tmp_path / "none.toml")
    for text in ("a = " + 100_000 * "[", "seed = " + 5001 * "1", 200_000 * "# nothing\n"):
        path.write_text(text)
        with pytest.raises(TuningError, match=r"reading the recipe .*Expected a TOML file"):
            read_recipe(path)
    with pytest.raises(TuningError, match="a device stands where a file should"):
        read_recipe(Path("/dev/zero"))


def test_the_document_has_every_key_with_its_default():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(.+?)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    values = tomllib.loads(Recipe().toml)
    flat = {
        name: values[name] if "." not in name else values[name.split(".")[0]][name.split(".")[1]]
        for name in dotted(Recipe)
    }
    assert [name for name, _ in rows] == list(flat)
    for name, default in rows:
        assert tomllib.loads(f"x = {default}")["x"] == flat[name], name
