"""Models fetched and removed through the server: by whom, from whom, how far, given up, gone on with, used at once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace

import ollama
import pytest
from tests.store.hub_server import Fault, TinyHub

from ouvert.assistant import Machine, demand_of_alias
from ouvert.engine import forecast_from_disk
from ouvert.safety import is_this_machine
from ouvert.serving import Keys
from ouvert.serving import service as serving_service
from ouvert.store import Hub, Store, find_alias

NAME = "org/tiny"
HELD = 1_000_000  # bytes, of 1.9 million
WHAT = f"hf:{NAME}"
HOSTS = ["127.0.0.1"]
SECONDS = 30


@pytest.fixture
def hub(speaking_model):
    """A hub that has a model which answers, and one that is large enough to be looked at while it comes."""
    with TinyHub().serving() as hub:
        hub.repositories[NAME] = {file.name: file.read_bytes() for file in speaking_model().iterdir() if file.is_file()}
        yield hub


@pytest.fixture
def held(hub):
    """The weights stop coming after so many bytes, until they are released."""
    fault = hub.faults["model.safetensors"] = Fault(hold_after=HELD)
    yield fault
    fault.released.set()


@pytest.fixture
def server(start_server, hub, tmp_path):
    return start_server(
        home=tmp_path / "home", state=tmp_path / "home" / "server", hub=Hub(endpoint=hub.address, pause=0.0, retries=0)
    )


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def begin(client, what=WHAT, hosts=HOSTS, **more):
    return client.post("/api/ui/fetches", json={"model": what, "hosts": hosts}, **more)


def fetch_of(client, name=NAME):
    [found] = [each for each in client.get("/api/ui/fetches").json()["fetches"] if each["model"] == name]
    return found


def until(client, *states, name=NAME, holds=lambda fetch: True):
    """The fetch once it is in one of those states."""
    latest = time.monotonic() + SECONDS
    while (fetch := fetch_of(client, name))["state"] not in states or not holds(fetch):
        assert time.monotonic() < latest, fetch
        time.sleep(0.01)
    return fetch


def weights_of(hub):
    return len(hub.repositories[NAME]["model.safetensors"])


def answer(client, model=NAME):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return client.post("/v1/chat/completions", json=body)


def test_a_model_that_is_fetched_answers_at_once(client, hub):
    assert answer(client).status_code == 404
    begun = begin(client)
    assert (begun.status_code, begun.json()["model"]) == (202, NAME)
    done = until(client, "done", "failed")
    assert done["state"] == "done", done
    assert done["arrived_bytes"] == done["total_bytes"] == sum(map(len, hub.repositories[NAME].values()))
    assert not done["resumable"]
    assert done["said"][0] == f"{NAME}: asking 127.0.0.1 for {WHAT}"
    assert answer(client).json()["choices"][0]["message"]["content"] == "Hello from a tiny model."
    assert begin(client).status_code == 202  # asked for again: nothing newer is there
    until(client, "done")
    assert len(hub.ranges("model.safetensors")) == 1


def test_nobody_is_asked_before_the_hosts_were_agreed_to(client, hub):
    for hosts in ([], ["huggingface.co"], [*HOSTS, "elsewhere.example"]):
        refused = begin(client, hosts=hosts)
        assert refused.status_code == 409
        assert refused.json()["error"]["hosts"] == HOSTS
    assert begin(client, hosts="127.0.0.1").status_code == 400
    assert hub.requests == []


@pytest.mark.parametrize("name", ["/etc/passwd", "./models", "~/x", "no-such-model", "m.gguf", "hf:", "pypi:-r x", "."])
def test_a_name_is_never_a_path(client, name):
    assert begin(client, what=name).status_code == 404
    assert client.post("/api/pull", json={"model": name}).status_code == 404
    assert client.get("/api/ui/fetches").json() == {"fetches": []}


def test_what_came_is_kept_when_a_fetch_is_given_up_and_it_goes_on_from_there(client, hub, held):
    begin(client)
    halfway = until(client, "fetching", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
    assert halfway["total_bytes"] == weights_of(hub)
    assert client.delete(f"/api/ui/fetches/{NAME}").json()["state"] == "stopping"
    held.released.set()
    ended = until(client, "cancelled")
    assert ended["resumable"]
    assert HELD <= ended["arrived_bytes"] < weights_of(hub)
    assert answer(client).status_code == 404
    begin(client)
    until(client, "done")
    assert hub.ranges("model.safetensors") == [None, f"bytes={ended['arrived_bytes']}-"]
    assert answer(client).status_code == 200
    assert client.delete(f"/api/ui/fetches/{NAME}").status_code == 404


def test_two_who_ask_for_the_same_model_see_one_fetch(server, client, hub, held):
    with server.client() as other:
        assert begin(client).status_code == begin(other).status_code == 202
        until(client, "fetching", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
        assert fetch_of(client) == fetch_of(other)
        held.released.set()
        until(other, "done")
    assert hub.ranges("model.safetensors") == [None]


def test_fetches_take_turns_and_one_that_waits_can_be_given_up(client, hub, held):
    hub.repositories["org/second"] = hub.repositories[NAME] | {"LICENSE": b"another"}
    begin(client)
    until(client, "fetching")
    assert begin(client, what="hf:org/second").json()["state"] == "queued"
    assert client.delete("/api/ui/fetches/org/second").json()["state"] == "stopping"
    begin(client, what="hf:org/second")  # the same, which is ending
    held.released.set()
    until(client, "done")
    until(client, "cancelled", name="org/second")
    assert not [path for _, path, _ in hub.requests if "second" in path]


def test_another_processs_fetch_is_shown_with_its_progress(client, hub, held, tmp_path):
    code = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
    surroundings = os.environ | {"OUVERT_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address}
    command = [sys.executable, "-c", code, "pull", WHAT]
    process = subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        latest = time.monotonic() + SECONDS
        while not client.get("/api/ui/fetches").json()["fetches"]:
            assert time.monotonic() < latest
        until(client, "elsewhere", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
    finally:
        process.kill()
        process.wait()
    assert fetch_of(client) == {
        "model": NAME,
        "state": "unfinished",
        "source": WHAT,
        "hosts": HOSTS,
        "total_bytes": weights_of(hub),
        "arrived_bytes": HELD,
        "resumable": True,
    }
    held.released.set()
    begin(client)
    until(client, "done")
    assert hub.ranges("model.safetensors")[-1] == f"bytes={HELD}-"


def test_a_disk_without_room_is_said_before_a_byte_is_fetched(client, hub, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    begin(client)
    failed = until(client, "failed")
    assert "nothing was downloaded" in failed["fault"]
    assert not failed["resumable"]
    assert hub.ranges("model.safetensors") == []


def test_a_disk_with_room_for_the_files_but_not_for_their_packed_form_is_said_before_a_byte_is_fetched(
    client, hub, monkeypatch
):
    files = sum(len(content) for content in hub.repositories[NAME].values())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - files, files))
    begin(client)
    failed = until(client, "failed")
    assert "of it beside what is fetched" in failed["fault"]
    assert hub.ranges("model.safetensors") == []


def test_a_hub_that_does_not_answer_is_said_and_nothing_is_left(start_server, tmp_path):
    with start_server(home=tmp_path, hub=Hub(endpoint="http://127.0.0.1:9", retries=0)).client() as client:
        begin(client)
        failed = until(client, "failed")
        assert "the hub does not answer" in failed["fault"]
        assert not failed["resumable"]


def test_only_the_owner_fetches_and_removes(start_server, hub, tmp_path):
    keys = Keys(tmp_path / "server")
    (_, secret), (_, owners) = keys.create("program"), keys.create_owners()
    server = start_server(home=tmp_path, state=tmp_path / "server", hub=Hub(endpoint=hub.address))
    asked = [
        ("GET", "/api/ui/obtainable", None),
        ("GET", "/api/ui/fetches", None),
        ("POST", "/api/ui/fetches", {"model": WHAT, "hosts": HOSTS}),
        ("DELETE", f"/api/ui/fetches/{NAME}", None),
        ("DELETE", f"/api/ui/models/{NAME}", None),
        ("POST", "/api/pull", {"model": WHAT}),
        ("DELETE", "/api/delete", {"model": NAME}),
    ]
    owner, program = ({"authorization": f"Bearer {each}"} for each in (owners, secret))
    with server.client() as client:
        for method, path, body in asked:
            ask = lambda headers: client.request(method, path, json=body, headers=headers).status_code  # noqa: B023, E731
            assert ask(program) == 403, path
            assert ask({}) == 401, path  # a client has a key, so everybody needs one
            assert ask(owner | {"origin": "http://localhost:9"}) == 403, path
            assert ask(owner | {"sec-fetch-site": "cross-site"}) == 403, path
        assert hub.requests == []
        assert begin(client, headers=owner).status_code == 202


def test_other_users_of_this_machine_and_what_a_proxy_passed_on_are_refused(client, hub):
    proxied = {"x-forwarded-for": "192.0.2.7"}
    assert begin(client, headers=proxied).status_code == 401
    assert client.get("/api/ui/obtainable", headers=proxied).status_code == 401
    assert client.delete(f"/api/ui/models/{NAME}", headers=proxied).status_code == 401
    refused = client.post("/api/pull", json={"model": WHAT}, headers=proxied)
    assert refused.status_code == 403
    assert "ouvert pull" in refused.json()["error"]
    assert hub.requests == []


def test_a_server_that_offers_only_what_was_named_fetches_nothing(start_server, speaking_model, hub, tmp_path):
    server = start_server(
        models=(str(speaking_model()),), only_these=True, home=tmp_path, hub=Hub(endpoint=hub.address)
    )
    with server.client() as client:
        refused = begin(client)
        assert refused.status_code == 409
        assert "--only" in refused.json()["error"]["message"]
        assert client.get("/api/ui/obtainable").json()["models"] == []
    assert hub.requests == []


def test_an_idle_model_is_removed_and_one_that_answers_is_not(server, client, hub, tmp_path):
    begin(client)
    until(client, "done")
    assert answer(client).status_code == 200
    lease = server.service.loaded_models._here[NAME]
    lease.uses += 1
    try:
        refused = client.delete(f"/api/ui/models/{NAME}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
        assert answer(client).status_code == 200
    finally:
        lease.uses -= 1
    removed = client.delete(f"/api/ui/models/{NAME}").json()
    assert removed["model"] == NAME
    assert removed["freed_bytes"] > weights_of(hub)
    assert answer(client).status_code == 404
    assert client.get("/api/ui/fetches").json() == {"fetches": []}
    assert not list((tmp_path / "home" / "blobs").iterdir())
    assert client.delete(f"/api/ui/models/{NAME}").status_code == 404


def test_what_is_fetched_now_or_no_model_of_the_store_is_not_removed(start_server, speaking_model, hub, held, tmp_path):
    model = tmp_path / "mine"
    model.symlink_to(speaking_model())
    server = start_server(models=(str(model),), home=tmp_path / "home", hub=Hub(endpoint=hub.address))
    with server.client() as client:
        refused = client.delete("/api/ui/models/mine")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_in_store")
        begin(client)
        until(client, "fetching", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
        assert client.delete(f"/api/ui/models/{NAME}").status_code == 409
        client.delete(f"/api/ui/fetches/{NAME}")
        held.released.set()
        until(client, "cancelled")
        assert client.delete(f"/api/ui/models/{NAME}").json()["freed_bytes"] >= HELD
        assert client.get("/api/ui/fetches").json() == {"fetches": []}
        assert answer(client, "mine").status_code == 200


def test_a_stop_gives_a_fetch_up_and_the_next_server_goes_on_with_it(start_server, hub, held, tmp_path):
    first = start_server(home=tmp_path, hub=Hub(endpoint=hub.address))
    with first.client() as client:
        begin(client)
        until(client, "fetching", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
        first.uvicorn.should_exit = True
        [fetch] = first.service.fetches.every()
        latest = time.monotonic() + SECONDS
        while fetch.state != "stopping":
            assert time.monotonic() < latest
            time.sleep(0.01)
        held.released.set()
    with start_server(home=tmp_path, hub=Hub(endpoint=hub.address)).client() as client:
        left = until(client, "unfinished")
        assert left["arrived_bytes"] >= HELD
        begin(client)
        until(client, "done")
    assert hub.ranges("model.safetensors")[-1] == f"bytes={left['arrived_bytes']}-"


def test_a_server_killed_in_the_middle_leaves_what_the_next_one_goes_on_with(hub, held, tmp_path):
    from httpx2 import Client

    code = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
    surroundings = os.environ | {"OUVERT_HOME": str(tmp_path), "HF_ENDPOINT": hub.address}
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--threads", "1"]
    arrived = None
    for round_ in ("killed", "goes on"):
        process = subprocess.Popen(command, env=surroundings, stderr=subprocess.PIPE, text=True)
        with process, process.stderr:
            try:
                base = next(found[1] for line in process.stderr if (found := re.search(r"Ready at (http:\S+)", line)))
                with Client(base_url=base, timeout=30) as client:
                    if round_ == "killed":
                        begin(client)
                        until(client, "fetching", holds=lambda fetch: fetch["arrived_bytes"] == HELD)
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        held.released.set()
                    else:
                        arrived = until(client, "unfinished")["arrived_bytes"]
                        begin(client)
                        until(client, "done")
                        assert answer(client).json()["choices"][0]["message"]["content"] == "Hello from a tiny model."
            finally:
                process.kill()
    assert arrived == HELD
    assert hub.ranges("model.safetensors") == [None, f"bytes={HELD}-"]


def test_the_list_says_size_licence_fit_speed_and_whom_it_would_ask(start_server, tmp_path, hub, monkeypatch):
    machine = Machine(memory=8_000_000_000, bandwidth=2e10, multiply_adds=1e11, threads=2)
    monkeypatch.setattr(serving_service, "measured_machine", lambda: machine)
    monkeypatch.setattr(serving_service, "measured_disk", lambda folder: 1e9)
    server = start_server(home=tmp_path, memory=8_000_000_000, hub=Hub(endpoint=hub.address))
    with server.client() as client:
        listing = client.get("/api/ui/obtainable").json()
        measured = client.get("/api/ui/obtainable").json()
    models = {each["id"]: each for each in listing["models"]}
    assert listing["free_bytes"] > 0
    small, large = models["smollm2"], models["llama3.3:70b"]
    assert small["licence"] == "Apache-2.0"
    assert small["bytes_to"]["fetch"] == 98_362_432
    assert small["fit"]["state"] == "fits"
    assert large["fit"]["state"] == "too_large"
    assert (small["here"], small["toy"], small["exact"]) == (False, True, True)
    assert models["qwen2.5-coder:1.5b"]["hosts"][0] == "127.0.0.1"  # and then that of pip's packages
    assert len(models["qwen2.5-coder:1.5b"]["hosts"]) == 2
    assert listing["measuring"]  # the first time it was not known yet how fast this machine is
    speeds = {each["id"]: each["tokens_per_second"] for each in measured["models"] if "tokens_per_second" in each}
    assert not measured["measuring"]
    mixture = next(each for each in measured["models"] if each["id"] == "qwen3:30b")
    assert mixture["id"] not in speeds  # those would be the speeds of memory that it does not have
    assert models["qwen3:30b"]["fit"]["state"] == mixture["fit"]["state"] == "tight"
    disk = mixture["from_disk"]
    assert disk["memory_bytes"] <= 8_000_000_000 < mixture["bytes_to"]["run"]
    told = forecast_from_disk(
        demand_of_alias(find_alias("qwen3:30b")), replace(machine, allowed=8_000_000_000), 1e9, 8192
    )
    assert disk["writes"] == [float(f"{speed:.2g}") for speed in told.decode]
    assert "from_disk" not in models["smollm2"]
    assert speeds["smollm2"]["writes"][0] > speeds["llama3.3:70b"]["writes"][1] > 0
    assert hub.requests == []


# --- Ollama's clients ---


@pytest.fixture
def theirs(server):
    theirs = ollama.Client(host=server.base)
    yield theirs
    theirs._client.close()


def test_ollamas_client_pulls_and_deletes(theirs, client, hub):
    lines = list(theirs.pull(f"hf.co/{NAME}:latest", stream=True))
    assert lines[0].status == f"asking 127.0.0.1 for {WHAT}"
    assert lines[-1].status == "success"
    whole = [each for each in lines if each.completed is not None][-1]
    assert whole.completed == whole.total == sum(map(len, hub.repositories[NAME].values()))
    assert [each.model for each in theirs.list().models] == [f"{NAME}:latest"]
    assert theirs.pull(NAME).status == "success"
    assert theirs.delete(NAME).status == "success"
    assert theirs.list().models == []
    assert theirs.pull(WHAT, stream=False).status == "success"
    assert answer(client).status_code == 200


def test_ollamas_client_is_told_what_goes_wrong(theirs):
    with pytest.raises(ollama.ResponseError, match="knows no such repository"):
        list(theirs.pull("hf:org/absent", stream=True))
    with pytest.raises(ollama.ResponseError, match="knows no such repository") as caught:
        theirs.pull("hf:org/absent", stream=False)
    assert caught.value.status_code == 502
    with pytest.raises(ollama.ResponseError) as caught:
        theirs.delete("absent")
    assert caught.value.status_code == 404


def test_a_fetch_that_nobody_waits_for_is_given_up_unless_the_page_asked_for_it(server, client, hub, held):
    with client.stream("POST", "/api/pull", json={"model": WHAT}) as first:
        lines = first.iter_lines()
        while "completed" not in json.loads(next(lines)):
            pass
        with server.client() as other, other.stream("POST", "/api/pull", json={"model": WHAT}) as second:
            next(second.iter_lines())
        assert fetch_of(client)["state"] == "fetching"  # the first still waits
    until(client, "stopping")
    held.released.set()
    until(client, "cancelled")
    held.released.clear()
    begin(client)
    with client.stream("POST", "/api/pull", json={"model": WHAT}) as stream:
        next(stream.iter_lines())
    held.released.set()
    until(client, "done")


# --- counted ---

GUARDED = """
import asyncio, http.client, json, sys, threading, time
from pathlib import Path
from ouvert.safety import guard as put_up
guard = put_up(())
from ouvert.serving import Settings, bound_socket, make_app, make_server, service
service.measured_machine = lambda: None  # takes its time
from ouvert.store import Hub, Store
settings = Settings(port=0, models=(sys.argv[1],), hub=Hub(endpoint="http://hub.invalid", retries=0),
                    load_options={"threads": 1, "receipts": False, "guard": guard})
