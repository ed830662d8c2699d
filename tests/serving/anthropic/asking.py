"""What the tests of this dialect ask."""

import json

NAME = "gpt-oss:tiny"
ANSWER = "Hello from a tiny model."
QUESTION = [{"role": "user", "content": "Who are you?"}]
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}
TOOLS = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("sum", "product")]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "sum", "input": {"yes": True}}


def fields(**more):
    return {"model": "tiny", "max_tokens": 100, "messages": QUESTION, **more}


def thinks(seed=1, **more):
    """This client has no field for temperature or seed."""
    extra = {"temperature": 1, "seed": seed} | more.pop("extra_body", {})
    thinking = {"type": "enabled", "budget_tokens": 8}
    return {"model": NAME, "max_tokens": 60, "messages": QUESTION, "thinking": thinking, "extra_body": extra} | more


def body(**more):
    return json.loads(json.dumps(fields(**more)))


def thoughtful(sdk, **more):
    """(seed, answer): the first seed with which this model of noise thinks and then does what was asked."""
    for seed in range(200):
        message = sdk.messages.create(**thinks(seed, **more))
        if message.content and message.content[0].type == "thinking" and message.stop_reason != "max_tokens":
            return seed, message
    raise AssertionError("no seed makes it think")
