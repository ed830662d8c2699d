"""`ouvert receipt` as it is typed: list, show, verify, and replay with the cause of a difference named."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

import ouvert as library
from ouvert.assistant import Ledger
from ouvert.cli import main
from ouvert.cli.commands.receipt import complete_receipts
from ouvert.cli.environment import open_ledger
from ouvert.store import Store

QUESTION = "Name three colours."


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would stay up for every test after this one
    return tmp_path / "home"


@pytest.fixture
def ouvert(home, capsys, monkeypatch):
    """ouvert(word, ...) -> (status, what it printed); JSON is read."""
    monkeypatch.setattr("sys.stdin", None)

    def ouvert(*words):
        status = main([str(word) for word in words])
        out = capsys.readouterr()
        if "--json" in words and out.out:
            return status, json.loads(out.out)
        return status, out.out + out.err

    return ouvert


@pytest.fixture
def real(smollm2, home):
    """A name in the store for a real model, whose answers depend on seed and settings."""
    return Store(home).pull(str(smollm2), name="real").name


def ask(ouvert, model, *words, kept="contents"):
    settings = ("--temperature", 0.9, "--seed", 3, "--max-tokens", 12, "--receipts", kept)
    status, facts = ouvert("run", model, QUESTION, "--json", *settings, *words)
    assert status == 0
    return facts["receipt"]


def test_an_answer_is_replayed_token_by_token(ouvert, real):
    receipt = ask(ouvert, real)
    status, facts = ouvert("receipt", "replay", "--json")
    assert (status, facts["agrees"], facts["prompt_agrees"], facts["tokens"]) == (0, True, True, 12)
    assert facts["changes"] == []
    assert facts["digest"] == open_ledger().find("last").digest
    assert receipt["tokens"]["output"] == 12
    _, said = ouvert("receipt", "replay", 1)
    assert said.startswith("The same 12 tokens, one by one. Nothing has changed since.")
    assert open_ledger().check().receipts == 1  # a replay adds none


@pytest.mark.parametrize(
    ("words", "field"), [(["--seed", "4"], "sampling.seed"), (["--temperature", "1.9"], "sampling.temperature")]
)
def test_another_seed_or_temperature_is_named_as_the_cause(ouvert, real, words, field):
    ask(ouvert, real)
    status, facts = ouvert("receipt", "replay", "--json", *words)
    assert (status, facts["agrees"], facts["prompt_agrees"]) == (1, False, True)
    assert [change["field"] for change in facts["changes"]] == [field]
    assert 0 <= facts["differs_at"] < 12
    assert facts["was"] != facts["now"]
    assert "and the cause" in facts["verdict"]


def test_other_arithmetic_is_named(ouvert, real):
    ask(ouvert, real)
    _, facts = ouvert("receipt", "replay", "--json", "--exact")
    assert "engine.exact" in [change["field"] for change in facts["changes"]]


def test_a_cache_of_eight_bits_is_used_again_and_another_is_named(ouvert, real):
    assert ask(ouvert, real, "--cache", "q8")["engine"]["cache_type"] == "q8"
    status, facts = ouvert("receipt", "replay", "--json")
    assert (status, facts["agrees"], facts["changes"]) == (0, True, [])
    _, facts = ouvert("receipt", "replay", "--json", "--cache", "f16")
    assert facts["changes"] == [{"field": "engine.cache_type", "was": "q8", "now": "f16"}]


def test_another_build_is_named(ouvert, real, monkeypatch):
    assert ask(ouvert, real)["engine"]["build_digest"].startswith("sha256:")
    monkeypatch.setattr("ouvert.engine.loading.build_digest", lambda: "sha256:other")
    _, facts = ouvert("receipt", "replay", "--json")
    assert [(change["field"], change["now"]) for change in facts["changes"]] == [
        ("engine.build_digest", "sha256:other")
    ]
    _, facts = ouvert("receipt", "verify", "last", "--json")
    assert facts["receipt"]["fields"]["engine.build_digest"] is False


def test_other_weights_and_another_template_are_named(ouvert, speaking_model, tmp_path):
    for folder in ("first", "second"):
        shutil.copytree(speaking_model(), tmp_path / folder)
    weights = tmp_path / "second" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    stated = tmp_path / "second" / "tokenizer_config.json"
    settings = json.loads(stated.read_text())
    settings["chat_template"] = settings["chat_template"].replace(r"assistant\n", r"assistant\n.")
    assert settings["chat_template"] != json.loads(stated.read_text())["chat_template"]
    stated.write_text(json.dumps(settings))
    ouvert("run", tmp_path / "first", "Hi", "--receipts", "contents")
    status, facts = ouvert("receipt", "replay", "--json", "--model", tmp_path / "second")
    assert (status, facts["agrees"], facts["prompt_agrees"]) == (1, False, False)
    assert [change["field"] for change in facts["changes"]] == ["model.template_digest", "model.weights_digest"]
    status, facts = ouvert("receipt", "verify", "last", "--json", "--model", tmp_path / "second")
    assert (status, facts["whole"]) == (1, True)
    assert not facts["receipt"]["fields"]["model.weights_digest"]
    assert facts["receipt"]["fields"]["model.tokenizer_digest"]


def test_what_has_changed_without_effect_is_said_to_be_harmless(ouvert, speaking_model):
    ouvert("run", speaking_model(), "Hi", "--receipts", "contents", "--temperature", 0, "--seed", 1)
    assert "--model" in ouvert("receipt", "replay")[1]  # the receipt has the folder's name, not its place
    status, facts = ouvert("receipt", "replay", "--json", "--seed", 2, "--model", speaking_model())
    assert (status, facts["agrees"]) == (0, True)
    assert "made no difference" in facts["verdict"]
    assert [change["field"] for change in facts["changes"]] == ["sampling.seed"]


def test_where_only_digests_were_kept_the_owner_gives_the_conversation(ouvert, real, tmp_path):
    ask(ouvert, real, kept="on")
    status, said = ouvert("receipt", "replay")
    assert status == 1
    assert "--conversation FILE" in said
    talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "and what came later"}]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": [*talk, {"role": "user", "content": "And?"}]}))
    status, facts = ouvert("receipt", "replay", "--json", "--conversation", tmp_path / "talk.json")
    assert (status, facts["agrees"], facts["prompt_agrees"]) == (0, True, True)
    (tmp_path / "talk.json").write_text(json.dumps({"messages": [{"role": "user", "content": "Something else?"}]}))
    status, said = ouvert("receipt", "replay", "--conversation", tmp_path / "talk.json")
    assert status == 1
    assert "Already the prompt is not the same. It was another conversation" in said


def test_the_prompts_tokens_do_as_well(ouvert, real, tmp_path):
    status, answer = ouvert(
        *("run", real, QUESTION, "--json", "--temperature", 0.9, "--seed", 3, "--max-tokens", 12, "--receipts", "on")
    )
    for content in (answer, answer["tokens"], answer["tokens"]["prompt"]):
        (tmp_path / "tokens.json").write_text(json.dumps(content))
        status, facts = ouvert("receipt", "replay", "--json", "--tokens", tmp_path / "tokens.json")
        assert (status, facts["agrees"], facts["prompt_agrees"], facts["changes"]) == (0, True, True, [])
    (tmp_path / "tokens.json").write_text(json.dumps(answer))
    status, facts = ouvert("receipt", "replay", "--json", "--tokens", tmp_path / "tokens.json", "--seed", 4)
    assert [change["field"] for change in facts["changes"]] == ["sampling.seed"]
    assert (status, facts["was"]) == (1, answer["tokens"]["output"][facts["differs_at"]])
    answer["tokens"]["prompt"][-1] += 1
    (tmp_path / "tokens.json").write_text(json.dumps(answer))
    status, said = ouvert("receipt", "replay", "--tokens", tmp_path / "tokens.json")
    assert (status, "Already the prompt is not the same" in said) == (1, True)


@pytest.mark.parametrize("content", ["{", "[1, -1]", '["a"]', '{"prompt": [1], "output": [1000000]}', "{}"])
def test_what_are_no_tokens_is_refused(ouvert, speaking_model, tmp_path, content):
    ouvert("run", speaking_model(), "Hi")
    (tmp_path / "tokens.json").write_text(content)
    words = ("--tokens", tmp_path / "tokens.json", "--model", speaking_model())
    status, said = ouvert("receipt", "replay", *words)
    assert status == 1
    assert "token ids" in said


def test_what_an_answer_was_held_to_takes_the_conversation(ouvert, real, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {}}))
    ask(ouvert, real, "--schema", tmp_path / "schema.json", kept="on")
    (tmp_path / "tokens.json").write_text("[1]")
    status, said = ouvert("receipt", "replay", "--tokens", tmp_path / "tokens.json")
    assert (status, "held to answer, which takes the conversation" in said) == (1, True)


@pytest.mark.parametrize("kept", ["contents", "on"])
def test_a_continued_text_leaves_a_receipt_and_is_replayed(ouvert, real, tmp_path, kept):
    words = ("--raw", "--json", "--temperature", 0.9, "--seed", 3, "--max-tokens", 12, "--receipts", kept)
    status, answer = ouvert("run", real, "Once upon a time", *words)
    receipt = answer["receipt"]
    assert (receipt["model"]["format"], receipt["messages"]) == ("none", [])
    assert "template_digest" not in receipt["model"]
    assert receipt["tokens"]["output"] == len(answer["tokens"]["output"]) == 12
    assert open_ledger().find("last").receipt == receipt
    given = ()
    if kept == "on":
        status, said = ouvert("receipt", "replay")
        assert (status, "--tokens FILE" in said) == (1, True)
        (tmp_path / "answer.json").write_text(json.dumps(answer))
        given = ("--tokens", tmp_path / "answer.json")
    status, facts = ouvert("receipt", "replay", "--json", *given)
    assert (status, facts["agrees"], facts["tokens"], facts["changes"]) == (0, True, 12, [])
    status, facts = ouvert("receipt", "replay", "--json", "--seed", 4, *given)
    assert (status, [change["field"] for change in facts["changes"]]) == (1, ["sampling.seed"])
    assert facts["differs_at"] is not None
    status, facts = ouvert("receipt", "verify", "last", "--json")
    assert (status, set(facts["receipt"]["fields"].values())) == (0, {True})
    (tmp_path / "talk.json").write_text('{"messages": []}')
    status, said = ouvert("receipt", "replay", "--conversation", tmp_path / "talk.json")
    assert (status, "of a text that was continued" in said) == (1, True)


def test_a_continued_text_that_was_held_to_a_schema_needs_it_again(ouvert, real, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}}))
    schema = ("--schema", tmp_path / "schema.json")
    settings = ("--raw", "--json", "--max-tokens", 30, "--temperature", 1, *schema)
    _, answer = ouvert("run", real, "A JSON object:", *settings)
    assert answer["receipt"]["asked"]["answer"]["grammar"] == "json schema"
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    words = ("receipt", "replay", "--tokens", tmp_path / "answer.json")
    assert "Give the very schema again" in ouvert(*words)[1]
    assert ouvert(*words, *schema)[1].startswith("The same ")


@pytest.mark.parametrize("raw", [(), ("--raw",)])
def test_the_best_of_several_is_shown_and_every_receipt_says_of_how_many(ouvert, real, raw):
    words = ("--best-of", 4, "--temperature", 1.2, "--seed", 3, "--max-tokens", 12, "--receipts", "contents", *raw)
    status, answer = ouvert("run", real, QUESTION, "--json", *words)
    assert status == 0
    receipts = [entry.receipt for entry in open_ledger().entries()]
    assert sorted((each["asked"]["candidate"], each["sampling"]["seed"]) for each in receipts) == [
        (0, 3),
        (1, 4),
        (2, 5),
        (3, 6),
    ]
    assert {each["asked"]["best_of"] for each in receipts} == {4}
    best = max(receipts, key=lambda each: each["tokens"]["mean_logprob"])
    assert answer["receipt"] == best
    means = [each["mean_logprob"] for each in answer["candidates"]]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) == 4
    assert means[0] == pytest.approx(best["tokens"]["mean_logprob"], abs=1e-6)
    # The prompt is computed once: each of the others computes its last token anew.
    prompt = best["tokens"]["prompt"]
    assert sorted(prompt - each["tokens"]["reused"] for each in receipts) == [1, 1, 1, prompt]
    status, facts = ouvert("receipt", "replay", "--json")
    assert (status, facts["agrees"], facts["changes"]) == (0, True, [])
    shown = ouvert("run", real, QUESTION, *words)[1]
    assert answer["text"].strip() in shown
    assert "the likeliest of 4" in shown


def test_a_schema_is_needed_again_and_must_be_the_same(ouvert, real, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}}))
    (tmp_path / "talk.json").write_text(json.dumps({"messages": [{"role": "user", "content": QUESTION}]}))
    ask(ouvert, real, "--schema", tmp_path / "schema.json", kept="on")
    words = ("receipt", "replay", "--conversation", tmp_path / "talk.json")
    status, said = ouvert(*words)
    assert status == 1
    assert "Give the very schema again" in said
    status, said = ouvert(*words, "--schema", tmp_path / "schema.json")
    assert (status, said[:9]) == (0, "The same ")


def test_verify_names_the_place_of_a_broken_chain(ouvert, speaking_model):
    for _ in range(3):
        ouvert("run", speaking_model(), "Hi")
    status, said = ouvert("receipt", "verify")
    assert (status, "3 receipts, the chain is whole" in said) == (0, True)
    path = open_ledger().path
    path.write_bytes(path.read_bytes().replace(b'"stop"', b'"halt"', 1))
    status, said = ouvert("receipt", "verify")
    assert (status, "THE CHAIN IS BROKEN" in said, "line 2:" in said) == (1, True, True)
    assert "CHAIN BROKEN" in ouvert("receipt", "list")[1]


def test_list_and_show_tell_what_was_kept(ouvert, speaking_model):
    assert ouvert("receipt", "list", "--json") == (0, [])
    assert "No receipt is kept on this machine yet." in ouvert("receipt", "list")[1]
    ouvert("run", speaking_model(), "Hi")
    ouvert("run", speaking_model(), "Hi", "--receipts", "contents")
    _, listed = ouvert("receipt", "list", "--json")
    assert [each["number"] for each in listed] == [1, 2]
    assert "not watched" in ouvert("receipt", "list", "-n", 1)[1]
    assert "contents" not in ouvert("receipt", "show", 1, "--json")[1]
    shown = ouvert("receipt", "show", listed[1]["digest"][:20], "--json")[1]
    assert shown["contents"]["conversation"]["messages"][0]["content"] == "Hi"
    assert complete_receipts("la") == ["last"]
    assert complete_receipts(listed[0]["digest"][7:13]) == [listed[0]["digest"][7:19]]
    status, said = ouvert("receipt", "show", 9)
    assert (status, "finding a receipt" in said) == (1, True)


def test_an_answer_that_was_stopped_is_replayed_as_far_as_it_went(speaking_model, tmp_path):
    ledger = Ledger(tmp_path, contents=True)
    endless = speaking_model({"\n": "again", "again": "again"})
    with library.load(endless, store=Store(tmp_path / "store"), receipts=ledger) as model:
        answer = model.chat("Hi")
        for n, _ in enumerate(answer):
            if n == 4:
                answer.cancel()
        entry = ledger.find("last")
        contents = ledger.contents(entry.digest)
        assert entry.receipt["ended"]["reason"] == "cancelled"
        replayed = model.replay(entry.receipt, contents)
    assert replayed.agrees
    assert replayed.changes == ()


@pytest.fixture
def editable(speaking_model, tmp_path):
    """A checkpoint of this test's own, and edit(**changes) of its config.json."""
    folder = tmp_path / "model"
    shutil.copytree(speaking_model(), folder)
    stated = json.loads((folder / "config.json").read_text())

    def edit(**changes):
        (folder / "config.json").write_text(json.dumps(stated | changes))

    return folder, edit