server = make_server(make_app(settings, Store(Path(sys.argv[2]))), settings)
def ask(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=60)
    connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    return answer
with bound_socket("127.0.0.1", 0) as listening:
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    ask("GET", "/api/ui/obtainable")
    before = guard.counts.attempted
    ask("POST", "/api/ui/fetches", {"model": "hf:org/tiny", "hosts": ["hub.invalid"]})
    while (fetch := ask("GET", "/api/ui/fetches")["fetches"][0])["state"] != "failed":
        time.sleep(0.01)
    chat = {"model": Path(sys.argv[1]).name, "messages": [{"role": "user", "content": "Hi"}]}
    receipt = ask("POST", "/v1/chat/completions", chat)["ouvert"]["receipt"]
    server.should_exit = True
    thread.join(60)
print(json.dumps({"before": before, "fetch": fetch, "receipt": receipt}))
"""


def test_what_a_fetch_asks_is_counted_in_it_and_in_the_next_receipt_and_a_list_asks_nobody(speaking_model, tmp_path):
    command = [sys.executable, "-c", GUARDED, str(speaking_model()), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["before"] == 0
    for counted in (said["fetch"]["connections"], said["receipt"]["connections"]):
        assert counted["allowed"] > 0
        assert counted["denied"] == 0
        assert {each["host"] for each in counted["attempts"] if not is_this_machine(each["host"])} == {"hub.invalid"}
    assert Store(tmp_path).unfinished() == ()
