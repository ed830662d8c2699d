"""/v1/files and /v1/batches, as OpenAI's own library asks for them."""

import asyncio
import errno
import json
import os
import shutil
import threading
import time

import httpx2
import openai
import pytest

from ouvert.serving import Keys
from ouvert.serving import job_runner as runner
from ouvert.serving.job_kinds import LOOK_SECONDS, Places
from ouvert.serving.job_runner import sweep
from ouvert.serving.openai import batches
from ouvert.store import ArrivingFile, somebody_is_answered
from ouvert.store.jobs import results as recorded

ANSWER = "Hello from a tiny model."
CHAT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
PAUSE = threading.Event()


def line(custom_id, url=CHAT, **body):
    said = {"messages": [{"role": "user", "content": f"Hi {custom_id}"}]} if url == CHAT else {}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "tiny", **said, **body}})


def as_file(*lines, name="requests.jsonl"):
    return (name, "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n")


def made(sdk, *lines, endpoint=CHAT, completion_window="24h", **more):
    file = sdk.files.create(file=as_file(*lines), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=completion_window, **more)


def until(sdk, batch, *statuses):
    """The batch when it is one of these."""
    end = time.monotonic() + 60
    while (batch := sdk.batches.retrieve(batch.id)).status not in statuses:
        assert time.monotonic() < end, batch
        PAUSE.wait(0.01)
    return batch


def results(sdk, file_id):
    return [json.loads(each) for each in sdk.files.content(file_id).text.splitlines()]


def client_of(server, key="none"):
    return openai.OpenAI(base_url=server.base + "/v1", api_key=key, _strict_response_validation=True, max_retries=0)


@pytest.fixture(scope="module")
def sdk(server):
    with client_of(server) as sdk:
        yield sdk


@pytest.fixture
def endless_server(start_server, speaking_model, tmp_path):
    """start(...) -> server whose model `tiny` never comes to an end by itself."""
    model = tmp_path / "tiny"
    shutil.copytree(speaking_model({"\n": "again", "again": "again"}), model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 200_000}))

    def start(**fields):
        return start_server(
            **{"models": (str(model),), "home": tmp_path / "home", "state": tmp_path / "state", **fields}
        )

    return start


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_file_of_requests_is_answered(sdk):
    batch = until(sdk, made(sdk, *(line(f"item-{n}") for n in range(20)), metadata={"for": "a test"}), *OVER)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (20, 20, 0)
    answered = results(sdk, batch.output_file_id)
    assert [each["custom_id"] for each in answered] == [f"item-{n}" for n in range(20)]
    assert {each["response"]["body"]["choices"][0]["message"]["content"] for each in answered} == {ANSWER}
    assert batch.usage.output_tokens == sum(each["response"]["body"]["usage"]["completion_tokens"] for each in answered)
    assert batch.metadata == {"for": "a test"}
    assert batch.error_file_id is None
    assert batch.errors is None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at


def test_every_line_is_openais_and_has_its_receipt(sdk):
    batch = until(sdk, made(sdk, line("only")), *OVER)
    [found] = results(sdk, batch.output_file_id)
    assert set(found) == {"id", "custom_id", "response", "error"}
    assert found["id"].startswith("batch_req_")
    assert found["error"] is None
    assert found["response"]["status_code"] == 200
    assert found["response"]["request_id"] == found["response"]["body"]["ouvert"]["receipt_id"]
    openai.types.chat.ChatCompletion.model_validate(found["response"]["body"])


@pytest.mark.parametrize(
    ("url", "body", "said"),
    [
        ("/v1/responses", {"input": "Hi"}, lambda body: body["output"][-1]["content"][0]["text"]),
        ("/v1/completions", {"prompt": "\n"}, lambda body: body["choices"][0]["text"]),
    ],
)
def test_the_other_endpoints_answer_too(sdk, url, body, said):
    batch = until(sdk, made(sdk, line("one", url, **body), endpoint=url), *OVER)
    [found] = results(sdk, batch.output_file_id)
    assert said(found["response"]["body"]) == ANSWER


