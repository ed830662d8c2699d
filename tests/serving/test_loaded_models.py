"""Models come into memory when asked for, leave when idle, and make room for each other."""

import asyncio
import os
import threading
import time

import pytest

from ouvert.engine import EngineFailedError
from ouvert.engine.runners.native_runner import NativeRunner
from ouvert.serving import loaded_models
from ouvert.serving.catalog import spellings
from ouvert.serving.streams import PING, ClientGone, Streamed, unless_gone
from ouvert.store import Store

QUESTION = [{"role": "user", "content": "Hi"}]
ENDLESS = {"\n": "again", "again": "again"}


@pytest.fixture
def two(speaking_model, tmp_path):
    """Paths of two models called one and two."""
    paths = []
    for name in ("one", "two"):
        path = tmp_path / name
        path.symlink_to(speaking_model())
        paths.append(str(path))
    return tuple(paths)


def ask(client, model, **fields):
    return client.post("/v1/chat/completions", json={"model": model, "messages": QUESTION, **fields})


def loaded(server):
    return {name for name, state in server.service.loaded_models.states().items() if state == "loaded"}


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def size_of(server):
    return server.service.loaded_models.catalog.first[0].size


def test_models_that_are_named_are_loaded_at_the_start(start_server, two):
    server = start_server(models=two)
    until(lambda: loaded(server) == {"one", "two"})


def test_an_idle_model_is_let_go_and_comes_back_when_asked_for(start_server, two):
    server = start_server(models=two[:1], keep=0.2)
    with server.client() as client:
        until(lambda: loaded(server) == {"one"})
        until(lambda: loaded(server) == set())
        assert client.get("/v1/models").json()["data"][0]["ouvert"]["state"] == "on_disk"
        assert ask(client, "one").status_code == 200


def test_a_model_in_use_is_not_let_go(start_server, speaking_model):
    server = start_server(models=(str(speaking_model(ENDLESS)),), keep=0.0)
    with server.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        body = ask(client, name, max_tokens=300).json()
        assert body["usage"]["completion_tokens"] == 300


def test_the_model_used_longest_ago_makes_room(start_server, two, speaking_model):
    size = sum(file.stat().st_size for file in speaking_model().iterdir())
    server = start_server(models=two, memory=int(size * 1.5))
    with server.client() as client:
        until(lambda: server.service.loaded_models.loads == 2)
        assert ask(client, "one").status_code == 200
        assert loaded(server) == {"one"}
        assert ask(client, "two").status_code == 200
        assert loaded(server) == {"two"}


def test_a_model_that_can_never_fit_is_refused(start_server, two):
    server = start_server(models=two[:1], memory=1000)
    with server.client() as client:
        response = ask(client, "one")
        assert response.status_code == 507
        assert response.json()["error"]["code"] == "model_too_large"


def test_many_ask_for_a_model_at_once_and_it_is_loaded_once(start_server, two):
    server = start_server(models=two[:1], keep=3600)
    statuses = []

    def one():
        with server.client() as client:
            statuses.append(ask(client, "one").status_code)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert server.service.loaded_models.loads == 1


def test_who_does_not_wait_for_a_model_is_told_when_to_come_back(start_server, two, monkeypatch):
    release = threading.Event()

    def slow_load(*_, **__):
        release.wait(10)
        raise ValueError("no model after all")

    monkeypatch.setattr("ouvert.serving.loaded_models.load", slow_load)
    server = start_server(models=two[:1], load_wait=0.1)
    try:
        with server.client() as client:
            response = ask(client, "one")
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["error"]["code"] == "model_loading"
            assert client.get("/health").json()["models_loading"] == 1
            release.set()
            until(lambda: server.service.loaded_models.states() == {"one": "failed"})
    finally:
        release.set()


def test_a_file_that_cannot_be_used_is_said(start_server, two, tmp_path, caplog):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    server = start_server(models=(str(broken),))
    with server.client() as client:
        response = ask(client, "broken.gguf")
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "model_unusable"
    said = [record for record in caplog.records if record.name == "ouvert.serving"]
    assert any(str(broken) in record.message for record in said)
    assert all(record.exc_info is None for record in said)  # a sentence, and no traceback


