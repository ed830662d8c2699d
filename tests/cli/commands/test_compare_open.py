"""What `ouvert compare open` and `votes` make of a folder: who can be asked, what is shown, what votes say."""

import json
from dataclasses import replace

import pytest
from tests.evaluation.made_up import Scripted, luck, made_up_comparison, made_up_plan, made_up_suites

from ouvert import cli
from ouvert.cli.comparing_live import Live, Shown, Votes, name_and_effort, open_in_page, shown_names
from ouvert.evaluation import Answered, ContestantFacts, Cost, Evidence, Outcome, Vote, VoteFile
from ouvert.serving import Refusal
from ouvert.store import Store

HERE = Live(host="127.0.0.1", port=0, names=(), browser=False, memory=None, computing={})


@pytest.fixture(autouse=True)
def suites(monkeypatch):
    made_up_suites(monkeypatch)


def vote(**changes):
    fields = {"prompt": "p", "shown": ("strong", "weak"), "answers": ("x", "y"), "verdict": "first", "seconds": 1.0}
    return Vote(**(fields | changes))


def shown(folder, store=None, **changes):
    return Shown(Evidence.open(folder), store or Store(folder / "store"), **({"keeps_withheld": True} | changes))


def test_recorded_answers_to_conversations_are_shown_and_nothing_else(tmp_path):
    made_up_comparison(tmp_path / "c").close()
    found = shown(tmp_path / "c")
    comparison = found.comparison()
    assert [each.row for each in comparison.questions] == ["sums/en"] * 40 + ["choices/en/letter"] * 40
    first = comparison.questions[0]
    assert set(first.answers) == {"strong", "weak"}
    assert first.answers["strong"].ids == tuple(first.answers["strong"].text.encode())
    assert comparison.live == [], "models that are not here cannot be asked"
    assert len(found.notes) == 2
    assert "only its recorded answers are shown" in found.notes[0]


def test_a_model_that_is_here_is_asked_by_its_name_and_effort(tmp_path, speaking_model):
    place = tmp_path / "here"
    place.symlink_to(speaking_model())
    identity = {"effort": "low", "copy": 2, "sampling": {"top_k": 3}}
    facts = ContestantFacts(label=f"{place}:low#2", name="here", where="here", identity=identity)
    assert name_and_effort(facts) == (str(place), "low")
    other = Scripted("elsewhere", luck("x", 0.5))
    other.facts = replace(other.facts, where="local")
    own = Scripted("own", luck("y", 0.5))
    own.facts = facts
    Evidence.create(tmp_path / "c", made_up_plan([own, other], {"sums/en": 4})).close()
    found = shown(tmp_path / "c")
    asked, not_asked = found.comparison().competitors
    assert (asked.model, asked.effort, dict(asked.sampling)) == ("here", "low", {"top_k": 3})
    assert asked.thought_tokens == 1024
    assert not_asked.model is None
    assert found.models == [str(place)]


def test_words_that_stay_with_their_owner_are_not_shown_to_other_machines(tmp_path):
    both = [Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4))]
    plan = made_up_plan(both, {"sums/en": 4})
    plan = replace(plan, suites=tuple(replace(each, withheld=True) for each in plan.suites))
    with Evidence.create(tmp_path / "c", plan) as evidence:
        for item in evidence.items("sums/en"):
            for each in both:
                evidence.append_answer(each.ask(item, 0, 1))
    assert len(shown(tmp_path / "c").comparison().questions[0].answers) == 2
    found = shown(tmp_path / "c", keeps_withheld=False)
    assert found.comparison().questions == []
    assert any("its words stay with their owner" in note for note in found.notes)
    (tmp_path / "c" / "private.jsonl").unlink()
    assert shown(tmp_path / "c").comparison().questions[0].answers == {}


def test_answers_without_words_are_no_answers(tmp_path):
    both = [Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4))]
    with Evidence.create(tmp_path / "c", made_up_plan(both, {"sums/en": 1})) as evidence:
        [item] = evidence.items("sums/en")
        refused = Answered(contestant="strong", row="sums/en", item=item.id, sample=0, cost=Cost(whole=1), receipt={},
                           outcome=Outcome(refused="no tools"))  # fmt: skip
        evidence.append_answer(refused)
        evidence.append_answer(replace(both[1].ask(item, 0, 1), sample=1))
    assert shown(tmp_path / "c").comparison().questions[0].answers == {}


def test_a_folder_with_nothing_to_show_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "store"))
    both = [Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4))]
    Evidence.create(tmp_path / "c", made_up_plan(both, {"sums/en": 2})).close()
    assert open_in_page(tmp_path / "c", HERE) == 1
    assert "has nothing to show side by side" in capsys.readouterr().err


def test_weights_that_changed_are_named(tmp_path, speaking_model):
    place = tmp_path / "here"
    place.symlink_to(speaking_model())
    own = Scripted("own", luck("y", 0.5))
    own.facts = ContestantFacts(label=str(place), name="here", where="here", identity={}, about={"weights": "sha256:1"})
    Evidence.create(tmp_path / "c", made_up_plan([own, Scripted("x", luck("x", 0.5))], {"sums/en": 1})).close()
    found = shown(tmp_path / "c")
    found.comparison()

    class Service:
        class loaded_models:
            @staticmethod
            def model_of(called):
                class Engine:
                    class engine:
                        class facts:
                            weights_digest = "sha256:2"

                return Engine

    [sentence] = found.changed(Service())
    assert "are sha256:2, and the comparison was made with sha256:1" in sentence