def test_texts_become_vectors(start_server, embedding_model, tmp_path):
    server = start_server(models=(str(embedding_model),), state=tmp_path)
    with client_of(server) as sdk:
        lines = (line(f"{n}", "/v1/embeddings", model="embedding", input=f"text {n}") for n in range(3))
        batch = until(sdk, made(sdk, *lines, endpoint="/v1/embeddings"), *OVER)
        vectors = [each["response"]["body"]["data"][0]["embedding"] for each in results(sdk, batch.output_file_id)]
        alone = sdk.embeddings.create(model="embedding", input="text 2", encoding_format="float")
        assert vectors[2] == alone.data[0].embedding


def test_what_a_request_gets_wrong_is_its_own_error_and_stops_no_other(sdk):
    wrong = {
        "hot": {"temperature": 9},
        "streamed": {"stream": True},
        "empty": {"messages": []},
        "deep": {"max_tokens": "many"},
    }
    lines = [line("good"), *(line(name, **body) for name, body in wrong.items()), line("good too")]
    batch = until(sdk, made(sdk, *lines), *OVER)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 4)
    assert [each["custom_id"] for each in results(sdk, batch.output_file_id)] == ["good", "good too"]
    refused = results(sdk, batch.error_file_id)
    assert [each["custom_id"] for each in refused] == list(wrong)
    assert {each["response"]["status_code"] for each in refused} == {400}
    alone = httpx2.post(sdk.base_url.join("chat/completions"), json=json.loads(lines[1])["body"])
    assert refused[0]["response"]["body"] == alone.json()


def test_a_batch_is_answered_alike_whenever_it_is(sdk):
    lines = [line(f"{n}", temperature=2) for n in range(40)]
    said = []
    for _ in range(2):
        file = sdk.files.create(file=as_file(*lines), purpose="batch")
        batch = sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        answered = results(sdk, until(sdk, batch, *OVER).output_file_id)
        said.append([each["response"]["body"]["choices"][0]["message"]["content"] for each in answered])
    assert said[0] == said[1]
    assert len(set(said[0])) > 1


# --- files that are no batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line("a"), "nonsense"], "invalid_json_line", 2),
        ([line("a"), "[1]"], "invalid_json_line", 2),
        ([line("a"), '{"custom_id": NaN}'], "invalid_json_line", 2),
        ([line("a"), "[" * 300], "nested_too_deeply", 2),
        ([line("a"), "", line("b"), line("a")], "duplicate_custom_id", 4),
        ([line("a", "/v1/models")], "invalid_url", 1),
        ([line("a", "/v1/embeddings", input="x")], "invalid_url", 1),
        ([line("a").replace("POST", "GET")], "invalid_method", 1),
        ([line("")], "invalid_value", 1),
        ([line("a").replace("custom_id", "id")], "missing_required_parameter", 1),
        ([line("a")[:-1] + ', "priority": 1}'], "unknown_parameter", 1),
        ([line("a", model="")], "missing_required_parameter", 1),
        ([line("a", model="gpt-4o")], "model_not_found", 1),
        ([line("a", model="../tiny")], "model_not_found", 1),
        ([line("a", model="x" * 40_000_000)], "line_too_long", 1),
        ([""], "empty_file", None),
        (["\ud800"], "invalid_json_line", 1),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_file_that_is_no_batch_is_refused_before_anything_is_answered(sdk, lines, code, number):
    batch = until(sdk, made(sdk, *lines), *OVER)
    assert batch.status == "failed"
    assert batch.failed_at
    assert batch.output_file_id is None
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, number)