def test_only_the_models_named_are_offered(start_server, two, tmp_path):
    server = start_server(models=two[:1], only_these=True)
    with server.client() as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["one"]
        assert ask(client, "two").status_code == 404
        assert ask(client, two[1]).status_code == 404  # a path is no name, even a right one


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m", [("m", None)]),
        ("m:latest", [("m:latest", None), ("m", None)]),
        ("gpt-oss:20b:low", [("gpt-oss:20b:low", None), ("gpt-oss:20b", "low")]),
        ("m:high:latest", [("m:high:latest", None), ("m:high", None), ("m", "high")]),
        (":low", [(":low", None)]),
    ],
)
def test_what_a_name_may_mean(name, expected):
    assert list(dict.fromkeys(spellings(name))) == expected


# --- streams --------------------------------------------------------------------------------------------------------


def run_stream(pieces, *, ping_seconds, gone_after=None):
    """What a stream of these pieces sends, and whether it was closed."""
    sent, closed = [], []

    async def main():
        left = asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message.get("body"))
            if gone_after is not None and len(sent) > gone_after:
                left.set()

        async def close():
            closed.append(True)

        await Streamed(pieces(sent), close, ping_seconds=ping_seconds)({"type": "http"}, receive, send)

    asyncio.run(main())
    return sent, closed


def test_a_stream_with_nothing_to_say_shows_that_it_is_alive():
    async def pieces(sent):
        while sent.count(PING) < 2:
            await asyncio.sleep(0)
        yield b"data: 1\n\n"

    (_, *bodies), closed = run_stream(pieces, ping_seconds=0.05)
    assert bodies == [PING, PING, b"data: 1\n\n", b""]
    assert closed


def test_a_stream_ends_when_its_reader_goes():
    async def pieces(sent):
        while True:
            await asyncio.sleep(0)
            yield b"x"

    sent, closed = run_stream(pieces, ping_seconds=1, gone_after=3)
    assert 3 < len(sent) < 10
    assert closed


def test_work_is_given_up_when_its_client_goes():
    class Request:
        async def receive(self):
            return {"type": "http.disconnect"}

    ended = []

    async def work():
        try:
            await asyncio.Event().wait()  # it never comes
        finally:
            ended.append(True)

    async def main():
        with pytest.raises(ClientGone):
            await unless_gone(Request(), work())
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ended


@pytest.fixture
def break_engine(monkeypatch):
    """break_engine(): the runner fails at the next step, and with it its engine."""
    step = NativeRunner.step

    def fail_once(self, work, wanted):
        monkeypatch.setattr(NativeRunner, "step", step)
        raise EngineFailedError("computing: Too many open files")

    return lambda: monkeypatch.setattr(NativeRunner, "step", fail_once)


def test_an_engine_that_failed_says_503_meanwhile_and_comes_back_by_itself(
    start_server, two, break_engine, monkeypatch
):
    server = start_server(models=two[:1])
    with server.client() as client:
        until(lambda: loaded(server) == {"one"})
        whole = ask(client, "one").json()["choices"][0]["message"]["content"]
        load, may_load = loaded_models.load, threading.Event()

        def held(*arguments, **options):
            assert may_load.wait(30)
            return load(*arguments, **options)

        monkeypatch.setattr(loaded_models, "load", held)
        break_engine()
        response = ask(client, "one")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_recovering")
        assert "Too many open files" in response.json()["error"]["message"]
        assert int(response.headers["retry-after"]) >= 1
        until(lambda: client.get("/health").json()["status"] == "recovering")
        assert client.get("/health").json()["models_recovering"] == 1
        response = ask(client, "one")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_recovering")
        assert int(response.headers["retry-after"]) >= 1
        may_load.set()
        until(lambda: client.get("/health").json()["status"] == "ok")  # nobody has to ask for the model
        assert ask(client, "one").json()["choices"][0]["message"]["content"] == whole


