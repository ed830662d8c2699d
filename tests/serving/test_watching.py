"""Watching over HTTP: in every dialect that takes it, for those who may, and in no client's way."""

import json

import anthropic
import numpy as np
import openai
import pytest

from ouvert.assistant import Probe, Watched, WatchedExperts
from ouvert.cli import main
from ouvert.inspection import Direction, write_direction
from ouvert.serving.watching import Pieces, piece_of
from ouvert.store import Directions

MESSAGES = [{"role": "user", "content": "Hi"}]
ASKED = {
    "/v1/chat/completions": {"messages": MESSAGES, "temperature": 0},
    "/v1/responses": {"input": "Hi", "temperature": 0},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 20, "temperature": 0},
}
WATCH = ["confidence", "probe:tone"]
COLUMNS = ("places", "ids", "logprobs", "entropy", "ranks", "alternative_ids", "alternative_logprobs")


@pytest.fixture(scope="module")
def here(start_server, speaking_model, tmp_path_factory):
    """(server, its folder of directions); it serves `tiny`, and a direction of its shape is called tone."""
    folder = tmp_path_factory.mktemp("watching")
    (folder / "tiny").symlink_to(speaking_model())
    server = start_server(home=folder / "home", models=(str(folder / "tiny"),), state=folder / "state")
    directions = Directions(folder / "home")
    with server.client() as client:
        edit = {"operation": "add", "tap": "layers.0.out", "values": [1.0]}
        body = {"model": "tiny", **ASKED["/v1/messages"], "ouvert": {"edits": [edit]}}
        message = client.post("/v1/messages", json=body).json()["error"]["message"]
    width = int(message.split("expected ")[1].split()[0])
    keep(directions, "tone", np.random.default_rng(1).standard_normal(width), threshold=0.25)
    keep(directions, "other", np.ones(width + 1))
    return server, directions


def keep(directions, name, vector, **facts):
    direction = Direction({0: vector.astype(np.float32)}, {"format": "ouvert.direction/1", **facts})
    directions.put(name, lambda path: write_direction(direction, path))


@pytest.fixture
def client(here):
    with here[0].client() as client:
        yield client


@pytest.fixture(params=ASKED)
def path(request):
    return request.param


def asked(path, watch=WATCH, **more):
    return {"model": "tiny", **ASKED[path], "ouvert": {"watch": list(watch), "receipt": "full"}, **more}


def events_of(response):
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


def joined(pieces):
    whole = {column: [] for column in COLUMNS}
    for piece in pieces:
        for column in COLUMNS:
            whole[column] += piece["confidence"][column]
    return whole


def without_what_changes(body):
    """The answer's words, whatever the dialect."""
    return [body.get(name) for name in ("choices", "content")], [
        [part["text"] for part in item["content"]] for item in body.get("output", ())
    ]


def test_a_whole_answer_has_what_was_seen_and_the_words_of_the_unwatched_one(client, path):
    plain, watched = (client.post(path, json=asked(path, watch)).json() for watch in ((), WATCH))
    assert without_what_changes(plain) == without_what_changes(watched)
    assert "watched" not in plain["ouvert"]
    assert "watched" not in plain["ouvert"]["receipt"]
    [piece] = watched["ouvert"]["watched"]
    receipt = watched["ouvert"]["receipt"]
    tokens = receipt["tokens"]
    assert piece["index"] == 0
    confidence, probe = piece["confidence"], piece["probes"]["tone"]
    assert confidence["places"] == list(range(tokens["prompt"], tokens["total"]))
    assert probe["places"] == [place - 1 for place in confidence["places"]]
    assert (probe["layer"], probe["threshold"]) == (0, 0.25)
    assert {len(confidence[column]) for column in COLUMNS} == {tokens["output"]} == {len(probe["projections"])}
    assert all(len(ids) == 5 for ids in confidence["alternative_ids"])
    assert {str(token) for ids in confidence["alternative_ids"] for token in ids} <= confidence["pieces"].keys()
    assert receipt["watched"]["watch"] == WATCH
    assert receipt["tokens"]["output_digest"] == plain["ouvert"]["receipt"]["tokens"]["output_digest"]


def test_a_stream_has_the_same_in_pieces_and_no_event_more(client, path):
    [whole] = client.post(path, json=asked(path)).json()["ouvert"]["watched"]
    plain, watched = (events_of(client.post(path, json=asked(path, each, stream=True))) for each in ((), WATCH))
    assert [each.get("type", each.get("object")) for each in plain] == [
        each.get("type", each.get("object")) for each in watched
    ]
    pieces = [piece for each in watched for piece in each.get("ouvert", {}).get("watched", ())]
    assert joined(pieces) == {column: whole["confidence"][column] for column in COLUMNS}
    projections = [each for piece in pieces for each in piece["probes"]["tone"]["projections"]]
    assert projections == whole["probes"]["tone"]["projections"]
    assert not any("watched" in json.dumps(each) for each in plain)


def test_a_piece_comes_with_the_text_that_its_tokens_make_or_before(client):
    path, told, said = "/v1/chat/completions", "", ""
    for event in events_of(client.post(path, json=asked(path, stream=True))):
        for piece in event.get("ouvert", {}).get("watched", ()):
            confidence = piece["confidence"]
            told += "".join(confidence["pieces"][str(token)] for token in confidence["ids"])
        said += event["choices"][0]["delta"].get("content") or ""
        assert told.startswith(said)
    assert said


