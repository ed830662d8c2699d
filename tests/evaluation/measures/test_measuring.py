"""`--damage`, from names of models to damage.jsonl: the reference, a stop in the middle, and what is refused."""

from dataclasses import replace

import pytest

import ouvert
from ouvert.evaluation import EvaluationError, Evidence, analyse, resume
from ouvert.evaluation.comparing import compare
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.measures import damage as damage_file
from ouvert.evaluation.measures.measuring import damage_to_measure, said_of_reference


@pytest.fixture
def few_pages(monkeypatch):
    """Two windows of each language: the models are tiny, and their tokens are bytes."""
    whole = damage_file.windows

    def few(model, languages):
        every = list(whole(model, languages))
        return [each for each in every if each.number < 1][:4] + [each for each in every if each.number == 1][:2]

    monkeypatch.setattr(damage_file, "windows", few)


@pytest.fixture
def tiny(speaking_model):
    return str(speaking_model())


def compared(tiny, folder, **settings):
    return compare(f"{tiny}@4", f"{tiny}@16", damage=True, minutes=0.01, folder=folder, threads=1, **settings)


def test_fewer_bits_are_measured_beside_the_contestant_of_the_most(tiny, few_pages, tmp_path):
    folder = compared(tiny, tmp_path / "c").folder
    evidence = Evidence.open(folder)
    planned = evidence.plan.damage
    assert planned["reference"] == "tiny@16"
    assert planned["bits"] == {"tiny@4": 4.0, "tiny@16": 16.0}
    assert planned["rounded"] is False
    assert {row.suite for row in evidence.plan.rows} == {"reading"}
    found = analyse(evidence)
    assert {each.contestant for each in found.damages} == {"tiny@4"}
    assert all(each.divergence > 0 for each in found.damages)
    assert sum(each.tokens for each in found.damages) == 6 * damage_file.WINDOW
    assert "damage.jsonl" in (folder / "manifest.json").read_text()


def test_stopped_at_a_window_it_goes_on_there_and_the_lines_are_the_same(tiny, few_pages, tmp_path, monkeypatch):
    whole = compared(tiny, tmp_path / "whole").folder
    append, count = Evidence.append, 0

    def stopping(self, measure, line):
        nonlocal count
        count += measure == "damage"
        if count == 3:
            raise KeyboardInterrupt
        append(self, measure, line)

    monkeypatch.setattr(Evidence, "append", stopping)
    with pytest.raises(KeyboardInterrupt):
        compared(tiny, tmp_path / "stopped")
    monkeypatch.setattr(Evidence, "append", append)
    lines = (tmp_path / "stopped" / "damage.jsonl").read_text()
    assert lines.count("\n") == 2
    resume(tmp_path / "stopped", threads=1)
    assert (tmp_path / "stopped" / "damage.jsonl").read_bytes() == (whole / "damage.jsonl").read_bytes()


def test_a_contestant_elsewhere_and_one_alone_are_refused(tiny):
    from ouvert.evaluation.contestants.here import facts_of

    with ouvert.load(tiny, receipts=False, prefixes=False) as model:
        facts = facts_of(model, "a", about={"bytes": model.info.bytes, "parameters": model.info.parameters})
    with pytest.raises(EvaluationError, match="expected two precisions"):
        damage_to_measure([Entrant(facts=facts, open=lambda: None)])
    with pytest.raises(EvaluationError, match="b is computed by another program"):
        damage_to_measure([Entrant(facts=replace(facts, label=name, where=where), open=lambda: None)
                           for name, where in (("a", "here"), ("b", "local"))])  # fmt: skip


def test_a_model_of_other_tokens_is_refused_before_anything_is_asked(tiny, smollm2, tmp_path):
    with pytest.raises(EvaluationError, match="their tokens differ"):
        compare(f"{tiny}@4", str(smollm2), damage=True, minutes=0.01, folder=tmp_path / "c", threads=1)
    assert not (tmp_path / "c").exists()


def test_the_reference_is_named_in_a_sentence_with_a_warning_where_it_was_rounded_itself():
    planned = damage_file.planned_damage({"m@4": 4.0, "m": 5.74})
    assert "beside m, the best weights that were named: 5.74 bits each. They were rounded already" in (
        said_of_reference(planned)
    )
    assert "rounded" not in said_of_reference(damage_file.planned_damage({"m@4": 4.0, "m@16": 16.0}))
