"""comparison_folder.py FOLDER: two very small models with the same tokens, and a comparison of them, in that folder.

Prints the folder of the comparison. Nothing has been answered in it: the models answer while it is open.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
from conftest import CHATML, CONTROL, write_speaking_model
from ouvert.evaluation import ContestantFacts, Evidence, Plan, PlannedRow, PlannedSuite, open_suite
from ouvert.evaluation.evidence import digest_of_items, items_of_row

SAME = {word: word for word in (" from", " tiny")}
MODELS = {
    "zebrafish": {"\n": "Hello", "Hello": " a", " a": " model", " model": ".", ".": "<|im_end|>"},
    "quokkafish": {"\n": "Hello", "Hello": " from", " from": " a", " a": " tiny", " tiny": " model", " model": ".",
                   ".": "<|im_end|>"},
}  # fmt: skip


def main(folder: Path) -> None:
    facts = []
    for name, follows in MODELS.items():
        write_speaking_model(folder / name, SAME | follows, CHATML, CONTROL)
        identity = {"made_for": name, "sampling": {"temperature": 0.0}}
        facts.append(ContestantFacts(label=str(folder / name), name=name, where="here", identity=identity))
    suite = open_suite("ladder")
    items = suite.items("en", 4, 1)
    rows = []
    for row in dict.fromkeys(item.row for item in items):
        planned = PlannedRow(row=row, suite="ladder", language="en", form="", kind="chat", count=4, seed=1, items="")
        rows.append(replace(planned, items=digest_of_items(items_of_row(suite, planned))))
    described = dict(suite.describe())
    ladder = PlannedSuite(name="ladder", scorer=suite.card.scorer, licence="", source="", made=described)
    plan = Plan(
        ouvert="0", written="2026-11-30T12:00:00Z", seed=1, contestants=tuple(facts), suites=(ladder,),
        rows=tuple(rows),
    )  # fmt: skip
    Evidence.create(folder / "comparison", plan).close()
    print(folder / "comparison")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
