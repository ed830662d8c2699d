"""`ouvert adapter import` and `export`: what they say, what they leave, and that an adapter comes back as it went."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ouvert.cli.adapter_files import LAYOUTS, name_of, plain
from ouvert.packed import LAYOUTS as ALL_LAYOUTS
from ouvert.packed import Adapter, open_model, read_peft, write_gguf_adapter, write_peft
from ouvert.store import Store
from ouvert.weights import open_checkpoint

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def kept(tmp_path_factory, speaking_model, speaking_adapter):
    """A store with the model tiny and its adapter rude."""
    store = Store(tmp_path_factory.mktemp("files"))
    store.pull(str(speaking_model()), name="tiny")
    speaking_adapter(store, "rude")
    return store


@pytest.fixture
def ouvert(kept, tmp_path):
    """ouvert("adapter", "list") -> the finished process, run in tmp_path."""

    def ouvert(*words, status=0):
        ran = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "OUVERT_HOME": str(kept.home), "COLUMNS": "200"}, timeout=60, cwd=tmp_path,
        )  # fmt: skip
        assert ran.returncode == status, ran.stderr
        return ran

    yield ouvert
    for name in kept.adapters.names():
        if name != "rude":
            kept.adapters.remove(name, with_run=True)


@pytest.fixture
def files(kept):
    with open_model(kept.resolve("tiny").path) as files:
        yield files


@pytest.fixture
def rude(kept, files):
    return read_peft(kept.adapters.record("rude").path, files)


@pytest.mark.parametrize("to", ["peft", "gguf"])
def test_what_is_exported_is_imported_as_the_same_adapter(to, ouvert, kept, tmp_path):
    said = ouvert("adapter", "export", "rude", "--to", to).stdout
    path = "rude" if to == "peft" else "rude.gguf"
    assert said == f"{path}: 3 weights (gate ×1, up ×1, down ×1), rank 1, {3 * 64 + 3 * 288:,} numbers.\n"
    assert [each.name for each in tmp_path.iterdir()] == [path]
    again = json.loads(ouvert("adapter", "import", path, "--name", "again", "--model", "tiny", "--json").stdout)
    record = kept.adapters.record("rude")
    if to == "peft":  # llama.cpp has one scale for all, which b carries: the same sums, other numbers
        assert again["digest"] == record.digest
    assert again["state"] == "unchecked"
    assert again["source"]["imported"]["from"] == to
    assert again["base"] == record.base
    assert set(again["source"]["imported"]["files"]) == (
        {"adapter_config.json", "adapter_model.safetensors"} if to == "peft" else {"rude.gguf"}
    )
    assert "imported from" in (kept.adapters.record("again").path / "README.md").read_text()
    assert ouvert("run", "tiny+again", "hi").stdout == ouvert("run", "tiny+rude", "hi").stdout == " model.\n"


def test_an_import_says_what_it_brought_and_how_it_is_used(ouvert, rude, files, tmp_path):
    (tmp_path / "Very Rude").mkdir()
    write_peft(rude, tmp_path / "Very Rude", files, base="somebody/Tiny")
    path = tmp_path / "Very Rude" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_dropout": 0.05}))
    ran = ouvert("adapter", "import", "Very Rude")
    assert ran.stdout.endswith("For tiny; unchecked, not gated.\nTo use it: ouvert run tiny+very-rude\n")
    assert "For tiny: its files name somebody/Tiny." in ran.stderr
    assert "lora_dropout was 0.05 in training" in ran.stderr


def test_an_import_that_cannot_be_is_refused_before_anything_is_kept(ouvert, kept, rude, files, tmp_path):
    (tmp_path / "mine").mkdir()
    write_peft(rude, tmp_path / "mine", files)
    (tmp_path / "text.gguf").write_text("a letter")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "adapter_config.json").write_text("{}")
    for words, sentence in (
        (["mine", "--model", "tiny", "--name", "rude"], "there is an adapter 'rude' on this machine already"),
        (["mine", "--model", "tiny", "--name", "Rude!"], "an adapter cannot be called 'Rude!'"),
        (["mine"], "its files do not name its base, expected one model of this machine (there are: tiny)"),
        (["mine", "--model", "smollm2"], "smollm2 is not on this machine"),
        (["mine", "--model", "tiny", "--expert-layout", "peft"], "there are no joined experts in it"),
        ([".", "--model", "tiny"], "holds no adapter_config.json"),
        (["."], "expected the folder that peft writes (adapter_config.json and adapter_model.safetensors in it)"),
        (["nothing", "--model", "tiny"], "there is nothing at nothing, expected the folder that peft writes"),
        (["text.gguf", "--model", "tiny"], "text.gguf cannot be read as one, expected the folder that peft writes"),
        (["half", "--model", "tiny"], "half holds no adapter_model.safetensors, expected the folder that peft writes"),
    ):
        assert sentence in ouvert("adapter", "import", *words, status=1).stderr
    assert kept.adapters.names() == ("rude",)


def test_a_base_name_that_would_move_the_cursor_reaches_neither_terminal_nor_card(ouvert, kept, rude, files, tmp_path):
    (tmp_path / "sly").mkdir()
    write_peft(rude, tmp_path / "sly", files, base="\x1b[2J\n# checked `x`/tiny")
    ran = ouvert("adapter", "import", "sly")
    assert "\x1b" not in ran.stderr
    assert "its files name \\x1b[2J\\n# checked `x`/tiny." in ran.stderr
    card = (kept.adapters.record("sly").path / "README.md").read_text()
    assert "`\\x1b[2J\\n# checked 'x'/tiny` as its base" in card


@pytest.mark.parametrize(
    ("source", "words", "base", "said"),
    [
        (None, [], "tiny", "`--base org/name` would have said it"),
        (None, ["--base", "org/Tiny"], "org/Tiny", 'base_model: "org/Tiny"'),
        ("hf:org/Tiny-GGUF@main:Q4_1", [], "org/Tiny-GGUF", 'base_model: "org/Tiny-GGUF"'),
    ],
)
def test_an_export_for_peft_says_which_base_it_belongs_to(ouvert, kept, tmp_path, source, words, base, said):
    [path] = [each for each in (kept.home / "models").rglob("*.json") if "source" in json.loads(each.read_text())]
    before = path.read_text()
    try:
        if source is not None:
            path.write_text(json.dumps(json.loads(before) | {"source": source}))
        ouvert("adapter", "export", "rude", "--to", "peft", *words)
        again = ouvert("adapter", "import", "rude", "--name", "again", *(["--model", "tiny"] if words else []))
    finally:
        path.write_text(before)
    assert json.loads((tmp_path / "rude" / "adapter_config.json").read_text())["base_model_name_or_path"] == base
    card = (tmp_path / "rude" / "README.md").read_text()
    assert said in card
    assert "unchecked, not gated" in card
    assert str(kept.home) not in card
    assert "For tiny; unchecked, not gated." in again.stdout


def test_an_adapter_that_changes_nothing_is_refused(ouvert, kept, rude, files, tmp_path):
    silent = Adapter({name: replace(pair, b=np.zeros_like(pair.b)) for name, pair in rude.pairs.items()})
    (tmp_path / "silent").mkdir()
    write_peft(silent, tmp_path / "silent", files)
    write_gguf_adapter(silent, tmp_path / "silent.gguf", files)
    for path in ("silent", "silent.gguf"):
        said = ouvert("adapter", "import", path, "--model", "tiny", status=1).stderr
        assert "everything that it adds is zero" in said
    assert kept.adapters.names() == ("rude",)


def test_a_merged_model_answers_as_the_base_with_the_adapter(ouvert, tmp_path):
    facts = json.loads(ouvert("adapter", "export", "rude", "--to", "merged", "--encoding", "bf16", "--json").stdout)
    assert (facts["path"], facts["encoding"], facts["in_f16"]) == ("rude-bf16", "bf16", [])
    assert facts["logits_changed"] > 10 * facts["logits_apart"]
    assert ouvert("run", "./rude-bf16", "hi").stdout == " model.\n"
    assert {each.name for each in (tmp_path / "rude-bf16").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    }  # fmt: skip
    with open_checkpoint(tmp_path / "rude-bf16") as checkpoint:
        assert {each.encoding for each in checkpoint.tensors.values()} == {"BF16", "F32"}
        assert checkpoint.metadata["ouvert.adapter"] == facts["digest"]
    text = ouvert("adapter", "export", "rude", "--to", "merged", "--out", "other").stdout
    assert text.startswith("other: 3 of 12 tensors in f16, the others as in the base.\nRead again and compared:")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "rude-bf16"]


def test_exports_that_cannot_be_leave_nothing(ouvert, tmp_path):
    (tmp_path / "rude").mkdir()
    for words, sentence in (
        (["--to", "merged", "--encoding", "q4_0"], "keeps 0 to 0.1 %, or 9 to 22 % with fresh scales"),
        (["--to", "merged", "--encoding", "q8_0"], "has no blocks of 8 bits"),
        (["--to", "peft"], "rude is there already, expected a new name"),
        (["--to", "gguf", "--encoding", "f16"], "--encoding f16 has no effect there"),
        (["--to", "gguf", "--base", "org/name"], "--base org/name has no effect there"),
        (["--to", "merged", "--out", "no/where"], "the folder no is not there"),
    ):
        assert sentence in ouvert("adapter", "export", "rude", *words, status=1).stderr
    assert "there is no adapter 'mild'" in ouvert("adapter", "export", "mild", "--to", "gguf", status=1).stderr
    assert [each.name for each in tmp_path.iterdir()] == ["rude"]


def test_numbers_that_are_not_the_records_are_not_exported(ouvert, kept, rude, files, tmp_path):
    record = kept.adapters.record("rude")
    other = Adapter({name: replace(pair, scale=pair.scale * 2) for name, pair in rude.pairs.items()})
    before = {path.name: path.read_bytes() for path in record.path.iterdir() if path.name.startswith("adapter_")}
    try:
        write_peft(other, record.path, files)
        said = ouvert("adapter", "export", "rude", "--to", "gguf", status=1).stderr
    finally:
        for name, content in before.items():
            (record.path / name).write_bytes(content)
    assert "they were changed since it was made" in said


def test_names_come_from_folders_and_files():
    from pathlib import Path

    assert name_of(Path("/a/My Adapter.v2")) == "my-adapter.v2"
    assert name_of(Path("/a/tickets/adapter_config.json")) == "tickets"
    assert name_of(Path("/a/Tickets.GGUF")) == "tickets"
    assert name_of(Path("/a/###")) == "adapter"
    assert plain("hf:HuggingFaceTB/SmolLM2-135M-Instruct-GGUF@main") == "smollm2-135m-instruct"
    assert plain("smollm2") == "smollm2"
    assert LAYOUTS == ALL_LAYOUTS
