"""/ouvert/comparison: no byte tells who wrote what before the vote, and a vote is kept once."""

import asyncio
import itertools
import json
import random
import threading

import pytest

from ouvert.serving import Competitor, OpenComparison, Question, Recorded
from ouvert.serving.callers import OWNER
from ouvert.serving.comparisons.rounds import Rounds

SHORT = {"\n": "Hello", "Hello": " a", " a": " model", " model": ".", ".": "<|im_end|>"}
LONG = {"\n": "Hello", "Hello": " from", " from": " a", " a": " tiny", " tiny": " model", " model": ".",
        ".": "<|im_end|>"}  # fmt: skip
SAME = {word: word for word in (" from", " tiny", "unused")}  # so that both have the same tokens
NAMES = ("zebrafish", "quokkafish")
ITEM = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def models(speaking_model, tmp_path_factory):
    """Two models whose files have names that nothing else has."""
    made = []
    for name, follows in zip(NAMES, ({**SAME, **SHORT}, {**SAME, **LONG}), strict=True):
        folder = tmp_path_factory.mktemp("models") / name
        folder.symlink_to(speaking_model(follows))
        made.append(folder)
    return made


class Kept:
    """Stands for the file of votes."""

    def __init__(self):
        self.votes, self.fault, self.lock = [], None, threading.Lock()

    def cast(self, vote):
        with self.lock:
            if self.fault is not None:
                raise self.fault
            again = any((each["voter"], each["prompt"]) == (vote["voter"], vote["prompt"]) for each in self.votes)
            if vote["voter"] and again:
                return False
            self.votes.append(vote)
            return True

    def standings(self):
        return {"votes": len(self.votes)}


@pytest.fixture(scope="module")
def kept():
    return Kept()


def opened(kept, competitors):
    recorded = {
        NAMES[0]: Recorded(text="Zwölf. It is twelve.", reason="stop"),
        "octopus": Recorded(text="It is thirteen, surely.", reason="length"),
    }
    asked = ({"role": "user", "content": "How much is 5 + 7?"},)
    questions = (
        Question(id=ITEM, messages=asked, row="ladder/en", item="7", language="en", answers=recorded),
        Question(id="sha256:2", messages=({"role": "user", "content": "Say it."},), row="ladder/en", item="8"),
    )
    return OpenComparison(competitors=competitors, questions=questions, cast=kept.cast, standings=kept.standings)


@pytest.fixture(scope="module")
def server(start_server, models, kept):
    competitors = [Competitor(label=name, model=name, sampling={"temperature": 0.0}) for name in NAMES]
    return start_server(models=tuple(map(str, models)), comparison=opened(kept, competitors))


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def asked(client, **body):
    """(all bytes that came, the events) of a round."""
    with client.stream("POST", "/ouvert/comparison/rounds", json=body) as stream:
        assert stream.status_code == 200, stream.read()
        raw = repr(dict(stream.headers)).encode() + b"".join(stream.iter_bytes())
    lines = raw.decode().split("data: ")[1:]
    return raw, [json.loads(line.split("\n\n")[0]) for line in lines]


def told(raw):
    return [name for name in NAMES if name.encode() in raw]


@pytest.mark.parametrize("body", [{"prompt": "Say it."}, {"question": "sha256:2"}])
def test_no_byte_tells_who_wrote_what_before_the_vote(client, body):
    raw, events = asked(client, **body)
    round_id = events[0]["id"]
    raw += client.get("/ouvert/comparison").content + client.get(f"/ouvert/comparison/rounds/{round_id}").content
    raw += client.get("/ouvert/comparison/standings").content
    refused = [
        client.post(f"/ouvert/comparison/rounds/{round_id}/reread", json={"side": 0, "by": 1}),
        client.post(f"/ouvert/comparison/rounds/{round_id}/continuation", json={"side": 0, "by": 1, "position": 1}),
        client.post(f"/ouvert/comparison/rounds/{round_id}/vote", json={"verdict": "third"}),
    ]
    assert [each.status_code for each in refused] == [409, 409, 400]
    assert told(raw + b"".join(each.content for each in refused)) == []
    for digest in ("sha256", "receipt", "logprob", "seconds", "tokens"):
        assert digest.encode() not in raw.replace(b'"sha256:2"', b"").replace(ITEM.encode(), b"")
    voted = client.post(f"/ouvert/comparison/rounds/{round_id}/vote", json={"verdict": "first"})
    assert sorted(voted.json()["labels"]) == sorted(NAMES)
    texts = dict(zip(voted.json()["labels"], events[-1]["texts"], strict=True))
    assert texts == {NAMES[0]: "Hello a model.", NAMES[1]: "Hello from a tiny model."}


def test_the_words_of_all_sides_come_in_step_and_are_the_answers(client):
    _, events = asked(client, prompt="Say it.")
    steps = [event["words"] for event in events[1:-1]]
    for side in (0, 1):
        assert "".join(step[side] or "" for step in steps) == events[-1]["texts"][side]
    lengths = sorted(sum(step[side] is not None for step in steps) for side in (0, 1))
    assert lengths == [3, 5]
    assert all(None not in step for step in steps[:3])


