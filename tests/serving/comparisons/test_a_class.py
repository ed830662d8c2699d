"""Voters at other machines: each with a key, their own rounds, and no more of the server than that."""

import json

import pytest

from ouvert.serving import Competitor, Keys, OpenComparison

NAMES = ("zebrafish", "quokkafish")


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def server(start_server, speaking_model, tmp_path_factory, state):
    models = []
    for name in NAMES:
        (folder := tmp_path_factory.mktemp("models") / name).symlink_to(speaking_model())
        models.append(str(folder))
    comparison = OpenComparison(
        competitors=[Competitor(label=name, model=name) for name in NAMES],
        questions=(), cast=lambda vote: True, standings=lambda: {"votes": 0},
    )  # fmt: skip
    return start_server(models=tuple(models), only_these=True, state=state, key_required=True, comparison=comparison)


def holding(server, state, name, **limits):
    _, secret = Keys(state).create(name, **limits)
    return server.client(headers={"authorization": f"Bearer {secret}"})


def asked(client, **body):
    with client.stream("POST", "/ouvert/comparison/rounds", json=body) as stream:
        assert stream.status_code == 200, stream.read()
        raw = b"".join(stream.iter_bytes())
    return raw, [json.loads(line.split("\n\n")[0]) for line in raw.decode().split("data: ")[1:]]


def test_without_a_key_nothing_is_shown_and_with_one_a_round_is_asked_and_voted_on(server, state):
    with server.client() as stranger:
        for method, path in [("GET", ""), ("GET", "/standings"), ("POST", "/rounds"), ("GET", "/rounds/round_x")]:
            assert stranger.request(method, f"/ouvert/comparison{path}").status_code == 401
    with holding(server, state, "class") as pupil:
        assert pupil.get("/api/ui/session").json()["compares"]
        _, events = asked(pupil, prompt="Say it.")
        voted = pupil.post(f"/ouvert/comparison/rounds/{events[0]['id']}/vote", json={"verdict": "tie"})
        assert sorted(voted.json()["labels"]) == sorted(NAMES)


def test_a_round_is_shown_to_the_key_that_began_it_and_to_no_other(server, state):
    with holding(server, state, "one") as one, holding(server, state, "other") as other:
        _, events = asked(one, prompt="Say it.")
        place = f"/ouvert/comparison/rounds/{events[0]['id']}"
        assert one.get(place).status_code == 200
        assert other.get(place).status_code == 404
        for action, body in [("vote", {"verdict": "first"}), ("reveal", None), ("reread", {"side": 0, "by": 1}),
                             ("continuation", {"side": 0, "by": 1, "position": 0})]:  # fmt: skip
            assert other.post(f"{place}/{action}", json=body).status_code == 404


def test_a_key_that_may_not_use_one_of_the_models_learns_no_name(server, state):
    with holding(server, state, "limited", models=(NAMES[0],)) as limited:
        raw, events = asked(limited, prompt="Say it.")
        assert events[-1]["state"] == "failed"
        assert not [name for name in NAMES if name.encode() in raw]
