"""`ouvert look` as it is typed: an answer written now, an answer that was given, and what it writes."""

import base64
import gzip
import json
import re
import unicodedata

import pytest

from ouvert import inspection
from ouvert.cli import looking, main


@pytest.fixture
def ouvert(tmp_path, capsys, monkeypatch):
    """ouvert(word, ...) -> (status, stdout, stderr)."""
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would stay up for every test after this one
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setenv("COLUMNS", "80")

    def ouvert(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return ouvert


@pytest.fixture
def model(speaking_model):
    return speaking_model()


def test_an_answer_is_written_and_shown_layer_by_layer(ouvert, model):
    status, out, err = ouvert("look", model, "again", "--temperature", 0)
    assert status == 0
    heading, first, *rows = out.splitlines()
    assert heading.split() == ["layer", "0"]
    assert "⏎" in first
    assert "Hello 1" in first  # what the model says next, and how likely
    assert [row.split()[1] for row in rows[:3]] == ["Hello", "·from", "·a"]
    assert "Looking into" in err
    assert "MB are kept" in err
    assert "observation" in err
    assert "\x1b" not in out  # nobody looks


def test_confidence_attention_and_attribution_are_tables(ouvert, model):
    views = ("--view", "confidence", "--view", "attention", "--view", "attribution")
    status, out, err = ouvert("look", model, "again", "--temperature", 0, *views)
    assert status == 0
    assert "likeliest" in out
    assert "looks most at" in out
    assert "sink" not in out  # this family has none
    assert "layers.0.mlp.out" in out
    assert "sharing" not in err


def test_json_is_that_of_the_format(ouvert, model):
    status, out, _ = ouvert("look", model, "again", "--json", "--top", 2, "--view", "lens", "--temperature", 0)
    facts = json.loads(out)
    assert status == 0
    assert facts["trace"] == 1
    [lens] = facts["views"]
    assert len(lens["ids"][0][0]) == 2
    said = "".join(token["text"] for token in facts["tokens"] if token["part"] == "answer")
    assert said == "Hello from a tiny model.<|im_end|>"


def test_the_last_answer_is_opened_by_its_receipt(ouvert, model):
    ouvert("run", model, "again", "--receipts", "contents", "--temperature", 0)
    status, out, err = ouvert("look", "--model", model)
    assert (status, err.count("Looking into")) == (0, 1), err
    assert "·from" in out


def test_without_what_was_said_a_conversation_has_to_be_given(ouvert, model, tmp_path):
    ouvert("run", model, "again", "--temperature", 0)
    status, _, err = ouvert("look", "--model", model)
    assert status == 1
    assert "what was said is not known" in err
    (tmp_path / "said.json").write_text(json.dumps({"messages": [{"role": "user", "content": "again"}]}))
    status, out, err = ouvert("look", "--model", model, "--conversation", tmp_path / "said.json")
    assert status == 0, err
    assert "·from" in out


def test_a_trace_and_a_page_are_written_and_it_is_said_that_they_hold_the_conversation(ouvert, model, tmp_path):
    files = ("--save", tmp_path / "a.trace", "--page", tmp_path / "a.html")
    status, out, err = ouvert("look", model, "again", "--temperature", 0, *files)
    assert (status, out) == (0, "")
    assert err.count("will hold the conversation, word for word") == 2
    assert "Hello" in "".join(token.text for token in inspection.load_trace(tmp_path / "a.trace").tokens)
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!doctype html>")


def test_words_can_be_left_out(ouvert, model, tmp_path):
    files = ("--save", tmp_path / "a.trace", "--page", tmp_path / "a.html")
    status, _, err = ouvert("look", model, "again", *files, "--no-words")
    assert (status, "word for word" in err) == (0, False)
    assert b"Hello" not in (tmp_path / "a.trace").read_bytes()
    packed = re.search(rb'id="data">([A-Za-z0-9+/=]*)<', (tmp_path / "a.html").read_bytes())[1]
    assert b"Hello" not in gzip.decompress(base64.b64decode(packed))


def test_a_text_is_read_without_an_answer(ouvert, model):
    status, out, _ = ouvert("look", model, "Hello", "again", "--raw", "--view", "confidence")
    assert status == 0
    assert len(out.splitlines()) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-words",), "--no-words is of a file that --save FILE or --page FILE writes"),
        (("--layer", "0"), "--layer is of --view attention"),
        (("--view", "confidence", "--top", "2"), "--top is of --view lens"),
        (("--head", "99", "--view", "attention"), "head=99"),
        (("--conversation", "a.json"), "--conversation is of an answer that was given"),
        (("--raw", "--temperature", "0"), "--temperature is of an answer that is written now"),
        (("--view", "confidence", "--positions", "0"), "the first token"),
        (("--page", "nowhere/a.html"), "would be in nowhere, which is no folder"),
        (("--save", "."), ". is a folder"),
        (("--layers", "7"), "numbers from 0 to 0"),
        (("--layers", "every"), "expected all, every N"),
        (("--top", "0"), "top=0"),
        (("--at", "900", "--view", "attribution"), "positions"),
        (("--positions", "nowhere"), "positions"),
        (("--max-bytes", "10"), "expected at most 10 "),
        (("--max-bytes", "lots"), "max_bytes"),
        (("--view", "experts"), "which has no experts.chosen"),
        (("--view", "states"), "which has no mixer.state_norm"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(ouvert, model, words, said):
    status, _, err = ouvert("look", model, "again", *words)
    assert status == 1
    assert said in err
    assert "Traceback" not in err


def test_a_receipt_that_is_not_there_says_how_to_ask_a_model(ouvert, model):
    status, _, err = ouvert("look", "nothing")
    assert status == 1
    assert "ouvert look nothing PROMPT" in err


def test_options_of_an_answer_that_is_written_are_refused_beside_a_receipt(ouvert, model):
    for words in (("last", "--seed", 0), ("last", "--raw")):
        status, _, err = ouvert("look", *words)
        assert status == 1
        assert f"{words[1]} is of " in err


@pytest.mark.parametrize("words", [("--view", "experts"), ("--layers", "7"), ("--top", "0"), ("--page", "no/a.html")])
def test_what_cannot_be_shown_is_refused_before_an_answer_is_written_for_it(ouvert, model, words):
    status, _, err = ouvert("look", model, "again", *words)
    assert status == 1
    assert "Looking into" not in err


def test_confidence_is_of_the_answer_unless_other_tokens_are_asked_for(ouvert, model):
    words = ("look", model, "again", "--temperature", 0, "--view", "confidence")
    _, out, _ = ouvert(*words)
    assert [row.split()[1] for row in out.splitlines()[1:4]] == ["Hello", "·from", "·a"]
    _, whole, _ = ouvert(*words, "--positions", "all")
    assert len(whole.splitlines()) > len(out.splitlines())


def test_the_parts_of_a_logit_stand_with_their_sum_and_the_token(ouvert, model):
    _, out, _ = ouvert("look", model, "again", "--temperature", 0, "--view", "attribution", "--heads")
    heading, *rows = out.splitlines()
    assert heading.startswith("the logit of ")
    logit = float(heading.split()[-1])
    parts = dict(row.rsplit(maxsplit=1) for row in rows[: rows.index("")])
    total = float(parts.pop("  their sum"))
    rounding = float(parts.pop("  rounding"))
    assert sum(map(float, parts.values())) == pytest.approx(total, abs=1e-3)
    assert total + rounding == pytest.approx(logit, abs=1e-3)
    assert any(row.startswith("layer   head 0") for row in rows)


def test_further_ranks_of_the_lens_stand_below_the_first(ouvert, model):
    _, out, _ = ouvert("look", model, "again", "--temperature", 0, "--top", 3)
    labels = [row[: looking.MARGIN].strip() for row in out.splitlines()[1:]]
    assert labels[1:3] == ["", ""]
    assert labels[3]


@pytest.mark.parametrize("text", ["下面小编", "<|im_start|>", "a", "️️️ é", "한국어 말 이 길어요"])
def test_a_cell_takes_its_width_whatever_is_written_in_it(text):
    cell = looking.padded(looking.short(text, 7), 7)
    drawn = [sign for sign in cell if sign not in "\ufe0f\u0301"]
    assert sum(2 if unicodedata.east_asian_width(sign) == "W" else 1 for sign in drawn) == 7
