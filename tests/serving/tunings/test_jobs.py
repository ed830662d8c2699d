"""/ouvert/tune/jobs: what the owner asks for is trained beside the server, and can be followed and stopped."""

import json
import time

import pytest

from ouvert.cli.served_tunings import Tunings
from ouvert.serving import Keys
from ouvert.serving.app import JOB_KINDS
from ouvert.store import Adapters

AT = "/ouvert/tune/jobs"
KINDS = (*JOB_KINDS, Tunings())
EXAMPLES = "".join(
    json.dumps(
        {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"It is {n}."}]}
    )
    + "\n"
    for n in range(12)
)
QUICK = {
    "data": {"held_out": 0.25},
    "adapter": {"rank": 2},
    "optimise": {"steps": 3, "batch": 2},
    "safety": {"mix": 0.0, "check": False},
}


@pytest.fixture(scope="module")
def tiny(speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def training(start_server, tiny, home, tmp_path_factory):
    return start_server(models=(str(tiny),), home=home, kinds=KINDS, state=tmp_path_factory.mktemp("state"))


@pytest.fixture
def client(training):
    with training.client() as client:
        yield client


@pytest.fixture
def examples(client):
    kept = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("says.jsonl", EXAMPLES)})
    assert kept.status_code == 200, kept.text
    return kept.json()["id"]


def until_over(client, job_id, seconds=180):
    end = time.monotonic() + seconds
    while (job := client.get(f"{AT}/{job_id}").json())["state"] not in ("finished", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.05)
    return job


def events_of(text):
    return [
        (kind.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for kind, data in (block.split("\n", 1) for block in text.strip().split("\n\n") if block.startswith("event"))
    ]


def test_an_adapter_is_trained_followed_and_its_job_forgotten(client, home, tiny, examples):
    made = client.post(AT, json={"model": "tiny", "data": examples, "name": "says", "recipe": QUICK})
    assert made.status_code == 202, made.text
    job_id = made.json()["id"]
    assert str(tiny.parent) not in made.text
    job = until_over(client, job_id)
    assert job["state"] == "finished", job
    assert job["steps"] == {"done": 3, "of": 3}
    assert [row["step"] for row in job["metrics"] if "loss" in row] == [1, 2, 3]
    record = Adapters(home).record("says")
    assert job["adapter"]["digest"] == record.digest
    assert job["adapter"]["state"] == record.state == "unchecked"

    told = events_of(client.get(f"{AT}/{job_id}/events").text)
    assert [data for kind, data in told if kind == "metrics"] == job["metrics"]
    assert told[-1][0] == "end"
    assert told[-1][1]["state"] == "finished"

    assert [each["id"] for each in client.get(AT).json()["data"]] == [job_id]
    assert client.delete(f"{AT}/{job_id}").json()["deleted"]
    assert client.get(f"{AT}/{job_id}").status_code == 404
    assert "says" in Adapters(home).names()
    taken = client.post(AT, json={"model": "tiny", "data": examples, "name": "says"})
    assert taken.status_code == 400
    assert "already" in taken.text


def test_one_that_is_under_way_is_stopped(client, examples):
    long = {**QUICK, "optimise": {"steps": 100_000, "batch": 2}}
    job_id = client.post(AT, json={"model": "tiny", "data": examples, "name": "long", "recipe": long}).json()["id"]
    end = time.monotonic() + 120
    while client.get(f"{AT}/{job_id}").json()["steps"]["done"] < 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    client.delete(f"{AT}/{job_id}")
    job = until_over(client, job_id)
    assert job["state"] == "cancelled"
    assert job["steps"]["done"] < 100_000
    assert job["adapter"] is None


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"recipe": {"optimise": {"learning_rate": 1}}}, 400, "learning_rate"),
        ({"recipe": {"method": "grpo", "reward": {"use": ["./reward.py:score"]}}}, 400, "not over HTTP"),
        ({"recipe": {"data": {"held_out": "/etc/passwd"}}}, 400, "names no model and no file"),
        ({"model": "absent"}, 404, "absent"),
        ({"model": "/etc"}, 404, "/etc"),
        ({"data": "file-" + "0" * 32}, 404, "no file"),
        ({"data": "/etc/passwd"}, 400, "data"),
        ({"name": "../x"}, 400, "name"),
        ({"threads": 1}, 400, "threads"),
    ],
)
def test_what_cannot_be_trained_is_refused(client, examples, asked, status, said):
    answer = client.post(AT, json={"model": "tiny", "data": examples, "name": "other", **asked})
    assert answer.status_code == status, answer.text
    assert said in answer.text


def test_a_file_for_batches_is_no_examples(client):
    kept = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", "{}\n")}).json()["id"]
    answer = client.post(AT, json={"model": "tiny", "data": kept, "name": "other"})
    assert answer.status_code == 400
    assert "fine-tune" in answer.text


def test_nobody_but_the_owner_trains(start_server, tiny, tmp_path):
    keys = Keys(tmp_path / "server")
    _, secret = keys.create("program")
    server = start_server(models=(str(tiny),), home=tmp_path, kinds=KINDS, state=tmp_path / "server")
    with server.client(headers={"authorization": f"Bearer {secret}"}) as client:
        for method, path in (("POST", AT), ("GET", AT), ("GET", f"{AT}/tuning_0"), ("DELETE", f"{AT}/tuning_0")):
            assert client.request(method, path, json={} if method == "POST" else None).status_code in (401, 403)