def test_only_so_many_faults_are_named(sdk):
    batch = until(sdk, made(sdk, *["nonsense"] * 500), *OVER)
    assert len(batch.errors.data) == 101
    assert batch.errors.data[-1].code == "more_errors"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"input_file_id": "file-00000000"}, "input_file_id"),
        ({"input_file_id": "../../keys"}, "input_file_id"),
        ({"metadata": {f"{n}": "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_what_a_batch_cannot_be_is_refused_by_its_field(sdk, fields, param):
    file = sdk.files.create(file=as_file(line("a")), purpose="batch")
    stated = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **fields}
    with pytest.raises((openai.BadRequestError, openai.NotFoundError, openai.UnprocessableEntityError)) as refused:
        sdk.batches.create(**stated)
    assert refused.value.param == param


# --- lists, cancelling, time ------------------------------------------------------------------------------------------


def test_batches_and_files_are_listed_page_by_page(start_server, speaking_model, tmp_path):
    (model := tmp_path / "tiny").symlink_to(speaking_model())
    with client_of(start_server(models=(str(model),), state=tmp_path / "state")) as sdk:
        batches = [made(sdk, line("a")) for _ in range(5)]
        first = sdk.batches.list(limit=2)
        assert len(first.data) == 2
        assert first.has_more
        assert {each.id for each in sdk.batches.list(limit=2)} == {each.id for each in batches}
        assert len({each.id for each in sdk.files.list(limit=2, purpose="batch")}) == 5
        ascending = [each.id for each in sdk.files.list(order="asc", purpose="batch")]
        assert ascending == [each.id for each in sdk.files.list(purpose="batch")][::-1]
        for ask in (sdk.batches.list, sdk.files.list):
            with pytest.raises(openai.BadRequestError, match="after"):
                ask(after="nobody")
            with pytest.raises(openai.BadRequestError, match="limit"):
                ask(limit=0)


def test_a_cancelled_batch_keeps_what_was_answered(endless_server):
    server = endless_server(job_places=2)
    with client_of(server) as sdk:
        batch = made(sdk, line("short", max_tokens=3), *(line(f"{n}") for n in range(5)))
        while not sdk.batches.retrieve(batch.id).request_counts.completed:
            PAUSE.wait(0.01)
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        batch = until(sdk, batch, *OVER)
        assert batch.status == "cancelled"
        assert batch.cancelling_at <= batch.cancelled_at
        assert [each["custom_id"] for each in results(sdk, batch.output_file_id)] == ["short"]
        left = results(sdk, batch.error_file_id)
        assert [each["error"]["code"] for each in left] == ["batch_cancelled"] * 5
        assert [each["response"] for each in left] == [None] * 5
        with pytest.raises(openai.ConflictError, match="cancelled already"):
            sdk.batches.cancel(batch.id)
        server.idle()


def test_a_batch_that_waits_for_another_is_cancelled_at_once(endless_server):
    server = endless_server()
    with client_of(server) as sdk:
        first = made(sdk, line("long"))
        until(sdk, first, "in_progress")
        second = made(sdk, line("waits"))
        assert sdk.batches.retrieve(second.id).status == "validating"
        sdk.batches.cancel(second.id)
        second = until(sdk, second, *OVER)
        assert second.status == "cancelled"
        assert [each["error"]["code"] for each in results(sdk, second.error_file_id)] == ["batch_cancelled"]
        assert sdk.batches.retrieve(first.id).status == "in_progress"
        sdk.batches.cancel(first.id)
        until(sdk, first, *OVER)


def test_a_file_that_vanished_ends_its_batch(server, sdk):
    file = sdk.files.create(file=as_file(line("a")), purpose="batch")
    server.service.files.content(file.id).unlink()
    batch = sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert until(sdk, batch, *OVER).errors.data[0].code == "input_file_missing"


def test_a_batch_ends_when_its_window_is_over(endless_server, monkeypatch):
    monkeypatch.setattr(batches, "window_seconds", lambda window: 0.3)
    with client_of(endless_server()) as sdk:
        batch = until(sdk, made(sdk, line("long")), *OVER)
        assert batch.status == "expired"
        assert batch.expired_at
        [left] = results(sdk, batch.error_file_id)
        assert left["error"]["code"] == "batch_expired"


def test_the_same_idempotency_key_is_the_same_batch(sdk):
    file, other = (sdk.files.create(file=as_file(line("a")), purpose="batch") for _ in range(2))
    stated = {"endpoint": CHAT, "completion_window": "24h", "extra_headers": {"Idempotency-Key": "once"}}
    first, second = (sdk.batches.create(input_file_id=file.id, **stated) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(openai.ConflictError, match="Idempotency-Key"):
        sdk.batches.create(input_file_id=other.id, **stated)


# --- whose they are ---------------------------------------------------------------------------------------------------


def test_each_key_has_its_own_and_a_revoked_one_has_its_batches_ended(endless_server, tmp_path):
    keys = Keys(tmp_path / "state")
    (mine, my_secret), (_, other_secret) = keys.create("mine"), keys.create("other")
    server = endless_server()
    with client_of(server, my_secret) as me, client_of(server, other_secret) as other:
        batch = made(me, line("short", max_tokens=2), line("long"))
        while not me.batches.retrieve(batch.id).request_counts.completed:
            PAUSE.wait(0.01)
        assert other.batches.list().data == []
        assert other.files.list().data == []
        for ask in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                ask(batch.id)
        for ask in (other.files.retrieve, other.files.delete, other.files.content):
            with pytest.raises(openai.NotFoundError):
                ask(batch.input_file_id)
        with pytest.raises(openai.NotFoundError):
            other.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
        with client_of(server) as nobody, pytest.raises(openai.AuthenticationError):
            nobody.files.list()
        keys.revoke(mine.id)
        while not (job := server.service.jobs.get(batch.id)).is_over:
            PAUSE.wait(0.01)
        assert job.state == "failed"
        assert job.outcome["errors"][0]["code"] == "key_revoked"
        assert "output_file_id" in job.outcome


def test_a_key_for_some_models_has_no_other_in_a_batch(endless_server, tmp_path):
    _, secret = Keys(tmp_path / "state").create("limited", models=("another",))
    with client_of(endless_server(), secret) as sdk:
        batch = until(sdk, made(sdk, line("a", max_tokens=2)), *OVER)
        assert batch.errors.data[0].code == "model_not_found"


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_stopped_servers_batch_goes_on_in_the_next_one(endless_server, tmp_path):
    first = endless_server(job_places=1)
    with client_of(first) as sdk:
        batch = made(sdk, *(line(f"{n}", max_tokens=2) for n in range(3)), line("long"), line("last", max_tokens=2))
        while sdk.batches.retrieve(batch.id).request_counts.completed < 3:
            PAUSE.wait(0.01)
    first.uvicorn.should_exit = True
    while first.loop.is_running():
        PAUSE.wait(0.01)
    kept = [json.loads(each) for each in (tmp_path / "home/jobs" / batch.id / "results.jsonl").read_text().splitlines()]
    assert [each["item"] for each in kept] == ["0", "1", "2"]  # what was cut off is not recorded
    second = endless_server(answer_seconds=0.3)
    with client_of(second) as sdk:
        batch = until(sdk, batch, *OVER)
        answered = results(sdk, batch.output_file_id)
        assert [each["custom_id"] for each in answered] == ["0", "1", "2", "long", "last"]
        assert [each["response"]["body"]["id"] for each in answered[:3]] == [
            each["value"]["response"]["body"]["id"] for each in kept
        ]
        assert not (tmp_path / "home/jobs" / batch.id / "results.jsonl").exists()


@pytest.mark.parametrize("gone", ["model", "file"])
def test_what_was_answered_stays_when_a_batch_cannot_be_gone_on_with(endless_server, tmp_path, gone):
    first = endless_server(job_places=1)
    with client_of(first) as sdk:
        batch = made(sdk, *(line(f"{n}", max_tokens=2) for n in range(3)), line("long"))
        while sdk.batches.retrieve(batch.id).request_counts.completed < 3:
            PAUSE.wait(0.01)
    first.uvicorn.should_exit = True
    while first.loop.is_running():
        PAUSE.wait(0.01)
    if gone == "file":
        shutil.rmtree(tmp_path / "home/files" / batch.input_file_id)
    second = endless_server(models=()) if gone == "model" else endless_server()
    with client_of(second) as sdk:
        batch = until(sdk, batch, *OVER)
        assert batch.status == "failed"
        assert batch.errors.data[0].code == {"model": "model_not_found", "file": "input_file_missing"}[gone]
        assert (batch.request_counts.completed, batch.request_counts.failed) == (3, 0)
        assert [each["custom_id"] for each in results(sdk, batch.output_file_id)] == ["0", "1", "2"]


def test_a_key_that_is_revoked_while_no_server_runs_has_its_batch_ended_by_the_next_one(endless_server, tmp_path):
    keys = Keys(tmp_path / "state")
    (mine, my_secret), (_, other_secret) = keys.create("mine"), keys.create("other")
    first = endless_server(job_places=1)
    with client_of(first, my_secret) as me:
        batch = made(me, *(line(f"{n}", max_tokens=2) for n in range(3)), line("long"))
        while me.batches.retrieve(batch.id).request_counts.completed < 3:
            PAUSE.wait(0.01)
    first.uvicorn.should_exit = True
    while first.loop.is_running():
        PAUSE.wait(0.01)
    Keys(tmp_path / "state").revoke(mine.id)
    second = endless_server()
    end = time.monotonic() + 60
    while not (job := second.service.jobs.get(batch.id)).is_over:
        assert time.monotonic() < end, job
        PAUSE.wait(0.01)
    assert (job.state, job.outcome["errors"][0]["code"], job.answered) == ("failed", "key_revoked", 3)
    [output] = [each.read_text() for each in (tmp_path / "home/files" / job.outcome["output_file_id"]).glob("content*")]
    assert [json.loads(each)["custom_id"] for each in output.splitlines()] == ["0", "1", "2"]
    assert second.service.answers.in_flight == 0
    with client_of(second, my_secret) as me, pytest.raises(openai.AuthenticationError):
        me.batches.retrieve(batch.id)
    with client_of(second, other_secret) as other, pytest.raises(openai.NotFoundError):
        other.batches.retrieve(batch.id)


def test_a_full_disk_holds_a_batch_up_and_loses_nothing(endless_server, monkeypatch):
    monkeypatch.setattr(runner, "AGAIN_SECONDS", 0.05)
    full = [True] * 3

    def write_all(file, data):
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(file, data)

    monkeypatch.setattr(recorded, "write_all", write_all)
    server = endless_server()
    with client_of(server) as sdk:
        batch = until(sdk, made(sdk, *(line(f"{n}", max_tokens=2) for n in range(6))), *OVER)
        assert not full
        assert server.app.state.jobs.places._taken == 0
        assert [each["custom_id"] for each in results(sdk, batch.output_file_id)] == [f"{n}" for n in range(6)]


def test_somebody_who_waits_for_an_answer_comes_first():
    class Answers:
        somebody_waits = True

    answers, taken = Answers(), []

    async def check():
        places = Places(answers, 3)

        async def job():
            for n in range(9):
                await places.take()
                taken.append(n)

        begun = asyncio.create_task(job())
        await asyncio.sleep(4 * LOOK_SECONDS)
        assert len(taken) == 1  # not none: else a busy server would never come to an end with it
        places.give_back()
        await asyncio.sleep(4 * LOOK_SECONDS)
        assert len(taken) == 2
        answers.somebody_waits = False
        await asyncio.sleep(4 * LOOK_SECONDS)
        assert len(taken) == 4
        begun.cancel()

    asyncio.run(check())


def test_an_item_of_a_batch_is_nobody_who_waits(endless_server):
    server = endless_server()
    with client_of(server) as sdk:
        batch = made(sdk, line("long"))
        while not server.service.answers.in_progress:
            PAUSE.wait(0.01)
        home = server.service.store.home
        assert not server.service.answers.somebody_waits
        assert not somebody_is_answered(home)
        with sdk.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
        ) as stream:
            next(iter(stream))
            assert server.service.answers.somebody_waits
            assert somebody_is_answered(home)
        sdk.batches.cancel(batch.id)
        until(sdk, batch, *OVER)


# --- uploads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..\\x", 'a"; filename="b', "\u202ex", "con", "é" * 300])
def test_a_hostile_name_is_kept_as_a_text_and_leads_nowhere(server, sdk, name):
    file = sdk.files.create(file=as_file(line("a"), name=name), purpose="batch")
    folder = server.service.files.folder / file.id
    assert sorted(path.name for path in folder.iterdir()) == ["content", "file.json"]
    assert sdk.files.retrieve(file.id).filename == file.filename
    answer = httpx2.get(f"{server.base}/v1/files/{file.id}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert sdk.files.content(file.id).content == as_file(line("a"))[1]


def test_a_file_is_removed_but_not_from_under_a_batch(endless_server):
    with client_of(endless_server()) as sdk:
        batch = made(sdk, line("long"))
        until(sdk, batch, "in_progress")
        with pytest.raises(openai.ConflictError, match="Cancel that first"):
            sdk.files.delete(batch.input_file_id)
        sdk.batches.cancel(batch.id)
        until(sdk, batch, *OVER)
        assert sdk.files.delete(batch.input_file_id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.files.retrieve(batch.input_file_id)


def test_files_say_when_they_go_and_then_go(server, sdk):
    file = sdk.files.create(
        file=as_file(line("a")), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at in (file.created_at + 3600, file.created_at + 3601)
    service = server.service
    before = len(service.files.every())
    service.files.sweep(file.expires_at - 2, frozenset())
    assert len(service.files.every()) == before
    service.files.sweep(file.expires_at + 2, frozenset())
    assert file.id not in [each.id for each in service.files.every()]
    sweep(service)


def test_files_are_bounded_each_and_together(start_server):
    server = start_server(file_bytes=1000, files_bytes=1500)
    with client_of(server) as sdk:
        with pytest.raises(openai.APIStatusError, match="larger than 1000 bytes") as refused:
            sdk.files.create(file=("a", b"x" * 1001), purpose="batch")
        assert refused.value.status_code == 413
        sdk.files.create(file=("a", b"x" * 1000), purpose="batch")
        with pytest.raises(openai.APIStatusError, match="more than 1500 bytes"):
            sdk.files.create(file=("a", b"x" * 1000), purpose="batch")
        assert len(list(server.service.files.folder.iterdir())) == 1


def test_a_full_disk_refuses_an_upload_and_keeps_nothing_of_it(server, monkeypatch):
    before = sorted(server.service.files.folder.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ArrivingFile, "write", full)
    answer = httpx2.post(server.base + "/v1/files", data={"purpose": "batch"}, files={"file": ("a", b"x")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert sorted(server.service.files.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "multipart/form-data"}, b""),
        ({"content-type": "multipart/form-data; boundary=" + "b" * 999}, b""),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\nnonsense"),
        ({"content-type": "multipart/form-data; boundary=b"}, b""),
        ({"content-type": "multipart/form-data; boundary=b"}, b'--b\r\nContent-Disposition: form-data; name="file'),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\nA: b\r\n\r\nx\r\n" * 40 + b"--b--\r\n"),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\nA: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--b--"),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\nA: b\r\n\r\n" + b"x" * 5000 + b"\r\n--b--"),
    ],
)
def test_what_is_no_form_with_a_file_is_refused_and_leaves_nothing(server, headers, body):
    before = sorted(server.service.files.folder.iterdir()) if server.service.files.folder.exists() else []
    answer = httpx2.post(server.base + "/v1/files", headers=headers, content=body)
    assert answer.status_code in (400, 413)
    assert "message" in answer.json()["error"]
    assert sorted(server.service.files.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "assistants"}, "purpose"),
        ({"purpose": "batch", "colour": "red"}, "colour"),
        ({"purpose": "batch", "expires_after[seconds]": "99999"}, "expires_after"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}, "expires_after"),
    ],
)
def test_what_a_form_gets_wrong_is_said_by_its_field(server, fields, param):
    answer = httpx2.post(server.base + "/v1/files", data=fields, files={"file": ("a", b"x")})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    answer = httpx2.post(server.base + "/v1/files", data={"purpose": "batch"}, files={"other": ("a", b"x")})
    assert answer.status_code == 400


def test_another_page_of_this_machine_may_not_upload(server):
    answer = httpx2.post(
        server.base + "/v1/files", headers={"origin": "http://localhost:1"}, data={"purpose": "batch"},
        files={"file": ("a", b"x")},
    )  # fmt: skip
    assert answer.status_code == 403
