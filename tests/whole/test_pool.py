"""`ouvert serve MODEL --pool FILE` over engines in processes of their own, one of which is killed as it writes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import httpx
import pytest

import ouvert
from ouvert import load
from ouvert.serving import Keys

spec = importlib.util.spec_from_file_location("pool_clients", Path(__file__).parents[1] / "pool_clients.py")
assert spec is not None
assert spec.loader is not None
pool_clients = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pool_clients)
RUN, Process, asked, at_once, stream = (
    getattr(pool_clients, name) for name in ("RUN", "Process", "asked", "at_once", "stream")
)

STREAMS = 50


@pytest.fixture
def run(tmp_path):
    """run(home, *words) -> Process; all are killed at the end."""
    running = []

    def run(home, *words):
        running.append(Process(tmp_path / home, *words))
        return running[-1]

    yield run
    for process in running:
        process.kill()


def pool_file(path, members, **pool):
    lines = ["[pool]", *(f"{name} = {json.dumps(value)}" for name, value in pool.items())]
    for name, member in members.items():
        url = member if isinstance(member, str) else member.base
        lines += ["[[member]]", f'name = "{name}"', f'url = "{url}"']
    path.write_text("\n".join(lines))
    return path


def load_of(process):
    with urllib.request.urlopen(f"{process.base}/inference/v1/facts", timeout=30) as answer:
        return json.load(answer)["load"]


def killed_at_work(answers, member, face):
    """Waits until `member` writes so many answers at the same time, and kills it."""
    while load_of(member)["running"] < answers:
        assert face.process.poll() is None
    os.kill(member.process.pid, signal.SIGKILL)


def test_one_of_three_engines_is_killed_in_the_middle_of_fifty_streams_and_no_client_notices(
    run, tiny_gpt_oss, tmp_path
):
    tokens = 500
    members = {name: run(name, tiny_gpt_oss, "--engine-only", "--threads", "1") for name in "abc"}
    face = run("face", tiny_gpt_oss, "--pool", pool_file(tmp_path / "pool.toml", members, rest="60s", failures=1))

    # What a member has written beyond its readers is read even after it was killed.
    thread = threading.Thread(target=killed_at_work, args=(8, members["b"], face))
    thread.start()
    disturbed = at_once(STREAMS, lambda seed: stream(face.base, seed, tokens))
    thread.join()
    resumed = [receipt["pool"] for _, _, receipt in disturbed if len(receipt["pool"]["members"]) > 1]
    assert len(resumed) > 3
    for pool in resumed:
        first, second = pool["members"]
        assert first["member"] == "b"
        assert second["member"] in "ac"
        assert 0 < second["start"] == pool["resumed_at"][0] < tokens
        assert "resumed_on_other_engine" not in pool
    with load(tiny_gpt_oss, receipts=False, prefixes=False, threads=1) as model:

        def here(seed):
            said = asked(seed, tokens)
            settings = {name: said[name] for name in ("seed", "temperature", "frequency_penalty", "max_tokens")}
            *deltas, finished = model.chat(said["messages"], **settings)
            return "".join(each.text for each in deltas), finished

        undisturbed = at_once(STREAMS, here)
    for (text, reason, receipt), (expected, finished) in zip(disturbed, undisturbed, strict=True):
        assert (text, reason) == (expected, finished.reason)
        assert receipt["tokens"]["output_digest"] == finished.receipt["tokens"]["output_digest"]
        assert receipt["engine"]["identity_digest"] == finished.receipt["engine"]["identity_digest"]
        assert receipt["connections"]["denied"] == 0
    with urllib.request.urlopen(f"{face.base}/health", timeout=30) as answer:
        states = {each["name"]: each["state"] for each in json.load(answer)["pool"]}
    assert states == {"a": "in", "b": "out", "c": "in"}
    with urllib.request.urlopen(f"{face.base}/metrics", timeout=30) as answer:
        numbers = answer.read().decode()
    assert 'ouvert_pool_member_in{member="b",model="tiny"} 0.0' in numbers
    assert 'ouvert_pool_member_in{member="a",model="tiny"} 1.0' in numbers


def test_a_batch_at_the_face_is_answered_by_the_members_also_when_one_of_them_is_killed(run, tiny_gpt_oss, tmp_path):
    requests = tmp_path / "questions.jsonl"
    with requests.open("w") as file:
        for n in range(40):
            body = {**asked(n, 120), "model": tiny_gpt_oss.name}
            del body["stream"]
            line = {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    members = {name: run(name, tiny_gpt_oss, "--engine-only", "--threads", "1") for name in "ab"}
    face = run("face", tiny_gpt_oss, "--pool", pool_file(tmp_path / "pool.toml", members, rest="60s", failures=1))
    with httpx.Client(base_url=face.base, timeout=60) as client:
        file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": requests.read_bytes()}).json()
        order = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = client.post("/v1/batches", json=order).json()
        killed_at_work(4, members["b"], face)
        while batch["status"] in ("validating", "in_progress", "finalizing"):
            batch = client.get(f"/v1/batches/{batch['id']}").json()
        assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 40, "completed": 40, "failed": 0})
        answers = [*map(json.loads, client.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines())]
    bodies = {answer["custom_id"]: answer["response"]["body"] for answer in answers}
    pools = [body["ouvert"]["receipt"]["pool"] for body in bodies.values()]
    assert any(pool["members"][0]["member"] == "a" for pool in pools)
    assert any([each["member"] for each in pool["members"]] == ["b", "a"] for pool in pools)
    store = ouvert.store.Store(tmp_path / "here")
    here = ouvert.batch(requests, str(tiny_gpt_oss), store=store, receipts=False, prefixes=False)
    undisturbed = {answer["custom_id"]: answer["response"]["body"] for answer in here.answers()}
    assert len(answers) == len(bodies) == len(undisturbed)
    for name, body in undisturbed.items():
        assert bodies[name]["choices"] == body["choices"]


def test_members_that_are_another_model_are_refused_and_the_pool_is_shown(run, tiny_gpt_oss, speaking_model, tmp_path):
    members = {
        "right": run("right", tiny_gpt_oss, "--engine-only"),
        "wrong": run("wrong", speaking_model(), "--engine-only"),
    }
    file = pool_file(tmp_path / "pool.toml", members)
    face = run("face", tiny_gpt_oss, "--pool", file)
    assert (face.base, face.process.wait(30)) == (None, 1)
    assert "member wrong: its tokenizer is" in "".join(face.lines)
    command = [sys.executable, "-c", RUN, "pool", str(file), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = json.loads(shown.stdout)
    assert shown.returncode == 1
    assert [(each["member"], each["state"]) for each in found["members"]] == [("right", "there"), ("wrong", "there")]
    assert not found["same_weights"]
    members["wrong"].kill()
    shown = subprocess.run(command[:-1], capture_output=True, text=True, timeout=60)
    assert "not there: reaching http://127.0.0.1" in shown.stdout


def test_a_server_that_is_no_engine_is_refused_with_what_to_start_there(run, tiny_gpt_oss, tmp_path):
    file = pool_file(tmp_path / "pool.toml", {"a": run("a", tiny_gpt_oss)})
    refused = run("face", tiny_gpt_oss, "--pool", file)
    assert (refused.base, refused.process.wait(30)) == (None, 1)
    assert "Start `ouvert serve MODEL --engine-only` there" in "".join(refused.lines)


def test_a_member_needs_its_key_and_a_pool_without_members_does_not_start(run, tiny_gpt_oss, tmp_path, monkeypatch):
    _, secret = Keys(tmp_path / "a" / "server").create("the pool")
    member = run("a", tiny_gpt_oss, "--engine-only")
    refused = run("face", tiny_gpt_oss, "--pool", pool_file(tmp_path / "pool.toml", {"a": member}))
    assert (refused.base, refused.process.wait(30)) == (None, 1)
    assert "This server needs a key" in "".join(refused.lines)
    (tmp_path / "a.key").write_text(secret)
    file = pool_file(tmp_path / "pool.toml", {"a": member})
    file.write_text(file.read_text() + '\nkey_file = "a.key"')
    monkeypatch.setenv("OUVERT_THREADS", "1")  # for what computes here
    monkeypatch.setenv("OUVERT_CACHE", "q8")
    typed = run("face", tiny_gpt_oss, "--pool", file, "--threads", "2")
    assert (typed.base, typed.process.wait(30)) == (None, 1)
    assert "threads=2, and another program computes this model" in "".join(typed.lines)
    face = run("face", tiny_gpt_oss, "--pool", file)
    _, reason, receipt = stream(face.base, 1, 12)
    assert reason in ("stop", "length")
    assert receipt["pool"]["members"][0]["member"] == "a"
    nobody = run("face", tiny_gpt_oss, "--pool", pool_file(tmp_path / "none.toml", {"a": "http://127.0.0.1:9"}))
    assert (nobody.base, nobody.process.wait(30)) == (None, 1)
    assert "none of its 1 members is there" in "".join(nobody.lines)
