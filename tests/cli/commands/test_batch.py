"""`ouvert batch` as it is typed: answers, kill -9 in the middle, two at once, and what is no batch."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import ouvert
from ouvert.cli import main
from ouvert.store import JobStore
from ouvert.store.jobs import results as recorded

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
QUIET = ("--receipts", "off", "--prefix-cache", "off", "--threads", "1")
PAUSE = threading.Event()
ITEMS = 60


def line(custom_id, **body):
    said = {"messages": [{"role": "user", "content": f"Hi {custom_id}"}], "max_tokens": 12, "temperature": 2, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": said}) + "\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it stays in the process that puts it up
    return tmp_path / "store"


@pytest.fixture
def model(tmp_path, speaking_model):
    (path := tmp_path / "tiny").symlink_to(speaking_model())
    return path


@pytest.fixture
def endless(tmp_path, speaking_model):
    """A model that writes until it is stopped."""
    folder = tmp_path / "endless"
    shutil.copytree(speaking_model({"\n": "again", "again": "again"}), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 200_000}))
    return folder


@pytest.fixture
def requests(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(line(f"item-{n}") for n in range(ITEMS)))
    return path


def batch(requests, model, *words):
    return main(["batch", str(requests), "--model", str(model), *QUIET, *words])


def answers(path):
    """custom_id -> text, and that each is there once."""
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert len({each["custom_id"] for each in lines}) == len(lines)
    return {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in lines}


@contextlib.contextmanager
def started(requests, model, *words):
    command = [sys.executable, "-c", RUN, "batch", str(requests), "--model", str(model), *QUIET, *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def recorded_lines(home):
    return [each for path in home.glob("jobs/batch_*/results.jsonl") for each in path.read_bytes().splitlines()]


def wait_until(so, process):
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        PAUSE.wait(0.002)


def test_killed_in_the_middle_the_same_command_goes_on_and_ends_as_if_it_had_not_been(home, model, requests, tmp_path):
    with started(requests, model, "--parallel", "2") as process:
        wait_until(lambda: len(recorded_lines(home)) >= 5, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = recorded_lines(home)
    assert 5 <= len(before) < ITEMS
    output = tmp_path / "requests.output.jsonl"
    assert len(output.read_text().splitlines()) >= 4  # it is written as it goes
    [job] = JobStore(home / "jobs").every().jobs
    assert job.state == "paused"
    with next(home.glob("jobs/batch_*/results.jsonl")).open("ab") as file:
        file.write(b'{"item":"item-59","ok":tr')  # and its last words were cut off
    assert batch(requests, model) == 0
    assert recorded_lines(home)[: len(before)] == before
    interrupted = answers(output)
    assert list(interrupted) == [f"item-{n}" for n in range(ITEMS)]
    assert batch(requests, model, "--cache", "f16", "--output", str(tmp_path / "undisturbed.jsonl")) == 0
    assert len(JobStore(home / "jobs").every().jobs) == 2  # with another option it is another job
    assert answers(tmp_path / "undisturbed.jsonl") == interrupted
    assert len(set(interrupted.values())) > 1


def test_ctrl_c_says_how_far_it_is(home, endless, requests):
    requests.write_text(line("short", max_tokens=2) + line("long", max_tokens=None))
    with started(requests, endless) as process:
        wait_until(lambda: recorded_lines(home), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert b"Stopped: 1 of 2 are done. The same command goes on from here." in process.stderr.read()
    [job] = JobStore(home / "jobs").every().jobs
    assert (job.state, job.answered) == ("paused", 1)


def test_a_second_command_at_once_is_told_so(home, endless, requests, capsys):
    requests.write_text(line("short", max_tokens=2) + line("long", max_tokens=None))
    with started(requests, endless) as process:
        wait_until(lambda: recorded_lines(home), process)
        assert batch(requests, endless) == 1
        assert "another process is working on it" in capsys.readouterr().err
        assert main(["jobs", "list"]) == 0
        assert "running" in capsys.readouterr().out
        [job] = JobStore(home / "jobs").every().jobs
        assert main(["jobs", "rm", job.id]) == 1
        assert main(["jobs", "cancel", job.id[:12]]) == 0
        assert process.wait(60) == 1
    assert main(["jobs", "show", job.id]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert main(["jobs", "rm", "--over"]) == 0
    assert main(["jobs", "list"]) == 0
    assert "There is no job" in capsys.readouterr().out


def test_the_same_command_again_answers_nothing_again_and_writes_the_files_anew(home, model, requests, tmp_path):
    assert batch(requests, model) == 0
    output = tmp_path / "requests.output.jsonl"
    before = output.read_bytes()
    output.unlink()
    assert batch(requests, model) == 0
    assert output.read_bytes() == before
    assert batch(requests, model, "--output", str(tmp_path / "elsewhere.jsonl")) == 0
    assert (tmp_path / "elsewhere.jsonl").read_bytes() == before


def test_a_file_that_another_wrote_is_not_replaced(home, model, requests, tmp_path, capsys):
    output = tmp_path / "requests.output.jsonl"
    output.write_text("mine")
    assert batch(requests, model) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert JobStore(home / "jobs").every().jobs == ()
    assert batch(requests, model, "--overwrite") == 0
    assert len(answers(output)) == ITEMS
    requests.write_text(line("another"))
    assert batch(requests, model) == 1
    assert len(answers(output)) == ITEMS


def test_bad_lines_are_named_before_anything_is_answered(home, model, requests, capsys):
    requests.write_text(line("a") + "nonsense\n" + line("a") + line("b").replace("POST", "PUT"))
    assert batch(requests, model) == 1
    said = capsys.readouterr().err
    for words in ("line 2: it is not JSON", "line 3: custom_id 'a' was on line 1", "line 4: method is 'PUT'"):
        assert words in said
    assert not (home / "jobs").exists()


def test_without_a_model_each_request_names_its_own(home, model, requests, capsys):
    requests.write_text(line("a"))
    assert main(["batch", str(requests), *QUIET]) == 1
    assert "body.model is missing" in capsys.readouterr().err
    requests.write_text(line("a", model="gpt-4o"))
    assert main(["batch", str(requests), *QUIET]) == 1
    assert "There is no model 'gpt-4o' here" in capsys.readouterr().err


def test_a_precision_is_asked_for_behind_the_name_or_with_an_option_and_is_another_job(
    home, model, requests, tmp_path, capsys
):
    requests.write_text(line("a", temperature=0, ouvert={"receipt": "full"}))

    def job_and_precision(asked, *words):
        assert batch(requests, asked, "--json", "--overwrite", *words) == 0
        [answer] = map(json.loads, (tmp_path / "requests.output.jsonl").read_text().splitlines())
        receipt = answer["response"]["body"]["ouvert"]["receipt"]
        return json.loads(capsys.readouterr().out)["job"], receipt["engine"]["precision"]

    jobs = [job_and_precision(model), job_and_precision(f"{model}@4"), job_and_precision(model, "--precision", "8")]
    assert [precision for _, precision in jobs] == ["stored", "4", "8"]
    assert len({job for job, _ in jobs}) == 3
    assert batch(requests, f"{model}@4", "--precision", "8") == 1
    assert "two precisions for one model" in capsys.readouterr().err


def test_a_request_that_is_refused_is_written_to_the_file_of_errors(home, model, requests, tmp_path, capsys):
    requests.write_text(line("good") + line("hot", temperature=7))
    assert batch(requests, model, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["items"], facts["answered"], facts["failed"]) == ("finished", 2, 1, 1)
    [error] = [json.loads(each) for each in (tmp_path / "requests.errors.jsonl").read_text().splitlines()]
    assert (error["custom_id"], error["response"]["status_code"]) == ("hot", 400)
    assert list(answers(tmp_path / "requests.output.jsonl")) == ["good"]


def test_on_a_full_disk_it_stops_with_a_sentence_and_goes_on_later(
    home, model, requests, tmp_path, monkeypatch, capsys
):
    def full(file, data):
        if len(recorded_lines(home)) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(recorded, "write_all", full)
        assert batch(requests, model) == 1
    assert "No space left" in capsys.readouterr().err
    assert len(recorded_lines(home)) == 3
    assert batch(requests, model) == 0
    assert len(answers(tmp_path / "requests.output.jsonl")) == ITEMS


def test_a_model_that_cannot_be_loaded_ends_it_and_spoils_nothing(home, model, requests, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"\xff" * 100)
    assert batch(requests, broken) == 1
    assert recorded_lines(home) == []
    assert "broken" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["missing.jsonl"], ["."], []])
def test_what_is_no_file_is_refused(home, model, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if words:
        assert batch(words[0], model) == 1
        assert "cannot be read" in capsys.readouterr().err
    else:
        with pytest.raises(SystemExit):
            main(["batch"])


def test_python_asks_the_same(home, model, requests, tmp_path):
    seen = []
    options = {"receipts": False, "prefixes": False, "threads": 1}
    outcome = ouvert.batch(
        requests, str(model), store=ouvert.store.Store(home), told=lambda job: seen.append(job.answered), **options
    )
    assert (outcome.job.state, outcome.job.answered, outcome.errors) == ("finished", ITEMS, None)
    assert [each["custom_id"] for each in outcome.answers()] == [f"item-{n}" for n in range(ITEMS)]
    assert seen == [*range(ITEMS + 1)]
    again = ouvert.batch(requests, str(model), store=ouvert.store.Store(home), told=seen.append, **options)
    assert again.job.id == outcome.job.id
    assert len(seen) == ITEMS + 1


def test_it_works_where_there_is_an_event_loop_already(home, model, requests):
    import asyncio

    async def in_a_notebook():
        return ouvert.batch(
            requests, str(model), store=ouvert.store.Store(home), receipts=False, prefixes=False, threads=1
        )

    assert asyncio.run(in_a_notebook()).job.answered == ITEMS