def test_a_model_that_fails_is_not_named_and_there_is_no_vote(start_server, models, kept):
    competitors = [Competitor(label=NAMES[0], model=NAMES[0]), Competitor(label=NAMES[1], model="gone-" + NAMES[1])]
    server = start_server(models=(str(models[0]),), comparison=opened(kept, competitors))
    with server.client() as client:
        raw, events = asked(client, prompt="Say it.")
        assert told(raw) == []
        assert events[-1]["state"] == "failed"
        assert "could not answer" in events[-1]["fault"]
        vote = client.post(f"/ouvert/comparison/rounds/{events[0]['id']}/vote", json={"verdict": "first"})
        assert vote.status_code == 409
        assert told(vote.content) == []


def test_a_question_too_long_for_one_of_them_tells_no_name(client):
    raw, events = asked(client, prompt="x" * 3000)
    assert events[-1]["state"] == "failed"
    assert told(raw) == []
    assert b"2048" not in raw


THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% else %}{{ '\n' }}{% endif %}"
)
THOUGHT = {"\n": "<think>", "<think>": "Hm", "Hm": "</think>", "</think>": "Yes", "Yes": "<|im_end|>"}


def test_thoughts_are_not_shown_and_take_no_room_from_the_answer(start_server, speaking_model, tmp_path_factory, kept):
    (folder := tmp_path_factory.mktemp("models") / NAMES[0]).symlink_to(speaking_model(THOUGHT, THINKS))
    asked_once = [{"role": "user", "content": "?"}]
    question = Question(id="q", messages=tuple(asked_once), max_tokens=1, row="r", item="i")
    thinks = Competitor(label="thinks", model=NAMES[0], thought_tokens=8)
    hasty = Competitor(label="hasty", model=NAMES[0], thought_tokens=0)
    plain = Competitor(label="plain", model=NAMES[0], effort="none")
    comparison = OpenComparison(
        competitors=[thinks, hasty, plain], questions=(question,), cast=kept.cast, standings=kept.standings
    )
    server = start_server(models=(str(folder),), comparison=comparison)
    with server.client() as client:
        _, events = asked(client, question="q", columns=3)
        revealed = client.post(f"/ouvert/comparison/rounds/{events[0]['id']}/reveal").json()
    texts = dict(zip(revealed["labels"], revealed["texts"], strict=True))
    assert texts == {"thinks": "Yes", "hasty": "", "plain": "Yes"}


def test_recorded_answers_are_shown_also_of_who_is_not_here(start_server, models, kept):
    competitors = [Competitor(label=NAMES[0], model=NAMES[0]), Competitor(label="octopus", model=None)]
    server = start_server(models=(str(models[0]),), comparison=opened(kept, competitors))
    with server.client() as client:
        about = client.get("/ouvert/comparison").json()
        assert [each["id"] for each in about["questions"]] == [ITEM]
        assert (about["left_out"], about["takes_own_questions"]) == (1, False)
        raw, events = asked(client, question=ITEM)
        assert told(raw) == []
        assert b"octopus" not in raw
        assert sorted(events[-1]["texts"]) == ["It is thirteen, surely.", "Zwölf. It is twelve."]
        assert client.post("/ouvert/comparison/rounds", json={"prompt": "Own?"}).status_code == 409
        place = f"/ouvert/comparison/rounds/{events[0]['id']}"
        labels = client.post(f"{place}/reveal").json()["labels"]
        ours, other = labels.index(NAMES[0]), labels.index("octopus")
        read = client.post(f"{place}/reread", json={"side": other, "by": ours}).json()
        assert not read["same_tokens"]
        assert "".join(word["text"] for word in read["words"]) == "It is thirteen, surely."
        assert all(word["bits"][0] is None and word["bits"][1] > 0 for word in read["words"])
        refused = client.post(f"{place}/reread", json={"side": ours, "by": other})
        assert refused.status_code == 409
        assert "not computed here" in refused.text


def test_the_sides_are_drawn_anew_and_evenly():
    names = [Competitor(label=name, model=name) for name in "abcd"]
    question = Question(id="q", messages=({"role": "user", "content": "?"},))
    rounds = Rounds(random.Random(15))
    drawn = [rounds.begin(OWNER, question, names, 2) for _ in range(1200)]
    left = [each.sides[0].competitor.label for each in drawn]
    pairs = ["".join(sorted(side.competitor.label for side in each.sides)) for each in drawn]
    # Of 1200 draws: 300 each, standard deviation 15; 200 each, standard deviation 13.
    assert all(240 <= left.count(name) <= 360 for name in "abcd")
    assert all(148 <= pairs.count(pair) <= 252 for pair in ("ab", "ac", "ad", "bc", "bd", "cd"))
    follows = [one == other for one, other in itertools.pairwise(left)]
    assert 240 <= sum(follows) <= 360  # a side says nothing of the next