@pytest.mark.parametrize("change", [{"rope_theta": 9.0}, {"rms_norm_eps": 0.5}])
def test_another_config_json_is_another_model(ouvert, editable, change):
    folder, edit = editable
    _, before = ouvert("run", folder, "Hi", "--json", "--receipts", "contents")
    edit(**change)
    _, after = ouvert("run", folder, "Hi", "--json", "--receipts", "off")
    assert before["receipt"]["model"]["weights_digest"] == after["receipt"]["model"]["weights_digest"]
    assert before["receipt"]["model"]["configuration_digest"] != after["receipt"]["model"]["configuration_digest"]
    assert before["receipt"]["engine"]["identity_digest"] != after["receipt"]["engine"]["identity_digest"]
    status, facts = ouvert("receipt", "verify", "1", "--json", "--model", folder)
    assert (status, facts["receipt"]["fields"]["model.configuration_digest"]) == (1, False)
    _, facts = ouvert("receipt", "replay", "1", "--json", "--model", folder)
    assert [each["field"] for each in facts["changes"]] == ["model.configuration_digest"]
    edit()
    assert ouvert("receipt", "verify", "1", "--json", "--model", folder)[0] == 0


def test_other_advice_of_the_makers_stands_in_receipts(ouvert, editable):
    folder, _ = editable
    (folder / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 7, "do_sample": true}')
    _, answer = ouvert("run", folder, "Hi", "--json")
    assert {"temperature": 0.25, "top_k": 7}.items() <= answer["receipt"]["sampling"].items()


