"""Bodies that nobody means well with, at the endpoints of training and corrections: refused, and the server goes on."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from ouvert.cli.served_tunings import Tunings
from ouvert.serving.app import JOB_KINDS

AT, CORRECTIONS = "/ouvert/tune/jobs", "/ouvert/corrections"
EXAMPLE = {"messages": [{"role": "user", "content": "Say 1."}, {"role": "assistant", "content": "It is 1."}]}
LONG = {
    "adapter": {"rank": 2},
    "optimise": {"steps": 100_000, "batch": 2},
    "safety": {"mix": 0.0, "check": False},
}
SAID = {"messages": [{"role": "user", "content": "hi"}], "given": "a", "wanted": "b"}


@pytest.fixture(scope="module")
def client(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    folder = tmp_path_factory.mktemp("store")
    server = start_server(
        models=(str(model),), home=folder / "home", kinds=(*JOB_KINDS, Tunings()), state=folder / "state"
    )
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def data(client):
    lines = "".join(json.dumps(EXAMPLE) + "\n" for _ in range(6))
    return client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", lines)}).json()["id"]


def deep(levels, inner="1"):
    return '{"a":' * levels + inner + "}" * levels


RECIPES = {
    "deep": deep(5_000),
    "deep lists": "[" * 5_000 + "]" * 5_000,
    "a list": "[]",
    "null": "null",
    "nan": '{"optimise": {"rate": NaN}}',
    "infinite": '{"optimise": {"rate": Infinity}}',
    "too large a number": '{"optimise": {"rate": 1e999}}',
    "a number of many digits": '{"optimise": {"steps": ' + "9" * 5_000 + "}}",
    "negative": '{"optimise": {"steps": -1}}',
    "true for a number": '{"optimise": {"steps": true}}',
    "a section that is none": '{"optimise": 3}',
    "half a surrogate": '{"model": "\\ud800"}',
    "nul": '{"data": {"train": "a\\u0000b"}}',
    "a day that is none": '{"data": {"date": "2026-02-31"}}',
    "a huge rank": '{"adapter": {"rank": 1000000000000}}',
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_is_none_is_refused_by_name(client, data, recipe):
    body = f'{{"model": "tiny", "data": "{data}", "name": "hostile", "recipe": {recipe}}}'
    answer = client.post(AT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 413, 422), answer.text
    assert answer.json()["error"]["message"]
    assert client.get(AT).json()["data"] == []


BODIES = {
    "no object": "[]",
    "no JSON": "{",
    "nothing": "",
    "deep": deep(5_000),
    "nan": '{"model": NaN}',
    "bytes": b"\xff\xfe\x00",
    "a huge name": json.dumps({"model": "tiny", "data": "corrections", "name": "a" * 100_000}),
    "other types": json.dumps({"model": {"a": 1}, "data": ["corrections"], "name": 7, "recipe": "x"}),
}


@pytest.mark.parametrize("path", [AT, CORRECTIONS])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_none_is_refused(client, path, body):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert client.get(path).json()["data"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"given": "\ud800"},
        {"receipt": "../../etc/passwd", "wanted": ["x"]},
        {"tools": [json.loads(deep(900))], "messages": [{"role": "nobody", "content": "a"}]},
    ],
    ids=["half a character", "another type", "deep tools"],
)
def test_a_correction_that_cannot_be_kept_is_refused(client, changes):
    body = json.dumps(SAID | changes)
    answer = client.post(CORRECTIONS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 413, 422), answer.text
    assert client.get(CORRECTIONS).json()["data"] == []


def test_of_many_that_ask_for_one_name_at_once_one_gets_it(client, data):
    """And it may be ended by as many at once."""
    asked = {"model": "tiny", "data": data, "name": "wanted", "recipe": LONG}
    with ThreadPoolExecutor(8) as pool:
        answers = [each.result() for each in [pool.submit(client.post, AT, json=asked) for _ in range(8)]]
    assert sorted(each.status_code for each in answers) == [202] + [409] * 7, [each.text for each in answers]
    [job] = [each.json()["id"] for each in answers if each.status_code == 202]
    with ThreadPoolExecutor(4) as pool:
        ended = [each.result() for each in [pool.submit(client.delete, f"{AT}/{job}") for _ in range(4)]]
    assert {each.status_code for each in ended} <= {200, 404}, [each.text for each in ended]


@pytest.mark.parametrize("last", ["-1", "99999999999999999999", "x", "0\u00e9".encode("latin-1"), "a" * 5_000])
def test_an_odd_last_event_changes_nothing(client, data, last):
    asked = {"model": "tiny", "data": data, "name": "followed", "recipe": {**LONG, "optimise": {"rate": 1.0}}}
    job = client.post(AT, json=asked).json()["id"]
    client.delete(f"{AT}/{job}")
    told = client.get(f"{AT}/{job}/events", headers={"last-event-id": last})
    assert told.status_code == 200, told.text
    assert "event: end" in told.text
    client.delete(f"{AT}/{job}")