def test_a_round_takes_one_vote_and_the_vote_says_what_was_seen(client, kept):
    _, events = asked(client, question="sha256:2")
    place = f"/ouvert/comparison/rounds/{events[0]['id']}"
    voted = client.post(f"{place}/vote", json={"verdict": "second", "voter": "Ada", "reason": "shorter"}).json()
    vote = kept.votes[-1]
    assert vote["shown"] == voted["labels"]
    assert (vote["row"], vote["item"], vote["prompt"]) == ("ladder/en", "8", "sha256:2")
    assert (vote["verdict"], vote["voter"], vote["reason"]) == ("second", "Ada", "shorter")
    assert voted["counted"]
    again = client.post(f"{place}/vote", json={"verdict": "first"})
    assert again.status_code == 409
    assert kept.votes[-1] is vote
    _, events = asked(client, question="sha256:2")
    second = client.post(f"/ouvert/comparison/rounds/{events[0]['id']}/vote", json={"verdict": "tie", "voter": "Ada"})
    assert second.json()["counted"] is False


def test_names_that_were_shown_leave_nothing_to_vote_on(client):
    _, events = asked(client, prompt="Say it.")
    place = f"/ouvert/comparison/rounds/{events[0]['id']}"
    assert client.post(f"{place}/reveal").json()["labels"]
    assert client.post(f"{place}/vote", json={"verdict": "first"}).status_code == 409


def test_a_vote_that_cannot_be_kept_leaves_the_round_blind(client, kept):
    _, events = asked(client, prompt="Say it.")
    place = f"/ouvert/comparison/rounds/{events[0]['id']}"
    kept.fault = ValueError("keeping a vote: the disk is full.")
    refused = client.post(f"{place}/vote", json={"verdict": "first"})
    kept.fault = None
    assert (refused.status_code, told(refused.content)) == (400, [])
    assert "labels" not in client.get(place).json()
    assert client.post(f"{place}/vote", json={"verdict": "first"}).status_code == 200


def test_thirty_voters_at_once_have_a_vote_each(server, kept):
    before, faults = len(kept.votes), []

    def voter(n):
        with server.client() as client:
            _, events = asked(client, question="sha256:2")
            voted = client.post(
                f"/ouvert/comparison/rounds/{events[0]['id']}/vote", json={"verdict": "tie", "voter": f"pupil {n}"}
            )
            if not voted.json().get("counted"):
                faults.append(voted.text)

    threads = [threading.Thread(target=voter, args=(n,)) for n in range(30)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert faults == []
    assert {vote["voter"] for vote in kept.votes[before:]} == {f"pupil {n}" for n in range(30)}


def test_a_round_that_nobody_reads_ends_and_gives_its_models_back(server, client):
    with client.stream("POST", "/ouvert/comparison/rounds", json={"prompt": "Say it."}) as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("data: "))
    server.idle()
    state = client.get(f"/ouvert/comparison/rounds/{json.loads(first[6:])['id']}").json()["state"]
    assert state in ("failed", "answered")


def test_what_is_forgotten_is_in_no_round(server, client):
    _, events = asked(client, prompt="Something private.")
    asyncio.run_coroutine_threadsafe(forget(server.service), server.loop).result(30)
    assert client.get(f"/ouvert/comparison/rounds/{events[0]['id']}").status_code == 404


async def forget(service):
    for each in service.also_forgets:
        each(["Something private."], OWNER)


@pytest.mark.parametrize(
    "body",
    [{}, {"prompt": ""}, {"prompt": "x" * 20_001}, {"prompt": "a", "question": ITEM}, {"prompt": "a", "columns": 5},
     {"prompt": "a", "columns": 1}, {"prompt": "a", "model": "x"}, {"prompt": 3}],
)  # fmt: skip
def test_a_wrong_body_is_refused(client, body):
    assert client.post("/ouvert/comparison/rounds", json=body).status_code == 400


def test_an_unknown_question_and_an_unknown_round_are_not_found(client):
    assert client.post("/ouvert/comparison/rounds", json={"question": "sha256:nope"}).status_code == 404
    for path in ("round_x", "..%2f..%2fetc", "round_" + "0" * 24):
        assert client.get(f"/ouvert/comparison/rounds/{path}").status_code == 404


def test_a_server_that_compares_nothing_says_so(start_server, models):
    server = start_server(models=(str(models[0]),))
    with server.client() as client:
        for method, path in [("GET", ""), ("GET", "/standings"), ("GET", "/rounds/x")]:
            answer = client.request(method, f"/ouvert/comparison{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_comparison")
        assert client.get("/api/ui/session").json()["compares"] is False


def test_another_page_and_a_stranger_see_nothing(client):
    assert client.get("/ouvert/comparison", headers={"origin": "https://elsewhere.example"}).status_code == 403
    assert client.get("/ouvert/comparison", headers={"x-forwarded-for": "10.0.0.1"}).status_code == 401