def written_as(version, receipt):
    """The receipt as that version wrote it, in the ledger alone."""
    later = {"configuration_digest", "packed_digest", "weights_checked", "end_ids"}
    later |= {"identity_digest", "arithmetic", "layout", "precision", "variant"}
    old = dict(receipt, receipt=version)
    for part in ("model", "engine"):
        old[part] = {name: value for name, value in receipt[part].items() if version > 2 or name not in later}
    ledger = open_ledger()
    contents = ledger.contents(ledger.find("last").digest)
    shutil.rmtree(ledger.folder)
    Ledger(ledger.folder, contents=True).append(old, lambda: contents)


def test_a_receipt_of_version_2_is_read_as_such(ouvert, editable):
    folder, _ = editable
    _, answer = ouvert("run", folder, "Hi", "--json", "--receipts", "contents")
    written_as(2, answer["receipt"])
    status, facts = ouvert("receipt", "verify", "1", "--json", "--model", folder)
    assert (status, set(facts["receipt"]["fields"].values())) == (0, {True})
    assert "model.configuration_digest" in facts["receipt"]["not_recorded"]
    assert (
        "a change would not show: model.configuration_digest" in ouvert("receipt", "verify", "1", "--model", folder)[1]
    )
    status, facts = ouvert("receipt", "replay", "1", "--json", "--model", folder)
    assert (status, facts["agrees"], facts["changes"]) == (0, True, [])


