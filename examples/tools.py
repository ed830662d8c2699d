"""A model that uses a tool: python examples/tools.py MODEL "What is 17 times 23, plus 4?"

The model asks for calls, Python makes them, the results go back, until it answers. What it thought before a call stays
with the model: `ouvert` puts it back when the results come.
"""

import json
import sys

import ouvert

CALCULATE = ouvert.Tool(
    name="calculate",
    description="The result of one step of arithmetic",
    parameters={
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -1000000, "maximum": 1000000},
            "operator": {"enum": ["+", "-", "*"]},
            "b": {"type": "integer", "minimum": -1000000, "maximum": 1000000},
        },
        "required": ["a", "operator", "b"],
        "additionalProperties": False,
    },
)


def calculate(a: int, operator: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[operator]


MOST_CALLS = 4

if len(sys.argv) != 3:
    sys.exit(__doc__)
with ouvert.load(sys.argv[1]) as model:
    messages = [ouvert.Message(role="user", content=sys.argv[2])]
    for turn in range(MOST_CALLS + 1):
        *deltas, finished = model.chat(
            messages,
            tools=[CALCULATE],
            tool_choice="auto" if turn < MOST_CALLS else "none",
            think_budget=400 if model.chat_format.abilities.thinks else None,
            max_tokens=1000,
        )
        text = "".join(event.text for event in deltas if isinstance(event, ouvert.TextDelta))
        if not finished.tool_calls:
            break
        messages.append(ouvert.Message(role="assistant", content=text, tool_calls=finished.tool_calls))
        for call in finished.tool_calls:
            result = calculate(**json.loads(call.arguments))
            print(f"{call.name}({call.arguments}) = {result}")
            messages.append(ouvert.Message(role="tool", tool_call_id=call.id, content=str(result)))
    print(f"answer: {text!r} ({finished.reason})")
