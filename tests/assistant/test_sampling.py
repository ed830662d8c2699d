"""What is used where nobody says how tokens are chosen."""

import json

import pytest

from ouvert.assistant import AssistantError
from ouvert.assistant.sampling import DEFAULT, DEFAULT_SMALL, SMALL, default_sampling, not_done
from ouvert.engine import Sampling


@pytest.fixture
def folder(tmp_path):
    def write(stated):
        content = stated if isinstance(stated, str) else json.dumps(stated)
        (tmp_path / "generation_config.json").write_text(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"temperature": 0.6, "top_p": 0.95, "do_sample": True}, Sampling(temperature=0.6, top_p=0.95)),
        ({"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05, "eos_token_id": [1, 2]},
         Sampling(temperature=0.6, top_k=20, repetition_penalty=1.05)),
        ({"do_sample": False, "temperature": 0.6}, Sampling(temperature=0)),
        ({"top_k": -1}, Sampling(top_k=0)),
        ({"eos_token_id": 2}, DEFAULT),
        ({"temperature": None}, DEFAULT),
    ],
)  # fmt: skip
def test_generation_config_is_followed(folder, stated, expected):
    assert default_sampling(folder(stated), {}, SMALL) == expected


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"temperature": -1}, "temperature is -1, expected 0 or more"),
        ({"top_p": 1.5}, "top_p is 1.5, expected more than 0, at most 1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"top_k": -5}, r"top_k is -5, expected 0 \(keeps all\) to"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0, expected more than 0"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_advice_that_cannot_be_followed_is_told_with_its_file(folder, stated, message):
    with pytest.raises(AssistantError, match=rf"generation_config\.json.*{message}"):
        default_sampling(folder(stated), {}, SMALL)


def test_advice_that_is_not_done_here_is_said(folder):
    stated = {"suppress_tokens": [5], "num_beams": 4, "typical_p": 1.0, "bad_words_ids": None, "min_length": 0}
    assert "ask for num_beams, suppress_tokens, which" in (not_done(folder(stated), {}) or "")
    assert not_done(folder({"do_sample": True, "max_length": 20, "typical_p": 1.0}), {}) is None
    assert "general.sampling.mirostat" in (not_done(None, {"general.sampling.mirostat": 2}) or "")
    assert not_done(None, {"general.sampling.temp": 0.5}) is None


def test_gguf_metadata_are_followed():
    metadata = {"general.sampling.temp": 0.5, "general.sampling.top_k": 40, "general.sampling.min_p": 0.05}
    assert default_sampling(None, metadata, SMALL) == Sampling(temperature=0.5, top_k=40, min_p=0.05)


def test_without_advice_small_models_are_greedy_and_others_lively(tmp_path):
    assert default_sampling(None, {}, SMALL - 1) == DEFAULT_SMALL == Sampling(temperature=0, repetition_guard=256)
    assert default_sampling(tmp_path, {}, SMALL) == DEFAULT == Sampling(temperature=0.7, top_p=0.95)


@pytest.mark.parametrize("stated", ["{", "[]", {"temperature": "warm"}, {"top_k": True}])
def test_advice_that_cannot_be_read_is_refused(folder, stated):
    with pytest.raises(AssistantError, match=r"generation_config\.json"):
        default_sampling(folder(stated), {}, 1)