@pytest.mark.parametrize("version", [1, 4, "3", None])
def test_a_receipt_of_a_version_that_is_not_known_is_never_misread(ouvert, speaking_model, version):
    _, answer = ouvert("run", speaking_model(), "Hi", "--json", "--receipts", "contents")
    receipt = answer["receipt"] | {"receipt": version}
    ledger = open_ledger()
    shutil.rmtree(ledger.folder)
    Ledger(ledger.folder).append(receipt)
    for action in ("verify", "replay"):
        status, said = ouvert("receipt", action, "1", "--model", speaking_model())
        assert status == 1
        assert f"the receipt's version is {version!r}, expected 2 or 3" in said
    assert ouvert("receipt", "verify")[0] == 0  # the chain needs no version


LONG = "Please keep this to yourself: the swordfish is under the lighthouse, behind the third stone from the left. "


def test_what_was_said_can_be_forgotten_and_the_chain_stays_whole(ouvert, speaking_model, home):
    """One receipt's, or all of them; kept prompts go as well, since they hold it too."""
    for _ in range(3):
        ouvert("run", speaking_model(), LONG, "--receipts", "contents")
    contents = home / "receipts" / "contents"
    assert len(list(contents.iterdir())) == 3
    assert list((home / "prefixes").rglob("*.page"))
    (contents / "0000.partial").write_text(LONG)  # a process was killed here
    status, facts = ouvert("receipt", "forget", 2, "--json")
    assert (status, facts["forgotten"], facts["freed"] > 0) == (0, 1, True)
    assert not list((home / "prefixes").rglob("*.page"))
    assert "contents" not in ouvert("receipt", "show", 2, "--json")[1]
    assert "contents" in ouvert("receipt", "show", 3, "--json")[1]
    assert ouvert("receipt", "forget", "--all", "--json")[1]["forgotten"] == 2
    assert "Nothing was kept beside any receipt" in ouvert("receipt", "forget", "--all")[1]
    assert not list(contents.iterdir())
    status, facts = ouvert("receipt", "verify", "--json")
    assert (status, facts["receipts"], facts["whole"]) == (0, 3, True)


