"""A model that knows nothing calls a tool without a slip: its answer is held to Harmony and to the tool's schema.

Run: python examples/constrained_harmony.py [MODEL]; without MODEL, on a tiny gpt-oss of random weights.
"""

import sys
import tempfile
from pathlib import Path

import ouvert

WEATHER = ouvert.Tool(
    name="weather",
    description="The weather in a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Lima", "Kyoto"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "days", "unit"],
        "additionalProperties": False,
    },
)


def main(model_path: str) -> None:
    with ouvert.load(model_path) as model:
        conversation = model.chat(
            "Shall I take an umbrella?", tools=[WEATHER], tool_choice="required",
            effort="low", think_budget=24, seed=6, temperature=1.0, max_tokens=400,
        )  # fmt: skip
        *_, finished = conversation
        print("tokens  ", model.detokenize(conversation.token_ids, control=True))
        for call in finished.tool_calls:
            print("call    ", call.name, call.arguments)
        print("ended   ", finished.reason, finished.usage)


if len(sys.argv) > 2 or sys.argv[-1].startswith("-"):
    sys.exit(__doc__)
elif len(sys.argv) == 2:
    main(sys.argv[1])
else:
    from tiny_gpt_oss import write_tiny_gpt_oss

    with tempfile.TemporaryDirectory() as folder:
        write_tiny_gpt_oss(Path(folder) / "tiny")
        main(str(Path(folder) / "tiny"))