def test_a_path_is_shown_by_its_last_name_and_votes_keep_the_label(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.gguf").touch()
    labels = [str(tmp_path / "a" / "model.gguf"), str(tmp_path / "b" / "model.gguf"), "org/name"]
    names = shown_names(labels)
    assert list(names.values()) == ["model.gguf (1)", "model.gguf (2)", "org/name"]
    file = VoteFile(tmp_path)
    cast = json.loads(json.dumps({"prompt": "p", "row": "", "item": "", "shown": ["model.gguf (2)", "org/name"],
                                  "answers": ["x", "y"], "verdict": "first", "voter": "", "reason": "",
                                  "seconds": 1}))  # fmt: skip
    assert Votes(file, names).cast(cast)
    assert file.votes()[0].shown == (labels[1], "org/name")


def test_a_vote_that_cannot_be_kept_tells_the_voter_no_path(tmp_path, capsys):
    (tmp_path / "votes.jsonl").mkdir()
    with pytest.raises(Refusal) as refused:
        Votes(VoteFile(tmp_path), {"strong": "strong", "weak": "weak"}).cast(
            {"prompt": "p", "shown": ["strong", "weak"], "answers": ["x", "y"], "verdict": "tie", "seconds": 1}
        )
    assert refused.value.status == 507
    assert str(tmp_path) not in refused.value.message
    assert str(tmp_path) in capsys.readouterr().err


def test_votes_that_cannot_be_read_are_refused_before_anything_is_served(tmp_path, capsys):
    made_up_comparison(tmp_path / "c", counts={"sums/en": 2}).close()
    (tmp_path / "c" / "votes.jsonl").symlink_to("/dev/zero")
    assert cli.main(["compare", "open", str(tmp_path / "c"), "--no-browser"]) == 1
    assert "votes.jsonl cannot be read (a link stands where a file should)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plan.toml", "answers.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{" * 100_000, b"[]\n", b'{"plan": 1}\n{"contestant": {}}\n', b"\xff" * 99])
def test_a_damaged_folder_is_one_sentence(tmp_path, capsys, name, content):
    made_up_comparison(tmp_path / "c", counts={"sums/en": 2}).close()
    (tmp_path / "c" / name).write_bytes(content)
    ended = cli.main(["compare", "open", str(tmp_path / "c"), "--no-browser"])
    said = capsys.readouterr().err
    assert ended == 1
    assert said.startswith("ouvert: ")
    assert "Traceback" not in said


def test_the_manifest_is_written_again_when_votes_have_come(tmp_path):
    made_up_comparison(tmp_path / "c", counts={"sums/en": 2}).close()
    found = shown(tmp_path / "c")
    found.comparison()
    before = (tmp_path / "c" / "manifest.json").read_bytes()
    found.seal()
    assert (tmp_path / "c" / "manifest.json").read_bytes() == before
    VoteFile(tmp_path / "c").add(vote())
    found.seal()
    assert "votes.jsonl" in json.loads((tmp_path / "c" / "manifest.json").read_bytes())


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (["open", "DIR", "--time", "5m", "--json"], "--time, --json"),
        (["votes", "DIR", "--port", "80"], "--port"),
        (["a", "b", "--no-browser"], "--no-browser"),
        (["score", "DIR", "--out", "x"], "--out"),
    ],
)
def test_options_without_effect_are_refused(capsys, words, idle):
    assert cli.main(["compare", *words]) == 2
    assert f"does nothing with {idle}. Leave that out." in capsys.readouterr().err


def test_every_action_says_which_options_it_honours():
    from ouvert.cli.commands.compare import ACTIONS, EFFECTIVE, OPTIONS

    assert EFFECTIVE.keys() == ACTIONS.keys()
    assert set().union(*EFFECTIVE.values()) <= OPTIONS.keys()


def test_votes_are_printed_without_a_rank_until_there_are_enough(tmp_path, capsys):
    made_up_comparison(tmp_path / "c", counts={"sums/en": 2}).close()
    file = VoteFile(tmp_path / "c")
    for n in range(29):
        file.add(vote(prompt=f"p{n}", voter=f"v{n % 5}"))
    assert cli.main(["compare", "votes", str(tmp_path / "c")]) == 0
    said = capsys.readouterr().out
    assert "29 votes, with 5 labels of voters." in said
    assert "No rank before 30 votes for each model; the one with the fewest has 29." in said
    for n in range(29, 60):
        file.add(vote(prompt=f"p{n}", voter=f"v{n % 5}", verdict="tie" if n % 3 else "second"))
    with open(tmp_path / "c" / "votes.jsonl", "ab") as raw:
        raw.write(b"no vote\n")
    assert cli.main(["compare", "votes", str(tmp_path / "c"), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [each["label"] for each in found["ranking"]] == ["strong", "weak"]
    first = found["ranking"][0]
    assert first["low"] <= first["rating"] <= first["high"]
    assert "1 lines of" in captured.err


def test_a_ranking_needs_every_contestant_compared(tmp_path, capsys):
    three = [Scripted(name, luck(name, 0.5)) for name in ("strong", "weak", "third")]
    made_up_comparison(tmp_path / "c", three, {"sums/en": 2}).close()
    file = VoteFile(tmp_path / "c")
    for n in range(60):
        file.add(vote(prompt=f"p{n}"))
    cli.main(["compare", "votes", str(tmp_path / "c"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["ranking"], found["fewest"], found["connected"]) == ([], 0, False)