@pytest.mark.parametrize("words", [(), ("1", "--all")])
def test_what_to_forget_is_said_once(ouvert, speaking_model, words):
    ouvert("run", speaking_model(), "Hi", "--receipts", "contents")
    status, said = ouvert("receipt", "forget", *words)
    assert status == 1
    assert "expected one of them" in said


@pytest.mark.skipif(os.name != "posix", reason="FIFOs are POSIX's")
def test_a_ledger_that_is_no_file_is_not_opened(ouvert, speaking_model, home):
    """It would wait for ever. The answer is given all the same, and its receipt is said not to be kept."""
    (home / "receipts").mkdir(parents=True)
    os.mkfifo(home / "receipts" / "receipts.jsonl")
    status, said = ouvert("run", speaking_model(), "Hi")
    assert status == 0
    assert "Hello from a tiny model." in said
    assert "a FIFO stands where a file should" in said
    assert ouvert("receipt", "list")[0] == 1


def test_verify_compares_all_weights_and_says_what_is_damaged(ouvert, home, editable, monkeypatch):
    folder, _ = editable
    _, answer = ouvert("run", folder, "Hi", "--json")
    assert answer["receipt"]["model"]["weights_checked"] is True
    status, facts = ouvert("receipt", "verify", "1", "--json", "--model", folder)
    assert (status, facts["receipt"]["weights_checked"]) == (0, True)
    monkeypatch.setattr("ouvert.packed.kept.CHECKED_AT_ONCE", -1)  # as of a large file
    [packed] = home.glob("packed/*/*.safetensors")
    with open(packed, "r+b") as file:
        file.seek(packed.stat().st_size // 2)
        file.write(b"something else")
    status, facts = ouvert("receipt", "verify", "1", "--json", "--model", folder)
    assert (status, facts["receipt"]["weights_checked"]) == (1, False)
    assert "the weights are damaged" in facts["receipt"]["damage"]
    status, facts = ouvert("receipt", "verify", "1", "--json", "--model", folder)  # made again meanwhile
    assert (status, facts["receipt"]["weights_checked"]) == (0, True)


def test_the_example_in_the_documents_has_the_fields_that_receipts_have(ouvert, real):
    page = (Path(__file__).parents[3] / "docs/formats/receipt.md").read_text(encoding="utf-8")
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    _, answer = ouvert("run", real, "What is 2+2?", "--json", "--receipts", "off", "--max-tokens", 3)
    receipt = answer["receipt"]
    assert example["receipt"] == receipt["receipt"]
    for part in ("model", "engine", "tokens", "seconds"):
        assert example[part].keys() == receipt[part].keys()
    described = set(re.findall(r"`(\w+\.\w+)`", page))
    for part in ("model", "engine"):
        assert {f"{part}.{name}" for name in receipt[part]} <= described
