"""`ouvert tune check` and `ouvert corrections` as they are typed."""

import json

import pytest

from ouvert.cli import main
from ouvert.store import Corrections


@pytest.fixture
def ouvert(tmp_path, capsys, monkeypatch):
    """ouvert(word, ...) -> (status, stdout, stderr)."""
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would stay up for every test after this one
    monkeypatch.setattr("sys.stdin", None)

    def ouvert(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return ouvert


@pytest.fixture
def corrections(tmp_path):
    return Corrections(tmp_path / "home")


@pytest.fixture
def model(speaking_model):
    return speaking_model()


SAID = [{"role": "user", "content": "again"}, {"role": "assistant", "content": "Hello from a tiny model."}]


@pytest.fixture
def tickets(tmp_path):
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps({"messages": SAID}) + "\n" for _ in range(3)))
    return path


def test_what_is_trained_stands_in_brackets(ouvert, model, tickets):
    status, out, err = ouvert("tune", "check", tickets, "--model", model, "--show", 1)
    assert status == 0
    first, *_ = out.split("\n\n")
    assert first.startswith("--- line 1: ")
    assert first.endswith(
        "<|im_start|>user\nagain<|im_end|>\n<|im_start|>assistant\n[[Hello from a tiny model.<|im_end|>]]"
    )
    assert "3 rows, for sft" in out
    assert "twice or more: lines 1, 2, 3" in out
    assert "in [[ ]]" in err


def test_a_terminal_gets_underlines_and_no_orders(ouvert, model, tickets, monkeypatch):
    rows = [{"messages": [{"role": "user", "content": "\x1b[2J"}, SAID[1]]}]
    tickets.write_text(json.dumps(rows[0]) + "\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, out, _ = ouvert("tune", "check", tickets, "--model", model)
    assert "\x1b[4;32mHello from a tiny model.<|im_end|>\x1b[0m" in out
    assert "\x1b[2J" not in out
    assert "\\x1b[2J" in out


def test_json_has_the_pieces_and_the_counts(ouvert, model, tickets):
    status, out, _ = ouvert("tune", "check", tickets, "--model", model, "--json", "--line", 2)
    said = json.loads(out)
    assert (status, said["fault"], said["counts"]["rows"], said["counts"]["duplicates"]) == (0, None, 3, 2)
    [example] = said["examples"]
    assert example["line"] == 2
    assert [piece["text"] for piece in example["pieces"] if piece["trained"]] == ["Hello from a tiny model.<|im_end|>"]


def test_a_fault_is_named_by_line_and_ends_with_one(ouvert, model, tickets):
    with tickets.open("a") as file:
        file.write(json.dumps({"messages": SAID, "mood": "good"}) + "\n")
    status, out, err = ouvert("tune", "check", tickets, "--model", model)
    assert (status, out) == (1, "")
    assert "tickets.jsonl: 1 of 4 rows cannot be used for sft:\n  line 4: unknown keys mood" in err
    status, out, _ = ouvert("tune", "check", tickets, "--model", model, "--json")
    assert status == 1
    assert "line 4: unknown keys mood" in json.loads(out)["fault"]


def test_a_recipe_and_the_line_say_how(ouvert, model, tickets, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[data]\nlength = 20\n")
    status, _, err = ouvert("tune", "check", tickets, "--model", model, "--recipe", recipe)
    assert status == 1
    assert "more than length = 20" in err
    assert ouvert("tune", "check", tickets, "--model", model, "--recipe", recipe, "--length", 400)[0] == 0
    status, _, err = ouvert("tune", "check", tickets, "--model", model, "--length", 4000)
    assert status == 1
    assert "reads 2048 tokens at most" in err
    status, _, err = ouvert("tune", "check", tickets, "--model", model, "--method", "dpo")
    assert status == 1
    assert "the shape messages, which dpo does not learn from" in err


PAIR = {"prompt": SAID[:1], "chosen": "Hello from a tiny model.", "rejected": "No."}


@pytest.mark.parametrize(
    ("method", "row"), [("dpo", PAIR), ("orpo", PAIR), ("kto", PAIR), ("grpo", {"prompt": "again", "answer": "4"})]
)
def test_every_method_is_looked_at_without_a_recipe(ouvert, model, tmp_path, method, row):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row) + "\n")
    status, out, err = ouvert("tune", "check", path, "--model", model, "--method", method)
    assert status == 0, err
    assert f"1 row, for {method}" in out


def test_columns_and_what_is_held_out_are_said_without_a_recipe(ouvert, model, tickets, tmp_path):
    tickets.write_text("".join(json.dumps({"messages": SAID, "mood": n, "note": "x"}) + "\n" for n in range(20)))
    words = ("tune", "check", tickets, "--model", model, "--json")
    assert ouvert(*words, "--ignore", "mood")[0] == 1
    status, out, _ = ouvert(*words, "--ignore", "mood, note", "--held-out", 0)
    assert (status, json.loads(out)["counts"]["held_out"]) == (0, 0)
    held_out = tmp_path / "other.jsonl"
    held_out.write_text(json.dumps({"messages": [{"role": "user", "content": "from a"}, SAID[1]]}) + "\n")
    status, out, _ = ouvert(*words, "--ignore", "mood,note", "--held-out", held_out)
    assert (status, json.loads(out)["counts"]["held_out"]) == (0, 1)


def test_corrections_are_data_by_their_name(ouvert, model, corrections, tmp_path):
    status, _, err = ouvert("tune", "check", "corrections", "--model", model)
    assert status == 1
    assert "no corrections on this machine yet" in err
    corrections.add({"messages": SAID[:1], "given": "No.", "wanted": "Hello from a tiny model."})
    status, out, _ = ouvert("tune", "check", "corrections", "--model", model, "--method", "dpo")
    assert status == 0
    assert "--- line 1, chosen" in out
    assert "[[No.<|im_end|>]]" in out


def test_corrections_are_listed_exported_and_removed(ouvert, corrections, tmp_path):
    assert "no corrections on this machine yet" in ouvert("corrections", "list")[1]
    made = corrections.add({"messages": SAID[:1], "given": "No.\x1b[2J", "wanted": "x" * 80})
    status, out, _ = ouvert("corrections", "list")
    assert status == 0
    assert made.id in out
    assert "\x1b" not in out
    assert "…" in out
    [facts] = json.loads(ouvert("corrections", "list", "--json")[1])
    assert facts["wanted"] == "x" * 80
    path = tmp_path / "mine.jsonl"
    status, out, _ = ouvert("corrections", "export", path)
    assert status == 0
    assert ": 1 correction. `ouvert tune" in out
    assert json.loads(path.read_text())["given"] == "No.\x1b[2J"
    assert ouvert("corrections", "remove")[0] == 1
    assert ouvert("corrections", "remove", made.id)[:2] == (0, "1 correction is removed.\n")
    corrections.add({"messages": SAID[:1], "given": "No.", "wanted": "Yes."})
    assert json.loads(ouvert("corrections", "remove", "--all", "--json")[1])["removed"]
    assert corrections.all() == ()
