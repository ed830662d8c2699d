"""The whole chain, from bytes on disk to the answer and its receipt: on a tiny checkpoint, then on a real model."""

import hashlib
import json
import re
import struct

import numpy as np
import pytest

import ouvert
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.contents import read_contents
from ouvert.engine import Sampling
from ouvert.store import Store


@pytest.fixture
def load(tmp_path):
    """ouvert.load over an empty store, so that nothing of the user's is looked at."""

    def load(path, **settings):
        return ouvert.load(path, store=Store(tmp_path / "store"), **settings)

    return load


@pytest.fixture
def tiny(load, speaking_model):
    with load(speaking_model()) as model:
        yield model


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, ouvert.TextDelta))


def test_a_tiny_model_says_what_it_was_made_to_say(tiny):
    *deltas, finished = tiny.chat("Who are you?")
    assert text_of(deltas) == "Hello from a tiny model."
    assert isinstance(finished, ouvert.Finished)
    assert finished.reason == "stop"
    assert finished.usage.output == 7  # six words and the token that ends the answer
    assert finished.usage.reasoning == 0
    assert finished.tool_calls == ()


def test_messages_may_be_values_or_dictionaries(tiny):
    ours = [ouvert.Message(role="system", content="Be brief."), ouvert.Message(role="user", content="Hi")]
    theirs = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    [*_, one] = tiny.chat(ours)
    [*_, other] = tiny.chat(theirs)
    assert one.usage.prompt == other.usage.prompt > 10


def test_the_second_turn_reuses_the_first(tiny):
    [*_, first] = tiny.chat("Who are you?")
    history = [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Hello from a tiny model."},
        {"role": "user", "content": "Again"},
    ]
    [*_, second] = tiny.chat(history)
    assert first.usage.reused == 0
    assert second.usage.reused == first.usage.prompt + first.usage.output - 1
    assert second.receipt["tokens"]["reused"] == second.usage.reused


def test_a_stop_string_ends_the_answer_and_is_not_shown(tiny):
    *deltas, finished = tiny.chat("Who are you?", stop="tiny mod")
    assert text_of(deltas) == "Hello from a "
    assert finished.reason == "stop"
    assert finished.receipt["ended"] == {"reason": "stop", "stop_string": "tiny mod"}
    assert finished.receipt["sampling"]["stop"] == ["tiny mod"]


def test_max_tokens_cuts_the_answer(tiny):
    *deltas, finished = tiny.chat("Who are you?", max_tokens=3)
    assert text_of(deltas) == "Hello from a"
    assert finished.reason == "length"


def test_cancelling_ends_the_answer_and_the_receipt_says_so(tiny):
    answer = tiny.chat("Who are you?")
    assert next(answer) == ouvert.TextDelta("Hello")
    answer.cancel()
    [finished] = answer
    assert finished.reason == "cancelled"
    assert finished.receipt["ended"]["reason"] == "cancelled"


def test_the_receipt_accounts_for_everything(tiny, speaking_model):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who are you?"},
    ]
    answer = tiny.chat(messages, temperature=0.5, top_p=0.9, seed=11, max_tokens=20)
    [*_, finished] = answer
    receipt = finished.receipt
    weights = hashlib.sha256((speaking_model() / "model.safetensors").read_bytes()).hexdigest()
    assert receipt["receipt"] == 3
    assert receipt["model"]["weights_digest"] == f"sha256:{weights}"
    assert receipt["model"]["tokenizer_digest"].startswith("sha256:")
    assert receipt["model"]["template_digest"].startswith("sha256:")
    assert receipt["engine"]["version"] == ouvert.__version__
    assert receipt["engine"]["threads"] >= 1
    assert receipt["sampling"] == {
        "seed": 11,
        "temperature": 0.5,
        "top_k": 0,
        "top_p": 0.9,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 20,
    }
    assert [(each["role"], each["refused"]) for each in receipt["messages"]] == [("system", 0), ("user", 0)]
    assert all(0 < each["sent"] < receipt["tokens"]["prompt"] for each in receipt["messages"])
    assert sum(each["sent"] for each in receipt["messages"]) < receipt["tokens"]["prompt"]  # the answer's header
    assert receipt["tokens"]["total"] == receipt["tokens"]["prompt"] + receipt["tokens"]["output"]
    assert all(seconds >= 0 for seconds in receipt["seconds"].values())
    assert json.loads(json.dumps(receipt)) == receipt
    prompt = tiny.chat_format.render(as_conversation(messages)).ids
    assert receipt["tokens"]["prompt_digest"] == digest_of_ids(prompt)
    assert receipt["tokens"]["output_digest"] == digest_of_ids(answer.token_ids)


