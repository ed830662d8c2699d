"""What a report is made of, out of the folder of a comparison."""

from hashlib import sha256

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.comparison import Comparison
from ouvert.evaluation.evidence import Evidence, key_of_answer
from ouvert.evaluation.outcome import Answered
from ouvert.evaluation.published import published
from ouvert.evaluation.report.material import Given, Material
from ouvert.evaluation.suites.catalog import cards


def gather(evidence: Evidence, comparison: Comparison) -> Material:
    """Questions, first answers and their last scores. Words that stay with their owner are not read at all.

    Raises what `Evidence.items`, `answers` and `scores` raise.
    """
    plan = evidence.plan
    withheld = frozenset(each.name for each in plan.suites if each.withheld)
    shown = [row for row in plan.rows if row.suite not in withheld]
    answers = evidence.answers()
    return Material(
        comparison=comparison,
        cards=cards(),
        items={row.row: evidence.items(row.row) for row in shown},
        given=first_answers(evidence, answers, {row.row for row in shown}),
        withheld=withheld,
        published=published(),
        chain=chain_head(answers),
        plan_digest=evidence.plan_digest,
    )


def first_answers(
    evidence: Evidence, answers: tuple[Answered, ...], rows: set[str]
) -> dict[tuple[str, str, str], Given]:
    scores = evidence.scores()
    return {
        (each.contestant, each.row, each.item): Given(
            outcome=each.outcome, score=scores[key], seconds=each.cost.whole, output_tokens=each.cost.output_tokens
        )
        for each in answers
        if each.sample == 0 and each.row in rows and (key := key_of_answer(each)) in scores
    }


def chain_head(answers: tuple[Answered, ...]) -> str:
    """The digest of the last receipt that Ouvert wrote (docs/formats/receipt.md); "" where there is none."""
    receipts = [each.receipt for each in answers if "engine" in each.receipt]
    return "sha256:" + sha256(canonical_json(dict(receipts[-1]))).hexdigest() if receipts else ""
