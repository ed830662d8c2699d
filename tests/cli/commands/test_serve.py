"""`ouvert serve` as it is typed: the line when it is ready, an answer, and a stop that keeps its word."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import openai
import pytest

from ouvert.cli.commands.serve import about_keys, who_is_there
from ouvert.serving import Keys
from ouvert.store import Store

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
READY = re.compile(r"Ready at (http://127\.0\.0\.1:\d+) \((?:OpenAI|token ids): .*/v1.*\)\. Models: (tiny|endless)")


@pytest.fixture
def serve(tmp_path, speaking_model):
    """serve(*words) -> (process, base address once it is ready or None)."""
    started = []
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())

    def serve(*words, model=model):
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


@pytest.fixture
def endless(tmp_path, speaking_model):
    """A model that writes until it is stopped, in a context that lasts."""
    folder = tmp_path / "endless"
    shutil.copytree(speaking_model({"\n": "again", "again": "again"}), folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 200_000}))
    return folder


def ask(base, text="Hi", **headers):
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{base}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_where_there_is_no_model_it_says_how_to_get_one_and_serves_it_without_a_restart(tmp_path, speaking_model):
    command = [sys.executable, "-c", RUN, "serve", "--port", "0"]
    surroundings = {**os.environ, "OUVERT_HOME": str(tmp_path / "store")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=surroundings)
    with process, process.stderr:
        try:
            said = process.stderr.readline()
            assert "Models: none yet. `ouvert pull smollm2`" in said
            Store(tmp_path / "store").pull(str(speaking_model()), name="fetched")
            with urllib.request.urlopen(f"{said.split()[2]}/v1/models", timeout=20) as response:
                assert [each["id"] for each in json.load(response)["data"]] == ["fetched"]
        finally:
            process.kill()


def test_it_says_where_it_is_answers_and_stops_when_told(serve):
    process, base = serve()
    assert ask(base)["choices"][0]["message"]["content"] == "Hello from a tiny model."
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(("within", "ended"), [("60s", "length"), ("0.5s", "cancelled")])
def test_told_to_stop_it_finishes_what_it_writes_or_ends_and_keeps_it(serve, tmp_path, endless, within, ended):
    process, base = serve("--stop-within", within, model=endless)
    body = {"model": "endless", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    if ended == "length":
        body["max_tokens"] = 400
    request = urllib.request.Request(f"{base}/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        first = response.readline()
        process.send_signal(signal.SIGTERM)
        lines = [line for line in (first, *response) if line.startswith(b"data: ")]
    assert lines[-1] == b"data: [DONE]\n"
    last = json.loads(lines[-2].removeprefix(b"data: "))
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["ouvert"]["receipt"]["ended"]["reason"] == ended
    assert process.wait(60) == 0
    [kept] = (tmp_path / "store" / "receipts" / "receipts.jsonl").read_text().splitlines()
    receipt = json.loads(kept)
    assert receipt["ended"]["reason"] == ended
    assert (receipt["tokens"]["output"] == 400) == (ended == "length")


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


def test_an_engine_alone_takes_token_ids_and_no_conversations(serve):
    process, base = serve("--engine-only", "--keep", "0")
    asked = json.dumps({"token_ids": [10], "sampling_params": {"temperature": 0, "max_tokens": 2}}).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{base}/inference/v1/generate", asked, headers), timeout=30
    ) as answer:
        assert len(json.load(answer)["choices"][0]["token_ids"]) == 2
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(base)
    with urllib.request.urlopen(f"{base}/inference/v1/facts", timeout=30) as answer:
        assert json.load(answer)["model"] == "tiny"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_an_engine_alone_is_of_one_model_and_needs_a_key_at_a_wide_address(serve, tmp_path, capfd):
    process, base = serve(str(tmp_path / "tiny"), "--engine-only", str(tmp_path / "tiny"))
    assert (base, process.wait(20)) == (None, 1)
    process, base = serve("--engine-only", "--host", "0.0.0.0")
    assert (base, process.wait(20)) == (None, 1)


def test_a_wide_address_needs_a_key(serve):
    process, base = serve("--host", "0.0.0.0")
    assert base is None
    assert process.wait(20) == 1


def test_after_the_last_key_was_revoked_the_owner_is_told_how_to_come_in(serve, tmp_path):
    keys = Keys(tmp_path / "store" / "server")
    keys.revoke(keys.create("n8n")[0].id)
    process, _ = serve()
    assert "`ouvert key open` lets the programs of this machine in without one." in process.stderr.readline()
    (tmp_path / "store" / "server" / "keys.json").write_text("{")
    process, base = serve()
    assert (process.wait(20), base) == (1, None)


def test_where_a_connections_user_is_not_told_the_owner_is_told_of_a_key(monkeypatch, tmp_path):
    keys = Keys(tmp_path)
    assert list(about_keys(keys)) == []
    monkeypatch.setattr("ouvert.serving.peers.user_of_socket", lambda *_: None)
    [line] = about_keys(keys)
    assert "`ouvert key owner` makes yours" in line


def test_a_port_that_is_taken_is_said(serve, capfd):
    _, base = serve()
    process, _ = serve("--port", base.rpartition(":")[2])
    assert process.wait(20) == 1


def test_a_port_that_another_user_took_is_said_to_be_theirs(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert who_is_there("127.0.0.1", port) == "Is a server running there already?"
        monkeypatch.setattr("ouvert.serving.this_user", lambda: os.geteuid() + 1)
        assert f"another user of this machine (number {os.geteuid()})" in who_is_there("127.0.0.1", port)
    assert who_is_there("127.0.0.1", port) == who_is_there("a name", port) == "Is a server running there already?"


def test_a_model_that_is_not_here_is_one_sentence_before_anything_is_bound(tmp_path):
    environment = {**os.environ, "OUVERT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    for words in (["not-here"], ["--install-service", "not-here"]):
        ran = subprocess.run(
            [sys.executable, "-c", RUN, "serve", "--port", "0", *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )
        assert ran.returncode == 1
        assert ran.stdout == ""
        assert ran.stderr.startswith("ouvert: there is no model called 'not-here'")
        assert len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize(
    ("stuck", "status"),
    [("time.sleep(60)", 0), ("re.match('(a+)+$', 'a' * 40 + 'b')", 1)],
    ids=["another thread", "a call that gives no other thread a turn"],
)
def test_a_server_that_stops_ends_whatever_a_thread_still_does(stuck, status):
    program = (
        "import re, threading, time\nfrom ouvert.cli.commands.serve import leave_within\nleave_within(0.1)\n"
        f"threading.Thread(target=lambda: {stuck}).start()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == status


def test_a_model_that_cannot_be_loaded_ends_it_with_what_is_wrong(tmp_path, speaking_model):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF but no more")
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "serve", str(speaking_model()), str(damaged), "--port", "0", "--threads", "1"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        env={**os.environ, "OUVERT_HOME": str(tmp_path / "store")},
    )
    assert ran.returncode == 1
    assert "damaged.gguf" in ran.stderr
    assert "Ready" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_batch_survives_a_killed_server(serve):
    process, base = serve()
    lines = "".join(
        json.dumps(
            {
                "custom_id": f"item-{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "tiny", "messages": [{"role": "user", "content": f"Hi {n}"}], "temperature": 2},
            }
        )
        + "\n"
        for n in range(80)
    )

    def sdk(base):
        return openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)

    def answered(client, batch):
        found = client.files.content(batch.output_file_id).text.splitlines()
        return [(each["custom_id"], text_of(each)) for each in map(json.loads, found)]

    def text_of(each):
        return each["response"]["body"]["choices"][0]["message"]["content"]

    def over(client, batch, so=lambda batch: batch.status == "completed"):
        while not so(batch := client.batches.retrieve(batch.id)):
            threading.Event().wait(0.02)
        return batch

    with sdk(base) as client:
        file = client.files.create(file=("requests.jsonl", lines.encode()), purpose="batch")
        stated = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = client.batches.create(**stated)
        over(client, batch, lambda batch: batch.request_counts.completed >= 5)
        process.kill()
        process.wait()
    _, base = serve()
    with sdk(base) as client:
        batch = over(client, batch)
        assert batch.request_counts.completed == 80
        interrupted = answered(client, batch)
        assert [name for name, _ in interrupted] == [f"item-{n}" for n in range(80)]
        assert answered(client, over(client, client.batches.create(**stated))) == interrupted