def test_a_server_whose_packed_weights_are_cut_off_packs_them_again_by_itself(start_server, two, tmp_path):
    store = Store(tmp_path)
    server = start_server(models=two[:1], home=tmp_path)
    until(lambda: loaded(server) == {"one"})
    with server.client() as client:
        receipt = {"x-ouvert-receipt": "full"}
        body = {"model": "one", "messages": QUESTION}
        before = client.post("/v1/chat/completions", json=body, headers=receipt).json()
        [packed] = store.packed()
        os.truncate(packed.path, packed.size // 2)
        first = ask(client, "one")
        assert first.status_code in (200, 503)  # 200: the watch was sooner than the question, and it was loaded again
        until(lambda: client.get("/health").json()["models_loaded"] == 1 and ask(client, "one").status_code == 200)
        after = client.post("/v1/chat/completions", json=body, headers=receipt).json()
    assert after["choices"][0]["message"]["content"] == before["choices"][0]["message"]["content"]
    model = after["ouvert"]["receipt"]["model"]
    assert model["weights_checked"] is True
    assert model["packed_digest"] == before["ouvert"]["receipt"]["model"]["packed_digest"]
    assert after["system_fingerprint"] == before["system_fingerprint"]


def test_pauses_double_up_to_a_minute():
    assert [loaded_models.pause_after(failures) for failures in range(8)] == [0, 1, 3, 7, 15, 31, 60, 60]


def test_a_model_that_fails_again_and_again_is_loaded_after_longer_pauses(start_server, two, break_engine, monkeypatch):
    server, counted = start_server(models=two[:1]), []
    until(lambda: loaded(server) == {"one"})

    def no_pause(failures):
        counted.append(failures)
        return 0.0

    monkeypatch.setattr(loaded_models, "pause_after", no_pause)
    with server.client() as client:
        for n in range(4):
            until(lambda: client.get("/health").json()["models_loaded"] == 1)
            break_engine()
            assert ask(client, "one").status_code == 503
            until(lambda n=n: len(counted) == n + 1)
    assert counted == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"top_k": 2**63}),
        ("/v1/chat/completions", {"max_tokens": 2**63}),
        ("/v1/chat/completions", {"n": 2**31}),
        ("/v1/chat/completions", {"think_budget": 2**64}),
        ("/v1/chat/completions", {"logit_bias": {str(2**63): 1}}),
        ("/v1/chat/completions", {"logit_bias": {"-1": 1}}),
        ("/v1/chat/completions", {"temperature": 10**400}),
        ("/v1/messages", {"top_k": 2**63, "max_tokens": 1}),
        ("/v1/messages", {"max_tokens": 2**63}),
        ("/api/chat", {"options": {"top_k": 2**63}}),
        ("/api/chat", {"options": {"num_predict": 2**63}}),
        ("/api/chat", {"keep_alive": 10**400}),
        ("/v1/completions", {"top_k": 2**63, "prompt": "a"}),
        ("/v1/completions", {"max_tokens": 2**63, "prompt": "a"}),
    ],
    ids=str,
)
def test_a_number_that_nothing_can_hold_is_refused_in_every_dialect_and_the_model_stays(client, path, fields):
    name = next(iter(fields))
    response = client.post(path, json={"model": "tiny", "messages": QUESTION, **fields})
    assert response.status_code == 400, response.text
    assert name.split("/")[0] in response.text
    assert client.get("/health").json()["status"] == "ok"
    assert ask(client, "tiny").status_code == 200


@pytest.mark.parametrize("seed", [-1, 2**64, -(10**40), 10**4000], ids=["negative", "2**64", "long", "very long"])
def test_a_seed_may_be_any_whole_number(client, seed):
    assert ask(client, "tiny", seed=seed, max_tokens=2, temperature=1.0).status_code == 200


def test_a_model_that_is_kept_for_no_time_is_still_there_for_whom_it_was_loaded(start_server, two):
    server = start_server(keep=0.0, models=two[:1])
    loaded_models = server.service.loaded_models

    async def lend():
        lending = asyncio.ensure_future(loaded_models.lend("one"))
        await asyncio.sleep(0)
        await loaded_models._here["one"].loaded  # this task learns of it before the one that borrows
        await loaded_models.let_go_of_idle()
        lease = await lending
        there = loaded_models.model_of("one") is lease.model
        lease.give_back()
        await loaded_models.let_go_of_idle()
        return there, loaded_models.states()

    until(lambda: loaded_models.loads == 1 and not loaded_models.states())
    assert asyncio.run_coroutine_threadsafe(lend(), server.loop).result(30) == (True, {})


def test_what_took_the_place_of_an_idle_model_meanwhile_is_not_let_go_in_its_stead(start_server, two):
    server = start_server(models=two[:1])
    loaded_models = server.service.loaded_models

    async def exchange():
        (await loaded_models.lend("one")).give_back()
        idle = loaded_models._here["one"]
        await loaded_models._close(idle)
        lease = await loaded_models.lend("one")
        await loaded_models._close(idle)
        there = loaded_models.model_of("one") is lease.model
        lease.give_back()
        return there

    assert asyncio.run_coroutine_threadsafe(exchange(), server.loop).result(30)
