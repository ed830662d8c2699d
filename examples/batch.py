"""One answer for each line of a file, as JSON lines: python examples/batch.py MODEL QUESTIONS.txt > answers.jsonl"""

import json
import sys
from pathlib import Path

import ouvert

INSTRUCTIONS = ouvert.Message(role="system", content="Answer in one short sentence.")

if len(sys.argv) != 3:
    sys.exit(__doc__)
with ouvert.load(sys.argv[1]) as model:
    for question in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
        *deltas, finished = model.chat(
            [INSTRUCTIONS, ouvert.Message(role="user", content=question)], temperature=0, max_tokens=100
        )
        answer = "".join(event.text for event in deltas if isinstance(event, ouvert.TextDelta))
        print(json.dumps({"question": question, "answer": answer, "ended": finished.reason}, ensure_ascii=False))
