"""/ouvert/comparisons: what the owner asks for is computed in a process beside the server, which ends with it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from ouvert.cli.command_process import COMMAND
from ouvert.cli.commands.jobs import row
from ouvert.cli.served_comparisons import Comparisons
from ouvert.evaluation import Evidence
from ouvert.serving import Keys
from ouvert.serving.app import JOB_KINDS
from ouvert.store import Job, JobStore

AT = "/ouvert/comparisons"
KINDS = (*JOB_KINDS, Comparisons())


@pytest.fixture(scope="module")
def tiny(speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def comparing(start_server, tiny, home, tmp_path_factory):
    return start_server(models=(str(tiny),), home=home, kinds=KINDS, state=tmp_path_factory.mktemp("state"))


@pytest.fixture
def client(comparing):
    with comparing.client() as client:
        yield client


def until(look, holds, seconds=120):
    """What `look` gives as soon as that holds of it."""
    end = time.monotonic() + seconds
    while not holds(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def is_over(job):
    return job["state"] in ("finished", "failed", "cancelled")


def processes_of(job_id):
    """The numbers of the processes that write into this job's folder."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            files = [os.readlink(f"/proc/{number}/fd/{each}") for each in os.listdir(f"/proc/{number}/fd")]
            command = Path(f"/proc/{number}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if any(f"{job_id}/said.txt" in file for file in files) and COMMAND[-1] in command:
            found.append(int(number))
    return found


def test_a_comparison_is_computed_shown_and_removed(client, comparing, home, tiny):
    asked = {"models": ["tiny", "tiny"], "suites": ["ladder"], "seconds": 1, "seed": 5}
    made = client.post(AT, json=asked)
    assert made.status_code == 202, made.text
    job_id = made.json()["id"]
    assert made.json()["asked"]["suites"] == ["ladder"]
    assert str(tiny.parent) not in made.text
    job = until(lambda: client.get(f"{AT}/{job_id}").json(), is_over)
    assert job["state"] == "finished", job
    assert job["plan"]["contestants"] == ["tiny", "tiny#2"]
    folder = home / "jobs" / job_id / "comparison"
    with Evidence.open(folder) as evidence:
        assert evidence.plan.seed == 5
        assert job["answers"] == {"done": len(evidence.answers()), "of": 2 * sum(r.count for r in evidence.plan.rows)}
    assert [each["id"] for each in client.get(AT).json()["data"]] == [job_id]
    listed = row(JobStore(home / "jobs").get(job_id))
    assert listed[:5] == (job_id, "comparison", "finished", str(job["answers"]["of"]), str(job["answers"]["of"]))

    page = client.get(f"{AT}/{job_id}/report")
    assert page.content == (folder / "report.html").read_bytes()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "sandbox" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    for name in job["files"]:
        if name != "report.html":
            answer = client.get(f"{AT}/{job_id}/files/{name}")
            assert answer.content == (folder / name).read_bytes()
            assert answer.headers["content-disposition"].startswith("attachment")
    for name in ("said.txt", "private.jsonl", "..%2Fjob.json", "%2e%2e%2fjob.json", "report.html"):
        assert client.get(f"{AT}/{job_id}/files/{name}").status_code == 404

    assert client.post(f"{AT}/{job_id}/cancel").status_code == 409
    assert client.delete(f"{AT}/{job_id}").json()["deleted"]
    assert not folder.parent.exists()
    assert client.get(f"{AT}/{job_id}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"models": ["tiny"], "prompts": "mine.jsonl"}, 400, "prompts"),
        ({"models": ["tiny"], "remote": ["openai:gpt-5"]}, 400, "remote"),
        ({"models": ["ollama:http://127.0.0.1:11434/x"]}, 404, "ollama"),
        ({"models": ["/etc"]}, 404, "/etc"),
        ({"models": ["--out"]}, 404, "--out"),
        ({"models": []}, 400, "models"),
        ({"models": ["tiny"], "suites": ["mine"]}, 400, "mine"),
        ({"models": ["tiny"], "suites": ["nothing"]}, 400, "nothing"),
        ({"models": ["tiny"], "suites": ["../x"]}, 400, "suites"),
        ({"models": ["tiny"], "suites": ["ladder", "ladder"]}, 400, "twice"),
        ({"models": ["tiny"], "for": ["winning"]}, 400, "winning"),
        ({"models": ["tiny"], "languages": ["de"]}, 400, "languages"),
        ({"models": ["tiny"], "seconds": 0}, 400, "seconds"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(client, home, asked, status, said):
    answer = client.post(AT, json=asked)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert not any(job.kind == "comparison" for job in JobStore(home / "jobs").every().jobs if not job.is_over)


LACKING = """
import importlib.metadata as metadata
found = metadata.distribution
def distribution(name):
    if name == "frugal-llm":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.distribution = distribution
"""


def test_one_that_cannot_be_planned_says_why(client, tmp_path, monkeypatch):
    """The package with the questions is not there for the process that compares."""
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job_id = client.post(AT, json={"models": ["tiny"], "suites": ["gsm8k"], "seconds": 1}).json()["id"]
    job = until(lambda: client.get(f"{AT}/{job_id}").json(), is_over)
    assert job["state"] == "failed"
    assert len(job["errors"][0]["message"]) > 20
    assert client.get(f"{AT}/{job_id}/report").status_code == 404


def test_a_cancelled_one_ends_its_process(client):
    job_id = client.post(AT, json={"models": ["tiny"], "suites": ["ladder"], "seconds": 86400}).json()["id"]
    until(lambda: processes_of(job_id), bool)
    until(lambda: client.get(f"{AT}/{job_id}").json(), lambda job: job["state"] == "running")
    assert client.delete(f"{AT}/{job_id}").status_code == 409
    client.post(f"{AT}/{job_id}/cancel")
    assert until(lambda: client.get(f"{AT}/{job_id}").json(), is_over)["state"] == "cancelled"
    assert processes_of(job_id) == []


def test_a_server_that_stops_leaves_no_process_and_the_next_one_goes_on(start_server, tiny, tmp_path_factory):
    home = tmp_path_factory.mktemp("store")
    first = start_server(models=(str(tiny),), home=home, kinds=KINDS, state=home / "server")
    with first.client() as client:
        job_id = client.post(AT, json={"models": ["tiny"], "suites": ["ladder"], "seconds": 6}).json()["id"]
        until(lambda: client.get(f"{AT}/{job_id}").json(), lambda job: job["answers"]["done"] or is_over(job))
    first.uvicorn.should_exit = True
    until(lambda: processes_of(job_id), lambda found: not found)
    folder = home / "jobs" / job_id / "comparison"
    plan, before = (folder / "plan.toml").read_bytes(), (folder / "answers.jsonl").read_text().splitlines()
    until(lambda: JobStore(home / "jobs").get(job_id).state, lambda state: state != "running")
    second = start_server(models=(str(tiny),), home=home, kinds=KINDS, state=home / "server")
    with second.client() as client:
        job = until(lambda: client.get(f"{AT}/{job_id}").json(), is_over)
    assert job["state"] == "finished", job
    assert job["answers"]["done"] == job["answers"]["of"]
    assert (folder / "plan.toml").read_bytes() == plan
    kept = (folder / "answers.jsonl").read_text().splitlines()
    assert kept[: len(before)] == before


def test_they_are_for_the_owner_alone(start_server, tiny, home, tmp_path):
    state = tmp_path / "state"
    _, secret = Keys(state).create("someone")
    server = start_server(models=(str(tiny),), home=home, kinds=KINDS, state=state)
    with server.client(headers={"authorization": f"Bearer {secret}"}) as client:
        for method, path in (("GET", AT), ("POST", AT), ("GET", f"{AT}/x"), ("GET", f"{AT}/x/report")):
            asked = {"json": {"models": ["tiny"]}} if method == "POST" else {}
            assert client.request(method, path, **asked).status_code == 403
    with server.client(headers={"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site"}) as client:
        assert client.get(AT).status_code == 403


def test_a_server_without_the_kind_says_so(server):
    with server.client() as client:
        assert client.post(AT, json={"models": ["tiny"]}).json()["error"]["code"] == "not_offered"
        server.service.jobs.add(Job(id="batch_" + "0" * 32, kind="batch", owner="", runner="command"))
        assert client.get(f"{AT}/batch_{'0' * 32}").status_code == 404
        assert json.loads(client.get(AT).content)["data"] == []


def test_the_process_ends_when_whoever_started_it_is_gone_however_it_went(tiny, tmp_path):
    folder = tmp_path / "compared"
    words = [str(tiny), "--suites", "ladder", "--time", "86400s", "--out", str(folder), "--json"]
    environment = {**os.environ, "OUVERT_HOME": str(tmp_path / "home")}
    # A pipe that the kernel closes is all that a killed server leaves.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen((*COMMAND, "compare"), **pipes, env=environment) as process:
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()
        until(lambda: (folder / "plan.toml").exists() or process.poll() is not None, bool)
        process.stdin.close()
        assert process.wait(30) == 130
    assert not (folder / "report.html").exists()
