"""`ouvert bench`: the keys, the shapes of the runs, and files without a tokenizer."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from ouvert.cli.commands.bench import Settings, measure, timed
from ouvert.engine import EngineError, Stopped, Token

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
KEYS = {
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "first_token_seconds",
    "load_seconds",
    "resident_bytes",
    "threads",
    "instruction_set",
}


@pytest.fixture
def bench(tmp_path):
    def bench(*words):
        command = [sys.executable, "-c", RUN, "bench", *map(str, words)]
        environment = {**os.environ, "OUVERT_HOME": str(tmp_path / "store")}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=60
        )

    return bench


def test_one_json_object_with_the_promised_keys(bench, speaking_model):
    ran = bench(
        speaking_model(), "--prompt", 40, "--generate", 5, "--threads", 1, "--repeat", 2, "--depth", 20, "--json"
    )
    facts = json.loads(ran.stdout)
    assert facts.keys() >= KEYS
    assert facts["threads"] == 1
    assert facts["prefill_tokens_per_second"] > 0
    assert facts["decode_tokens_per_second"] > 0
    assert facts["resident_bytes"] > 10**6
    assert len(facts["decode_tokens_per_second_each"]) == 2
    assert (facts["prompt"], facts["generate"], facts["depth"], facts["repeat"]) == (40, 5, 20, 2)


def test_a_precision_is_measured_and_said_with_the_bytes_that_compute(bench, speaking_model, tmp_path):
    def facts_of(*words):
        return json.loads(bench(*words, "--prompt", 8, "--generate", 2, "--repeat", 1, "--json").stdout)

    path = speaking_model()
    stored, eight, option = facts_of(path), facts_of(f"{path}@8"), facts_of(path, "--precision", "8")
    assert [each["precision"] for each in (stored, eight, option)] == ["stored", "8", "8"]
    assert eight["weights_bytes"] == option["weights_bytes"] < stored["weights_bytes"]
    assert eight["model"] == f"{stored['model']}@8"
    [packed] = (tmp_path / "store" / "packed").rglob("*-8bit-*.safetensors")
    assert 0 < packed.stat().st_size - eight["weights_bytes"] < 10_000  # names, digests, losses


def test_an_eight_bit_cache_is_measured_and_foretold_as_such(bench, speaking_model):
    ran = bench(speaking_model(), "--prompt", 8, "--generate", 2, "--repeat", 1, "--cache", "q8", "--json")
    facts = json.loads(ran.stdout)
    assert facts["cache_type"] == "q8"
    assert "forecast_decode_was_right" in facts
    refused = bench(speaking_model(), "--cache", "q4")
    assert (refused.returncode, "choose from" in refused.stderr) == (2, True)


def test_without_json_it_is_a_table(bench, speaking_model):
    ran = bench(speaking_model(), "--prompt", 8, "--generate", 2, "--repeat", 1)
    assert "prefill tokens per second" in ran.stdout
    assert ran.returncode == 0


def test_a_model_without_a_tokenizer_is_measured(bench, speaking_model, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(speaking_model() / name)
    ran = bench(folder, "--prompt", 8, "--generate", 2, "--repeat", 1, "--json")
    assert json.loads(ran.stdout).keys() >= KEYS


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["--prompt", "0"], "'0' is not a whole number of 1 or more", 2),
        (["--generate", "1"], "'1' is not a whole number of 2 or more", 2),
        (["--prompt", "3000"], "3000 tokens", 1),
        (["--depth", "2040", "--generate", "32", "--prompt", "8"], "need 2072, and this model holds 2048", 1),
    ],
)
def test_what_cannot_be_measured_is_said(bench, speaking_model, words, said, status):
    ran = bench(speaking_model(), *words)
    assert said in ran.stderr
    assert ran.returncode == status


class NotingEngine:
    """Remembers what it was asked for; its seconds are those of a clock that ticks once a token."""

    context, vocabulary_size = 1000, 50

    def __init__(self):
        self.asked = []

    def generate(self, ids, sampling, timeout=None):
        self.asked.append((list(ids), sampling.max_tokens))
        engine, tokens = self, min(sampling.max_tokens, self.context - len(ids))

        class Generation:
            def __iter__(self):
                return iter([Token(0)] * tokens)

            stopped = Stopped(
                reason="length",
                prompt_tokens=len(ids),
                reused_tokens=0,
                output_tokens=tokens,
                seed=0,
                seconds_queued=0.0,
                seconds_prefill=float(len(ids)),
                seconds_decode=float(tokens - 1) * len(engine.asked),
            )

        return Generation()


def test_it_warms_up_and_measures_prompt_and_answer_apart():
    engine = NotingEngine()
    runs = measure(engine, Settings(prompt=100, generate=10, depth=30, repeat=2))
    assert [(len(ids), tokens) for ids, tokens in engine.asked] == [(64, 4), (100, 1), (30, 10), (100, 1), (30, 10)]
    assert runs.prefill == runs.first_token == [100.0, 100.0]
    assert runs.decode == [9.0 * 3, 9.0 * 5]
    starts = [ids[0] for ids, _ in engine.asked]
    assert all(one != other for one, other in pairwise(starts))


def test_too_much_for_the_context_is_an_error():
    with pytest.raises(EngineError, match="need 1005, and this model holds 1000"):
        timed(NotingEngine(), [1] * 995, 10)