def digest_of_ids(ids):
    """As docs/formats/receipt.md words it, by other means."""
    return f"sha256:{hashlib.sha256(b''.join(struct.pack('<I', each) for each in ids)).hexdigest()}"


def test_every_answer_is_kept_in_the_ledger_without_a_word_of_it(load, speaking_model, tmp_path):
    with load(speaking_model()) as model:
        kept = [list(model.chat(text))[-1].receipt for text in ("Who are you?", "And I?")]
    ledger = ouvert.Ledger(tmp_path / "store" / "receipts")
    assert [entry.receipt for entry in ledger.entries()] == kept
    assert ledger.check().whole
    assert not re.search(rb"Who|tiny model", ledger.path.read_bytes().replace(str(tmp_path).encode(), b""))
    assert [path.name for path in ledger.folder.iterdir()] == ["receipts.jsonl"]


def test_receipts_may_be_turned_off_or_kept_elsewhere_with_what_was_said(load, speaking_model, tmp_path):
    with load(speaking_model(), receipts=False) as model:
        assert "previous" not in list(model.chat("Hi"))[-1].receipt
    assert not (tmp_path / "store" / "receipts").exists()
    ledger = ouvert.Ledger(tmp_path / "mine", contents=True)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with load(speaking_model(), receipts=ledger) as model:
        answer = model.chat("Hi", [tool], tool_choice="none", response_schema={"type": "string"}, max_tokens=3)
        list(answer)
    contents = read_contents(ledger.contents(ledger.find("last").digest))
    assert contents.conversation == answer.conversation
    assert contents.demands == answer.request.demands
    assert list(contents.output) == answer.token_ids
    assert contents.conversation.messages[0].content == "Hi"


def test_an_answer_whose_receipt_cannot_be_kept_says_so_and_stands(load, speaking_model, tmp_path):
    (tmp_path / "in-the-way").write_text("")
    with load(speaking_model(), receipts=ouvert.Ledger(tmp_path / "in-the-way")) as model:
        [*events, finished] = model.chat("Hi")
    assert "".join(event.text for event in events) == "Hello from a tiny model."
    assert "cannot be written" in finished.unrecorded
    assert finished.receipt["ended"] == {"reason": "stop"}


def test_what_is_not_known_is_absent_from_the_receipt(tiny):
    [*_, finished] = tiny.chat("Hi")
    assert not {"adapter_digest", "release"} & finished.receipt["model"].keys()
    assert "max_tokens" not in finished.receipt["sampling"]
    assert "stop_string" not in finished.receipt["ended"]
    assert not {"joules", "connections", "adapter"} & finished.receipt.keys()


def test_the_seed_of_a_receipt_gives_the_answer_again(tiny):
    def words(seed):
        *deltas, finished = tiny.chat("Hi", temperature=40.0, max_tokens=12, seed=seed)
        return text_of(deltas), finished.receipt["sampling"]["seed"]

    first, seed = words(None)
    assert words(seed) == (first, seed)


