"""`ouvert serve` as it is typed: the line when it is ready, an answer, and a stop that keeps its word."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
READY = re.compile(r"Ready at (http://127\.0\.0\.1:\d+) \(OpenAI: .*/v1\)\. Models: tiny")


@pytest.fixture
def serve(tmp_path, speaking_model):
    """serve(*words) -> (process, base address once it is ready or None)."""
    started = []
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())

    def serve(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "serve", str(model), "--port", "0", "--threads", "1", *words],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OUVERT_HOME": str(tmp_path / "store")},
        )
        started.append(process)
        for line in process.stderr:
            if found := READY.match(line):
                return process, found[1]
        return process, None

    yield serve
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(base, text="Hi", **headers):
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{base}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_it_says_where_it_is_answers_and_stops_when_told(serve):
    process, base = serve()
    assert ask(base)["choices"][0]["message"]["content"] == "Hello from a tiny model."
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_cache_of_eight_bits_takes_about_half_and_stands_in_the_receipt(serve, tmp_path):
    taken = {}
    for cache, words in (("f16", ()), ("q8", ("--cache", "q8"))):
        process, base = serve("--prefix-cache", "off", *words)
        assert ask(base, "Say it again. " * 40)["choices"][0]["message"]["content"] == "Hello from a tiny model."
        with urllib.request.urlopen(f"{base}/metrics", timeout=20) as response:
            [size] = re.findall(
                r'^ouvert_engine_cache_bytes{kind="all",model="tiny"} (\S+)', response.read().decode(), re.M
            )
        taken[cache] = float(size)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        *_, last = (tmp_path / "store" / "receipts" / "receipts.jsonl").read_text().splitlines()
        assert json.loads(last)["engine"]["cache_type"] == cache
    assert 0.4 < taken["q8"] / taken["f16"] < 0.7


def test_what_a_prompt_begins_with_outlives_the_server_where_its_owner_wants_it(serve, tmp_path):
    long = "Say it again. " * 40
    for place, reused in (("kept", False), ("kept", True), ("off", False)):
        where = place if place == "off" else str(tmp_path / place)
        process, base = serve("--prefix-cache", where)
        cached = ask(base, long)["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert (cached > 128) == reused, (place, cached)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert list((tmp_path / "kept").rglob("*.page"))
    assert not list((tmp_path / "store").rglob("*.page"))


def test_receipts_say_that_nothing_left_the_machine(serve, tmp_path):
    _, base = serve()
    connections = ask(base)["ouvert"]["receipt"]["connections"]
    assert connections["attempted"] == connections["allowed"] == 0
    assert list((tmp_path / "store" / "receipts").rglob("*")), "the ledger holds what was answered"


def test_a_wide_address_needs_a_key(serve):
    process, base = serve("--host", "0.0.0.0")
    assert base is None
    assert process.wait(20) == 1


def test_a_port_that_is_taken_is_said(serve, capfd):
    _, base = serve()
    process, _ = serve("--port", base.rpartition(":")[2])
    assert process.wait(20) == 1