def test_each_choice_is_told_apart(client):
    path = "/v1/chat/completions"
    body = asked(path, n=3, temperature=1, seed=4)
    whole = client.post(path, json=body).json()["ouvert"]["watched"]
    assert [piece["index"] for piece in whole] == [0, 1, 2]
    events = events_of(client.post(path, json=body | {"stream": True}))
    for event in events:
        for piece in event.get("ouvert", {}).get("watched", ()):
            assert piece["index"] == event["choices"][0]["index"]
    for n in range(3):
        mine = [p for each in events for p in each.get("ouvert", {}).get("watched", ()) if p["index"] == n]
        assert joined(mine) == {column: whole[n]["confidence"][column] for column in COLUMNS}


def test_a_stored_response_has_the_whole(client):
    path = "/v1/responses"
    written = client.post(path, json=asked(path)).json()
    assert client.get(f"{path}/{written['id']}").json()["ouvert"]["watched"] == written["ouvert"]["watched"]


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        (["experts"], "has none. It can be watched by confidence and probe:NAME"),
        (["sureness"], "confidence, probe:NAME"),
        (["probe:tune"], "no direction 'tune' on this machine (there are: bad, other, tone)"),
        (["probe:../tone"], "cannot be called"),
        (["probe:other"], "was made for another model"),
        (["probe:bad"], "cannot be read"),
        (["confidence"] * 17, "16"),
        ([3], "expected text"),
        ("confidence", "list"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_what_can(here, client, path, watch, said):
    (here[1].folder / "bad.direction").write_bytes(b"\x80\x04")
    body = {"model": "tiny", **ASKED[path], "ouvert": {"watch": watch}}
    for stream in (False, True):
        refused = client.post(path, json=body | {"stream": stream})
        assert refused.status_code == 400, refused.text
        assert said in refused.json()["error"]["message"]


def test_other_endpoints_say_where_answers_can_be_watched(client):
    refused = client.post(
        "/v1/completions", json={"model": "tiny", "prompt": "Hi", "ouvert": {"watch": ["confidence"]}}
    )
    assert (refused.status_code, "/v1/chat/completions" in refused.json()["error"]["message"]) == (400, True)


def test_openais_library_reads_watched_streams_as_any_others(here):
    with openai.OpenAI(base_url=here[0].base + "/v1", api_key="none", max_retries=0) as sdk:
        beside = {"extra_body": {"ouvert": {"watch": WATCH}}}
        plain = sdk.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0).choices[0].message.content
        stream = sdk.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, stream=True, **beside)
        chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain
        assert any(getattr(chunk, "ouvert", {}).get("watched") for chunk in chunks)
        with sdk.responses.stream(model="tiny", input="Hi", temperature=0, **beside) as stream:
            seen = list(stream)
            assert stream.get_final_response().output_text == plain
        assert any((getattr(event, "ouvert", None) or {}).get("watched") for event in seen)


def test_anthropics_library_reads_watched_streams_as_any_others(here):
    with anthropic.Anthropic(base_url=here[0].base, api_key="none", max_retries=0) as sdk:
        more = {"model": "tiny", "messages": MESSAGES, "max_tokens": 20, "extra_body": {"temperature": 0}}
        [plain] = sdk.messages.create(**more).content
        with sdk.messages.stream(**more | {"extra_body": {"temperature": 0, "ouvert": {"watch": WATCH}}}) as stream:
            assert "".join(stream.text_stream) == plain.text
            assert stream.get_final_message().content[0].text == plain.text


def test_a_key_watches_only_where_that_was_granted(start_server, speaking_model, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny").symlink_to(speaking_model())
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    secrets = {}
    for name, arguments in {"plain": [], "editor": ["--scope", "edit"], "looker": ["--scope", "inspect"]}.items():
        assert main(["key", "create", name, *arguments]) == 0
        secrets[name] = capsys.readouterr().out.strip()
    server = start_server(models=(str(tmp_path / "tiny"),), state=tmp_path / "home" / "server")
    path = "/v1/chat/completions"
    with server.client() as client:
        for name, expected in {"plain": 403, "editor": 403, "looker": 200}.items():
            headers = {"authorization": f"Bearer {secrets[name]}"}
            response = client.post(path, json=asked(path, ["confidence"]), headers=headers)
            assert response.status_code == expected, response.text
            assert client.post(path, json=asked(path, []), headers=headers).status_code == 200
            if expected == 403:
                assert "--scope inspect" in response.json()["error"]["message"]


def seen_at(place):
    experts = WatchedExperts((0, 2), np.array([[place, 1], [0, 3]]), np.array([0.5, 0.123456789]))
    probe = Probe(name="tone", layer=1, vector=(1.0,))
    return Watched(place=place, id=5, texts={5: "x"}, experts=experts, probes={"tone": 2.0}, watch=(probe,))


def test_experts_have_a_row_for_each_layer_as_in_a_trace():
    piece = piece_of(1, [seen_at(8), seen_at(9)])
    assert piece == {
        "index": 1,
        "experts": {
            "layers": [0, 2],
            "places": [7, 8],
            "chosen": [[[8, 1], [9, 1]], [[0, 3], [0, 3]]],
            "entropy": [[0.5, 0.5], [0.12346, 0.12346]],
        },
        "probes": {"tone": {"layer": 1, "threshold": None, "places": [7, 8], "projections": [2.0, 2.0]}},
    }


def test_nothing_is_told_twice_and_nothing_is_lost():
    pieces = Pieces()
    assert (pieces.untold(0), pieces.whole, pieces.with_untold({"a": 1})) == ({}, {}, {"a": 1})
    pieces.take(0, seen_at(8))
    pieces.take(1, seen_at(8))
    assert pieces.with_untold({"ouvert": {"b": 2}})["ouvert"].keys() == {"b", "watched"}
    pieces.take(0, seen_at(9))
    [piece] = pieces.untold(0)["watched"]
    assert piece["experts"]["places"] == [8]
    assert pieces.untold(0) == {}
    assert [each["experts"]["places"] for each in pieces.whole["watched"]] == [[7, 8], [7]]