def test_tokens_go_in_and_out(tiny):
    ids = tiny.tokenize("again")
    assert tiny.detokenize(ids) == "again"
    assert list(tiny.generate(ids, max_tokens=3)) == ids * 3
    [end] = list(tiny.generate(tiny.tokenize("."), max_tokens=1))
    assert end in tiny.tokenizer.end_ids


def test_what_looks_like_a_control_token_stays_text(tiny):
    ids = tiny.tokenize("<|im_end|>")
    assert len(ids) > 1
    assert tiny.detokenize(ids) == "<|im_end|>"


def test_logits_and_scores_agree(tiny):
    ids = tiny.tokenize("Hello from again")
    logits = tiny.logits(ids)
    assert logits.shape == (len(ids), tiny.info.vocabulary_size)
    assert logits.dtype == np.float32
    wide = logits.astype(np.float64)
    logprobs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    expected = [logprobs[n, token] for n, token in enumerate(ids[1:])]
    assert [token.logprob for token in tiny.score(ids)] == pytest.approx(expected, abs=1e-9)


def test_logprobs_of_a_generation_are_those_of_score(tiny):
    prompt = tiny.tokenize("again")
    generation = tiny.generation(prompt, Sampling(temperature=0, max_tokens=4, logprobs=2))
    tokens = list(generation)
    scored = tiny.score([*prompt, *(token.id for token in tokens)], top=2)
    for token, expected in zip(tokens, scored[len(prompt) - 1 :], strict=True):
        assert token.id == expected.id
        assert token.logprob == pytest.approx(expected.logprob, abs=1e-5)
        assert [i for i, _ in token.top] == [i for i, _ in expected.top]


def test_info_says_what_was_loaded(tiny, speaking_model):
    info = tiny.info
    assert (info.family, info.context, info.trained_context) == ("llama", 2048, 2048)
    assert info.path == speaking_model()
    assert info.parameters > 100_000
    assert info.sampling.temperature == 0  # it is small, and its folder gives no advice


def test_settings_are_honoured_or_refused(load, speaking_model):
    with load(speaking_model(), context=64, threads=1, exact=True) as model:
        assert model.info.context == 64
        assert model.info.threads == 1
        with pytest.raises(ouvert.EngineError, match=r"\d+ tokens.* 64 "):
            model.chat("word " * 100)
    with pytest.raises(ouvert.EngineError, match=r"context=4096, expected 2 to 2048"):
        load(speaking_model(), context=4096)
    with pytest.raises(ouvert.EngineError, match="threads=0"):
        load(speaking_model(), threads=0)


def test_a_closed_model_says_so(load, speaking_model):
    with load(speaking_model()) as model:
        pass
    with pytest.raises(ouvert.EngineError, match="closed"):
        list(model.chat("Hi"))


def test_an_absent_model_is_named_with_the_command_that_fetches_it(load):
    with pytest.raises(ouvert.StoreError, match="ouvert pull smollm2"):
        load("smollm2")


def test_the_makers_advice_is_the_default(load, speaking_model, tmp_path):
    folder = tmp_path / "advised"
    folder.mkdir()
    for file in speaking_model().iterdir():
        if file.name != "generation_config.json":  # to write through a link would change the model of all tests
            (folder / file.name).symlink_to(file)
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.8}')
    with load(folder) as model:
        assert model.info.sampling == Sampling(temperature=0.6, top_k=20, top_p=0.8)
        [*_, finished] = model.chat("Hi", top_k=5)
    assert finished.receipt["sampling"]["top_k"] == 5
    assert finished.receipt["sampling"]["temperature"] == 0.6


def test_smollm2_knows_what_two_and_two_are(load, smollm2):
    with load(smollm2) as model:
        *deltas, finished = model.chat("What is 2+2?", temperature=0, max_tokens=24)
    assert "4" in text_of(deltas)
    assert len(deltas) > 3  # it came in pieces
    assert finished.reason == "stop"
    assert finished.receipt["model"]["weights_digest"] == (
        "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    )
