"""`ouvert run` as it is typed: one answer, pipes, JSON, raw text, Ctrl-C, and complaints."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ouvert.assistant import Ledger, sizes_of
from ouvert.cli.commands.run import fetch_if_absent, joined
from ouvert.cli.machine import advice, suggestion
from ouvert.engine.machine import memory_bytes
from ouvert.store import Store, StoreError, find_alias

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
FACTS = re.compile(r"7 tokens, [\d.]+ tokens/s, first token after \d+\.\d\d s\n")
ENDLESS = {"\n": "again", "again": "again"}


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "OUVERT_HOME": str(tmp_path / "store"), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def ouvert(environment):
    """ouvert("run", ..., input=None) -> the finished process. Without input, stdin is /dev/null."""

    def ouvert(*words, input=None, **changes):  # noqa: A002
        given = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        command = [sys.executable, "-c", RUN, *map(str, words)]
        return subprocess.run(command, capture_output=True, env=environment | changes, timeout=60, **given)

    return ouvert


@pytest.fixture
def tiny(speaking_model):
    return speaking_model()


def test_one_answer_goes_to_stdout_and_its_facts_to_stderr(ouvert, tiny):
    ran = ouvert("run", tiny, "Who are you?")
    assert ran.stdout == b"Hello from a tiny model.\n"
    assert FACTS.search(ran.stderr.decode())
    assert FACTS.fullmatch(ouvert("run", tiny, "Who are you?").stderr.decode())  # packed by now: only the facts
    assert ran.returncode == 0


def test_a_prompt_comes_through_a_pipe(ouvert, tiny):
    ran = ouvert("run", tiny, input=b"Who are you?\n")
    assert ran.stdout == b"Hello from a tiny model.\n"


def test_a_document_through_a_pipe_stands_before_the_question(ouvert, tiny):
    def prompt_tokens(*words, **given):
        return json.loads(ouvert("run", tiny, *words, "--json", **given).stdout)["usage"]["prompt"]

    alone = prompt_tokens("summarise")
    both = prompt_tokens("summarise", input=b"A document.\n")
    assert both == alone + len("A document.\n\n")  # every byte is a token here
    assert joined("A document.\n", "summarise") == "A document.\n\nsummarise"


def test_an_empty_pipe_is_no_document(ouvert, tiny):
    assert ouvert("run", tiny, "Who are you?", input=b" \n").stdout == b"Hello from a tiny model.\n"


def test_json_holds_answer_usage_and_receipt(ouvert, tiny):
    ran = ouvert("run", tiny, "Hi", "--json", "--system", "Be brief.", "--seed", "3", "--temperature", "0.5")
    facts = json.loads(ran.stdout)
    assert facts["text"] == "Hello from a tiny model."
    assert facts["reason"] == "stop"
    assert facts["usage"]["output"] == 7
    assert facts["receipt"]["sampling"]["seed"] == 3
    assert facts["receipt"]["sampling"]["temperature"] == 0.5
    assert [message["role"] for message in facts["receipt"]["messages"]] == ["system", "user"]
    assert b"tokens/s" not in ran.stderr


def test_every_answer_leaves_a_receipt_unless_its_owner_says_no(ouvert, tiny, tmp_path):
    ledger = Ledger(tmp_path / "store" / "receipts")
    shown = json.loads(ouvert("run", tiny, "Hi", "--json").stdout)["receipt"]
    assert ledger.find("last").receipt == shown
    ouvert("run", tiny, "Hi", "--receipts", "off")
    ouvert("run", tiny, "Hi", OUVERT_RECEIPTS="off")
    assert ledger.check().receipts == 1
    assert ledger.contents(ledger.find("last").digest) is None
    ouvert("run", tiny, "Hi", "--receipts", "contents", OUVERT_RECEIPTS="off")
    assert ledger.contents(ledger.find("last").digest)["conversation"]["messages"][0]["content"] == "Hi"
    ran = ouvert("run", tiny, "Hi", OUVERT_RECEIPTS="maybe")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"OUVERT_RECEIPTS is 'maybe', expected one of on, contents, off" in ran.stderr


def test_a_receipt_that_cannot_be_kept_is_said_and_the_answer_stands(ouvert, tiny, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "receipts").write_text("")
    ran = ouvert("run", tiny, "Hi")
    assert (ran.returncode, ran.stdout) == (0, b"Hello from a tiny model.\n")
    assert b"cannot be written" in ran.stderr


def test_the_cache_asked_for_is_in_the_receipt(ouvert, tiny):
    kept = {}
    for words in ((), ("--cache", "f16"), ("--cache", "q8")):
        facts = json.loads(ouvert("run", tiny, "Hi", "--json", *words).stdout)
        assert facts["text"] == "Hello from a tiny model."
        kept[words] = facts["receipt"]["engine"]["cache_type"]
    assert list(kept.values()) == ["f16", "f16", "q8"]


def test_every_sampling_option_reaches_the_receipt(ouvert, tiny):
    options = {"temperature": 0.4, "top_k": 7, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1, "seed": 1}
    options["repetition_guard"] = 100
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    sampling = json.loads(ouvert("run", tiny, "Hi", "--json", *words, "--max-tokens", "2").stdout)["receipt"][
        "sampling"
    ]
    assert sampling == {**options, "max_tokens": 2, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def test_raw_continues_the_text_without_a_template(ouvert, tiny):
    ran = ouvert("run", tiny, "again", "--raw", "--max-tokens", "3")
    assert ran.stdout == b"againagainagain\n"
    assert b"cut off by the limit of tokens" in ran.stderr
    facts = json.loads(ouvert("run", tiny, "again", "--raw", "--max-tokens", "3", "--json").stdout)
    assert (facts["text"], facts["reason"]) == ("again" * 3, "length")
    assert facts["usage"] == {"prompt": 1, "reused": 0, "output": 3, "reasoning": 0}
    assert facts["receipt"]["tokens"]["output"] == len(facts["tokens"]["output"]) == 3


def test_stop_texts_end_the_answer_with_and_without_a_template(ouvert, tiny):
    assert ouvert("run", tiny, "Hi", "--stop", "zebra", "--stop", " tin").stdout == b"Hello from a\n"
    assert ouvert("run", tiny, "Hello", "--raw", "--stop", "tiny m").stdout == b" from a \n"


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--regex", "[0-9]{3}-[0-9]{2}"), r"\d{3}-\d{2}"),
        (("--choice", "yes", "--choice", "no, Sir"), "yes|no, Sir"),
        (("--grammar", "a.gbnf"), "(ab){2,3}!"),
        (("--grammar", "a.lark"), "(ab)+[?]"),
        (("--schema", "a.json"), "true|false"),
    ],
)
def test_an_answer_is_what_was_asked_for(ouvert, tiny, tmp_path, words, answer, raw):
    (tmp_path / "a.gbnf").write_text('root ::= pair{2,3} "!" # twice or three times\npair ::= "ab"\n')
    (tmp_path / "a.lark").write_text('start: "ab"+ "?"\n')
    (tmp_path / "a.json").write_text('{"type": "boolean"}')
    words = [tmp_path / word if word.startswith("a.") else word for word in words]
    ran = ouvert("run", tiny, "Who are you?", "--max-tokens", 60, *words, *(["--raw"] if raw else []))
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(f"{answer}|(ab)+", ran.stdout.decode().strip())  # a model that likes to repeat may be cut off


def test_a_wrong_grammar_is_one_sentence_with_line_and_column(ouvert, tiny, tmp_path):
    (tmp_path / "wrong.gbnf").write_text('root ::= word\nword ::= "a\n')
    (tmp_path / "wrong.lark").write_text('start: "a\n')
    (tmp_path / "words.txt").write_text("a")
    for words, said in {
        ("--grammar", tmp_path / "wrong.gbnf"): 'line 2, column 10: a " without its second',
        ("--grammar", tmp_path / "wrong.lark"): "line 1, column 10: lexer error",
        ("--grammar", tmp_path / "words.txt"): "expected .gbnf or .lark",
        ("--grammar", tmp_path / "none.gbnf"): "cannot be read (No such file or directory)",
        ("--regex", "a("): "unclosed group",
        ("--choice", ""): "none of them empty",
    }.items():
        ran = ouvert("run", tiny, "Hello", *words)
        assert ran.returncode == 1
        assert said in ran.stderr.decode()
        assert "Traceback" not in ran.stderr.decode()
    assert b"not allowed with" in ouvert("run", tiny, "Hello", "--regex", "a", "--choice", "b").stderr


def test_a_gguf_file_works_without_the_store(ouvert, smollm2):
    ran = ouvert("run", smollm2, "What is 2+2?", "--temperature", "0", "--max-tokens", "24")
    assert b"4" in ran.stdout
    assert ran.returncode == 0


def test_without_a_model_the_default_answers_and_says_what_it_is(ouvert, smollm2):
    home = next(each for each in smollm2.parents if (each / "models").is_dir())
    ran = ouvert("run", "--max-tokens", "24", input=b"What is 2+2?", OUVERT_HOME=str(home))
    assert b"4" in ran.stdout
    first, *_ = ran.stderr.decode().splitlines()
    assert first.startswith("smollm2 is a toy (135 million parameters)")


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(environment, speaking_model, raw):
    command = [sys.executable, "-c", RUN, "run", str(speaking_model(ENDLESS)), "again", *raw]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        first = process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=30)
    assert first == b"again" * 4
    assert rest.endswith(b"\n")
    assert set((first + rest).replace(b"again", b"")) <= set(b"\n")
    assert b"stopped by you" in complaints
    assert process.returncode == 130


def test_a_context_beyond_the_models_own_is_clipped_with_a_word(ouvert, tiny):
    ran = ouvert("run", str(tiny), "Hi", "--context", "1000000")
    assert ran.stdout == b"Hello from a tiny model.\n"
    assert re.search(r"was made for (\d+) tokens: its context is \1, and not 1000000\.", ran.stderr.decode())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smollm2", "Hi"], "`ouvert pull smollm2` fetches it"),
        (["no-such-model", "Hi"], "there is no model called 'no-such-model'"),
        (["./nowhere", "Hi"], "nowhere: there is no such file or folder"),
        (["What is 2+2?"], "ouvert run smollm2 'What is 2+2?'"),
        (["{tiny}"], "a conversation needs a terminal"),
        (["{tiny}", "--json"], "--json needs a prompt"),
        (["{tiny}", "--raw"], "--raw needs a prompt"),
        (["{tiny}", "--best-of", "2"], "--best-of needs a prompt"),
        (["{tiny}", "Hi", "--best-of", "1", "--temperature", "1"], "expected 2 to 64"),
        (["{tiny}", "Hi", "--best-of", "3"], "the temperature is 0, at which all are the same"),
        (["{tiny}", "Hi", "--raw", "--system", "x"], "--raw uses none"),
        (["{tiny}", "Hi", "--stop", ""], "--stop needs a text"),
        (["{tiny}", "Hi", "--top-p", "2"], "top_p=2.0 (expected more than 0, at most 1)"),
        (["{tiny}", "Hi", "--threads", "0"], "--threads is '0', expected a whole number, 1 or more"),
        (["{tiny}", "word " * 500, "--context", "100"], "this engine's context holds 100"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(ouvert, tiny, words, said):
    ran = ouvert("run", *(word.replace("{tiny}", str(tiny)) for word in words))
    *before, complaint = ran.stderr.decode().splitlines()
    assert complaint.startswith("ouvert: ")
    assert said in complaint
    assert all(line.startswith(("reading ", "packing ")) for line in before)
    assert ran.stdout == b""
    assert ran.returncode == 1


def test_a_pipe_that_is_no_text_is_refused(ouvert, tiny):
    ran = ouvert("run", tiny, input=b"caf\xe9")
    assert ran.stderr == b"ouvert: what came through the pipe is not UTF-8 text (byte 3). Convert it to text first.\n"
    assert ran.returncode == 1


class FakeStore:
    """Knows no model until it is pulled."""

    def __init__(self):
        self.pulled = []

    def resolve(self, name):
        if name not in self.pulled:
            raise StoreError("absent")

    def pull(self, name, **_):
        self.pulled.append(name)


def test_a_model_is_fetched_when_that_was_asked_for_and_its_size_said_first(capsys):
    store = FakeStore()
    fetch_if_absent(store, "smollm2", allowed=True)
    assert store.pulled == ["smollm2"]
    assert "98.4 MB (Apache-2.0)" in capsys.readouterr().err
    fetch_if_absent(store, "smollm2", allowed=True)
    assert store.pulled == ["smollm2"]


def test_without_a_terminal_nothing_is_fetched_unasked(monkeypatch):
    store = FakeStore()
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(StoreError, match="absent"):
            fetch_if_absent(store, "smollm2", allowed=False)
    assert store.pulled == []


@pytest.mark.parametrize(("typed", "fetched"), [("\n", True), ("y\n", True), ("n\n", False), ("", False)])
def test_at_a_terminal_the_owner_is_asked(monkeypatch, capsys, typed, fetched):
    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return typed

    store = FakeStore()
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    if fetched:
        fetch_if_absent(store, "smollm2", allowed=False)
    else:
        with pytest.raises(StoreError):
            fetch_if_absent(store, "smollm2", allowed=False)
    assert store.pulled == (["smollm2"] if fetched else [])


def test_the_advice_names_what_fits_this_machine():
    def packed(memory):
        sizes = sizes_of(suggestion(memory))
        return sizes.store - sizes.fetch

    assert packed(10**12) > packed(10**10)
    assert suggestion(10**6) is None
    assert all(packed(memory) * 4 <= memory for memory in (4 * 10**9, 10**10, 10**11))
    # What is advised unasked may be used for any work: no licence for research alone, none that has to be signed.
    assert {suggestion(gigabytes * 10**9).licence for gigabytes in range(4, 600, 4)} <= {"Apache-2.0", "MIT"}
    assert memory_bytes() > 10**8
    assert "smollm2 is a toy (135 million parameters)" in advice("smollm2", 134_515_008)


def test_the_store_of_a_test_is_not_the_users(environment):
    assert Store(Path(environment["OUVERT_HOME"])).names() == ()


def test_a_family_that_no_version_computes_yet_is_not_fetched(monkeypatch, tmp_path):
    """Every family of the table is built today, so the test says otherwise of one."""
    later = replace(find_alias("codestral-mamba"), family="rwkv", built=False)
    monkeypatch.setattr("ouvert.store.find_alias", lambda name: later)
    with pytest.raises(StoreError, match="of the family rwkv, which this version cannot run yet"):
        fetch_if_absent(Store(tmp_path), "codestral-mamba:7b", allowed=True)


def test_another_template_than_the_models_writes_the_prompt_and_the_receipt_knows_it(ouvert, tiny, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("\ufeff{{ messages[0].content }}<|im_start|>Hello", encoding="utf-8")
    keep = ("--receipts", "contents", "--json")
    answered = json.loads(ouvert("run", tiny, "Who?", "--template", file, *keep).stdout)
    assert answered["text"] == " from a tiny model."
    assert answered["receipt"]["model"]["format"] == "file mine.jinja"
    without = ouvert("receipt", "replay", "last", "--model", tiny)
    assert without.returncode == 1
    assert b"was in a file, 'mine.jinja'" in without.stderr
    assert b"--template FILE" in without.stderr
    again = ouvert("receipt", "replay", "last", "--model", tiny, "--template", file)
    assert again.returncode == 0, again.stderr
    verified = ouvert("receipt", "verify", "last", "--model", tiny, "--template", file)
    assert verified.returncode == 0, verified.stdout

    ours = json.loads(ouvert("run", tiny, "Who?", *keep, OUVERT_TEMPLATE="builtin").stdout)
    assert ours["receipt"]["model"]["format"] == "builtin chatml"
    again = ouvert("receipt", "replay", "last", "--model", tiny)
    assert again.returncode == 0, "a receipt says which of ours it was"


def test_a_template_that_is_not_there_is_one_sentence(ouvert, tiny):
    ran = ouvert("run", tiny, "Who?", "--template", "nowhere.jinja")
    assert ran.returncode == 1
    assert b"the template 'nowhere.jinja' cannot be read (No such file or directory)" in ran.stderr
    assert ran.stdout == b""
