"""`ouvert serve MODEL --replicas N` over a real Ray Serve, whose processes and nodes are killed as they write. Only
`make test-cluster` runs this folder, in an environment of its own."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from ouvert import load

spec = importlib.util.spec_from_file_location("pool_clients", Path(__file__).parents[1] / "pool_clients.py")
assert spec is not None
assert spec.loader is not None
pool_clients = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pool_clients)
Process, asked, at_once, stream = (getattr(pool_clients, name) for name in ("Process", "asked", "at_once", "stream"))

# Answers so long that none is over when the last of the others begins.
STREAMS, TOKENS = 50, 100
MODEL = "small.gguf"
MOVED = 3  # answers at least, and one more, have to go on elsewhere
WITHIN = 120.0  # seconds in which a replica has to be back


@pytest.fixture
def model(smollm2, tmp_path):
    """SmolLM2, by the name MODEL."""
    (path := tmp_path / MODEL).symlink_to(smollm2)
    return path


@pytest.fixture
def serving(tmp_path):
    """serving(*words) -> Process; told to stop at the end, and looked at whether it left anything."""
    running = []

    def serve(*words):
        running.append(Process(tmp_path / "store", *words))
        return running[-1]

    yield serve
    for each in running:
        each.process.send_signal(signal.SIGTERM)
        assert each.process.wait(60) == 0
        each.kill()
        assert processes_of("ouvert.cli.replicas.driver") == []


def processes_of(words):
    """(id, words) of every process with these words in its command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in command:
            found.append((int(folder.name), command))
    return found


def replicas():
    return [number for number, command in processes_of("ray::ServeReplica:ouvert-")]


def members(base):
    with urllib.request.urlopen(f"{base}/health", timeout=30) as answer:
        return json.load(answer)["pool"]


def wait_until(is_so, what):
    until = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def undisturbed(model):
    with load(model, receipts=False, prefixes=False, threads=1) as loaded:

        def here(seed):
            said = asked(seed, TOKENS)
            settings = {name: said[name] for name in ("seed", "temperature", "frequency_penalty", "max_tokens")}
            *deltas, finished = loaded.chat(said["messages"], **settings)
            return "".join(each.text for each in deltas), finished

        return at_once(STREAMS, here)


def streams_while(base, disturb):
    """Fifty answers at once. When the last of them has begun, while some are still written at every replica, `disturb`
    is called."""
    begun = threading.Semaphore(0)
    writing = []

    def answer(seed):
        waiting = [begun.release]

        def has_begun():
            while waiting:
                waiting.pop()()

        try:
            return stream(base, seed, TOKENS, MODEL, has_begun)
        finally:
            has_begun()  # one that failed: whoever waits hears of it from the answers

    def disturber():
        for _ in range(STREAMS):
            begun.acquire()
        writing.extend(each["running"] for each in members(base))
        disturb()

    thread = threading.Thread(target=disturber)
    thread.start()
    found = at_once(STREAMS, answer)
    thread.join()
    for each in found:
        assert not isinstance(each, BaseException), each
    assert min(writing) > MOVED, f"{writing} answers were being written when the last began, of {TOKENS} tokens each"
    return found


def compare(found, expected):
    """Every answer is complete and the undisturbed one. The receipts' parts `pool` of those that went on elsewhere."""
    for got, (text, finished) in zip(found, expected, strict=True):
        assert got[:2] == (text, finished.reason)
        assert got[2]["tokens"]["output_digest"] == finished.receipt["tokens"]["output_digest"]
        assert got[2]["connections"]["denied"] == 0
        assert "resumed_on_other_engine" not in got[2]["pool"]
    return [receipt["pool"] for _, _, receipt in found if len(receipt["pool"]["members"]) > 1]


def test_a_replica_is_killed_in_the_middle_of_fifty_streams_and_comes_back(serving, model):
    server = serving(model, "--replicas", "2", "--threads", "1")
    before = replicas()
    assert len(before) == 2
    found = streams_while(server.base, lambda: os.kill(before[0], signal.SIGKILL))
    assert len(compare(found, undisturbed(model))) > MOVED
    wait_until(lambda: all(each["state"] == "in" for each in members(server.base)), "the killed one is in again")
    assert before[0] not in replicas()
    for seed in range(20):
        stream(server.base, 1000 + seed, 4, MODEL)
    assert all(each["answers"] for each in members(server.base))


def test_on_one_machine_all_that_listens_listens_to_it_alone_or_asks_for_the_token(serving, tiny_gpt_oss):
    import grpc

    server = serving(tiny_gpt_oss, "--replicas", "2", "--threads", "1")
    _, _, receipt = stream(server.base, 1, 12)
    assert receipt["connections"] == {"attempted": 0, "allowed": 0, "denied": 0}
    session = os.getsid(processes_of("ouvert.cli.replicas.driver")[0][0])
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    beyond = set()
    for line in listening:
        address = line.split()[3]
        numbers = [int(each) for each in re.findall(r"pid=(\d+)", line)]
        if any(os.getsid(each) == session for each in numbers) and "127.0.0.1" not in address:
            assert set(numbers) <= set(replicas()), line  # Serve's own, one for each replica: no setting moves it
            beyond.add(int(address.rpartition(":")[2]))
    assert len(beyond) == 2
    for port in beyond:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_when_the_process_that_speaks_to_ray_is_killed_all_replicas_come_back(serving, tiny_gpt_oss):
    server = serving(tiny_gpt_oss, "--replicas", "2", "--threads", "1")
    expected = stream(server.base, 5, 40)
    before = replicas()
    os.kill(processes_of("ouvert.cli.replicas.driver")[0][0], signal.SIGKILL)
    wait_until(lambda: not set(before) & set(replicas()), "the old ones are gone")
    again = stream(server.base, 5, 40)  # waits until one is there
    assert again[:2] == expected[:2]
    assert "The replicas are lost" in "".join(server.lines)


def test_a_node_of_two_is_removed_in_the_middle_of_fifty_streams(serving, model, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else 127.0.0.1 is another address to it
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    from ray.cluster_utils import Cluster  # reads the variables when it is imported

    machine = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    try:
        second = cluster.add_node(**machine)
        words = ("--cluster", cluster.address, "--threads", "1")
        refused = Process(tmp_path / "refused", model, "--replicas", "3", *words)
        assert (refused.base, refused.process.wait(60)) == (None, 1)
        assert "has 2 machines that can compute, expected one for each replica" in "".join(refused.lines)
        refused.kill()
        server = serving(model, "--replicas", "2", *words)
        found = streams_while(server.base, lambda: cluster.remove_node(second, allow_graceful=False))
        assert len(compare(found, undisturbed(model))) > MOVED
        assert sorted(each["state"] for each in members(server.base)) == ["in", "out"]
        cluster.add_node(**machine)
        wait_until(lambda: all(each["state"] == "in" for each in members(server.base)), "the third node has it")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        wait_until(lambda: not replicas(), "they are gone from the cluster")
    finally:
        cluster.shutdown()
