"""`ouvert patch`, `ouvert direction` and `ouvert microscope`, on a model that is there in a moment."""

import json

import pytest

from ouvert.cli import main
from ouvert.cli.commands import direction


@pytest.fixture
def ouvert(tmp_path, monkeypatch, capsys):
    """ouvert("list", …) -> (status, stdout, stderr), with a store of its own."""
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would guard the other tests of this process too

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def model(speaking_model):
    return speaking_model()


@pytest.fixture
def prompts(tmp_path):
    """prompts(letter): a file of nine prompts that end alike."""

    def written(letter, name="txt"):
        path = tmp_path / f"{letter}.{name}"
        lines = [f"{first}x{letter * 3}" for first in "abcdefghi"]
        path.write_text("\n".join(json.dumps({"prompt": line}) if name == "jsonl" else line for line in lines))
        return path

    return written


def test_the_microscope_prints_each_text_and_the_same_as_json(ouvert, model, tmp_path):
    text = tmp_path / "own.txt"
    text.write_text("Some words of my own, and a few more.")
    status, out, err = ouvert("microscope", model, "--text", text, "--tokens", 20)
    assert status == 0
    assert "Reading 20 tokens with both: about " in err
    assert "own.txt, 20 tokens" in out
    assert "answer   KL 0.0000" in out
    status, out, _ = ouvert("microscope", model, "--against", f"{model}@8", "--json")
    facts = json.loads(out)
    assert [each["name"] for each in facts["texts"]] == ["english", "french"]
    assert facts["kind"] == "observation"
    assert facts["model"]["exact"] is False
    assert facts["reference"]["precision"] == "8"


def test_a_direction_is_made_tested_shown_exported_imported_and_removed(ouvert, model, prompts, tmp_path):
    made = ouvert("direction", "make", "kind", "--model", model, "--positive", prompts("y"), "--negative",
                  prompts("z", "jsonl"))  # fmt: skip
    assert made[0] == 0
    assert "held out   AUC 1.000 on 3 + 3 prompts" in made[1]
    assert "Whether it is a cause" in made[2]
    assert "Reading 90 tokens: about " in made[2]
    tested = ouvert("direction", "test", "kind", "--model", model, "--prompts", prompts("q"), "--for", "y",
                    "--against", "z", "--random", 3, "--neutral", prompts("w"), "--json")  # fmt: skip
    assert "tokens, with edits: about " in tested[2]
    facts = json.loads(tested[1])
    assert [edit["edit"] for edit in facts["edits"]] == ["add", "subtract", "project_out"]
    assert facts["prompts"] == 9
    shown = ouvert("direction", "test", "kind", "--model", model, "--prompts", prompts("q"), "--for", "y",
                   "--against", "z", "--random", 3, "--neutral", prompts("w"))  # fmt: skip
    assert "project_out" in shown[1]
    assert json.loads(ouvert("direction", "list", "--json")[1])[0]["auc"] == 1
    assert "kind" in ouvert("direction", "list")[1]
    assert json.loads(ouvert("direction", "show", "kind", "--json")[1])["format"] == "ouvert.direction/1"
    assert ouvert("direction", "export", "kind", tmp_path / "v.npz")[0] == 0
    assert ouvert("direction", "import", tmp_path / "v.npz")[0] == 0
    assert "imported from npz v.npz" in ouvert("direction", "show", "v")[1]
    assert ouvert("direction", "remove", "v")[0] == 0
    assert [each["name"] for each in json.loads(ouvert("direction", "list", "--json")[1])] == ["kind"]


def test_a_name_that_is_taken_and_a_pickle_are_refused_before_anything_is_done(ouvert, model, prompts, tmp_path):
    (tmp_path / "store" / "directions").mkdir(parents=True)
    (tmp_path / "store" / "directions" / "kind.direction").write_bytes(b"spoilt")
    status, _, err = ouvert("direction", "make", "kind", "--model", "no-such-model", "--positive", prompts("y"),
                            "--negative", prompts("z"))  # fmt: skip
    assert status == 1
    assert "there is a direction 'kind' on this machine already" in err
    (tmp_path / "steer.pt").write_bytes(b"\x80\x04.")
    status, _, err = ouvert("direction", "import", tmp_path / "steer.pt")
    assert status == 1
    assert "a pickle (.pt), which can run any program" in err
    status, out, _ = ouvert("direction", "list")
    assert status == 0
    assert "not readable" in out


def test_lines_that_are_no_prompts_are_named(ouvert, model, prompts, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('"one"\n{"text": 3}\n')
    status, _, err = ouvert("direction", "make", "new", "--model", model, "--positive", path, "--negative", path)
    assert status == 1
    assert "bad.jsonl, line 2" in err
    path.write_text("{")
    assert "line 1: no JSON" in ouvert("direction", "make", "new", "--model", model, "--positive", path, "--negative",
                                       path)[2]  # fmt: skip


def test_a_patch_prints_its_price_and_the_grid(ouvert, model):
    words = ("patch", model, "abc", "ab\n", "--for", ".", "--against", "y", "--donors", 2)
    status, out, err = ouvert(*words)
    assert status == 0
    assert "Patching 3 cells: about" in err
    assert "1.00" in out.splitlines()[-1]
    assert "(intervention)" in err
    facts = json.loads(ouvert(*words, "--noise", "--over", "heads", "--json")[1])
    assert (facts["direction"], facts["over"], len(facts["columns"])) == ("noise", "heads", 4)
    status, _, err = ouvert("patch", model, "abc", "abcd", "--for", "x", "--against", "y")
    assert status == 1
    assert "3 tokens and the corrupted one 4" in err
    status, _, err = ouvert("patch", model, "abc", "abd", "--for", "xx", "--against", "y")
    assert "'xx' is 2: ['x', 'x']" in err


@pytest.mark.parametrize(
    ("held_out", "by_chance", "said"),
    [
        (0.95, 0.8, "It tells"),
        (0.0, 1.0, "too few"),
        (1.0, 1.0, "too few"),
        (0.6, 0.8, "does not"),
        (0.0, 0.8, "does not"),
    ],
)
def test_what_is_said_of_a_direction_follows_from_its_numbers(held_out, by_chance, said):
    assert said in direction.what_auc_says(held_out, by_chance)
