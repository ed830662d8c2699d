"""`ouvert fit`, as typed. The machine is given: what it can do is measured elsewhere, and changes with the hour."""

import json

import pytest

from ouvert.cli import main
from ouvert.engine import DiskSpeed, Machine, open_engine


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    known = Machine(memory=24_000_000_000, bandwidth=40e9, multiply_adds=400e9, threads=2)
    monkeypatch.setattr("ouvert.engine.measure_machine", lambda memory, threads: known)
    monkeypatch.setattr("ouvert.engine.measure_disk", lambda folder: DiskSpeed(1e9, True))
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path))


def test_every_short_name_is_in_the_table(capsys):
    from ouvert.store import aliases

    assert main(["fit"]) == 0
    said = capsys.readouterr().out
    assert "24.0 GB of memory, reads 40 GB/s" in said
    assert all(alias.name in said for alias in aliases())


def test_a_model_that_is_not_here_is_forecast_from_its_shape(capsys):
    assert main(["fit", "gpt-oss:20b", "--context", "32768", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert row["fits"]
    assert row["weight_bytes"] == pytest.approx(13.76e9, rel=0.01)
    assert row["cache_bytes"] == (12 * 32768 + 12 * 128) * 2 * 2 * 8 * 64
    low, high = row["decode_tokens_per_second"]
    assert 1 < low < high < 25


def test_a_short_name_says_what_it_takes_to_fetch_to_store_and_to_run(capsys):
    assert main(["fit", "qwen2.5-coder:1.5b", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert (row["form"], row["fetch_bytes"], row["store_bytes"]) == ("Q4_K_M", 1_117_320_768, 2_234_641_536)
    assert row["memory_bytes"] == 1_117_320_768 + 8192 * 28 * 2 * 2 * 2 * 128 + 300_000_000
    assert main(["fit", "qwen2.5-coder:1.5b"]) == 0
    said = capsys.readouterr().out
    assert "1.1 GB    2.2 GB" in said
    assert main(["fit", "llama3.2:1b", "--json"]) == 0
    four, eight = json.loads(capsys.readouterr().out)["models"]
    assert (four["form"], eight["form"]) == ("BF16 to 4 bits", "BF16 to 8 bits")
    assert four["fetch_bytes"] == eight["fetch_bytes"] == 2_470_000_000
    assert four["store_bytes"] == four["fetch_bytes"] + four["weight_bytes"]
    assert 4.5 < four["weight_bytes"] * 8 / 1.236e9 < 5.5
    assert eight["weight_bytes"] == pytest.approx(8.5 / 8 * 1.236e9, rel=0.01)


@pytest.mark.parametrize("words", [["llama3.2:1b@16"], ["llama3.2:1b", "--precision", "16"]])
def test_a_precision_that_is_asked_for_is_the_only_form(words, capsys):
    assert main(["fit", *words, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert row["form"] == "BF16 to 16 bits"
    assert row["weight_bytes"] == pytest.approx(2 * 1.236e9, rel=0.01)


def test_a_precision_of_a_model_that_is_published_quantised_is_said_not_to_be_forecast(capsys):
    assert main(["fit", "qwen3:8b@8", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["models"][0]["form"] == "Q4_K_M"
    assert said.err.startswith("qwen3:8b is published as Q4_K_M, and the forecast is for that. The precision 8 can be")


def test_an_eight_bit_cache_is_forecast_as_it_is_kept(smollm2, capsys):
    sizes = {}
    for cache in ("f16", "q8"):
        assert main(["fit", str(smollm2), "--context", "4096", "--cache", cache, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["cache_type"] == cache
        sizes[cache] = said["models"][0]["cache_bytes"]
    assert sizes["q8"] == sizes["f16"] * 37 // 64  # 8 bits, 32 for every 32 of them, and 32 for every 64 keys
    opened = open_engine(smollm2, cache_type="q8")
    assert opened.engine._loop.runner.cache_bytes(4096) == sizes["q8"]
    opened.engine.close()
    assert main(["fit", "gpt-oss:20b", "--context", "4096", "--cache", "q8", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert row["cache_bytes"] == (12 * 4096 + 12 * 128) * 8 * (2 * (64 + 8) + 4)


def test_a_file_is_forecast_from_its_own_tensors(smollm2, capsys):
    assert main(["fit", str(smollm2), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert row["form"] == "as it is here"
    assert row["weight_bytes"] == pytest.approx(96.6e6, rel=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["fit", "no-such-model"], "no-such-model"), (["fit", "--context", "0"], "--context is 0, expected 1 or more")],
)
def test_what_cannot_be_said_is_a_sentence(words, said, capsys):
    assert main(words) == 1
    assert said in capsys.readouterr().err


def test_a_mixture_larger_than_memory_is_forecast_with_its_experts_on_disk(monkeypatch, capsys):
    measured = []
    monkeypatch.setattr("ouvert.engine.measure_disk", lambda folder: measured.append(folder) or DiskSpeed(1e9, True))
    for name, memory in (("gpt-oss:120b", "8GB"), ("deepseek-r1", "24GB"), ("kimi-k2", "24GB")):
        assert main(["fit", name, "--memory", memory, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["machine"]["disk_read_bytes_per_second"] == 10**9
        seen = said["models"][-1]["from_disk"]
        assert seen["memory_bytes"] <= said["machine"]["allowed_bytes"]
        assert seen["hit_rate"] == pytest.approx(seen["experts_kept_bytes"] / seen["experts_bytes"])
        low, high = seen["decode_tokens_per_second"]
        assert low < high <= 1e9 / seen["read_bytes_per_token"] * 1.001
    assert main(["fit", "gpt-oss:120b", "--memory", "8GB", "--hit-rate", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "disk reads 1.00 GB/s" in said
    assert "90%" in said
    assert len(measured) == 4


def test_a_disk_is_measured_only_for_models_that_would_read_from_it(monkeypatch, capsys):
    monkeypatch.setattr("ouvert.engine.measure_disk", lambda folder: pytest.fail("the disk was measured"))
    for words in (["gpt-oss:20b"], ["llama3.3:70b"], ["gpt-oss:20b", "--memory", "20GB"]):
        assert main(["fit", *words, "--json"]) == 0
        assert all(each["from_disk"] is None for each in json.loads(capsys.readouterr().out)["models"])


@pytest.mark.parametrize("rate", ["1.5", "-0.1", "half"])
def test_a_hit_rate_is_a_share(rate, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "gpt-oss:120b", "--hit-rate", rate])
    assert "--hit-rate" in capsys.readouterr().err
