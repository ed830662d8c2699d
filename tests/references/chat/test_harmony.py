"""Harmony against openai-harmony: its published cases, and generated conversations and schemas."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_harmony import (
    Author,
    ChannelConfig,
    DeveloperContent,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    Role,
    SystemContent,
    ToolDescription,
)
from openai_harmony import Conversation as TheirConversation

from ouvert.chat import Tool
from ouvert.chat.harmony import PUBLISHED_IDS, HarmonyMessage, without_old_analysis
from ouvert.chat.harmony.sections import BROWSER, PYTHON, developer_text, system_text

from .look_alikes import look_alikes, words

# --- its published cases (openai/harmony, src/tests.rs and tests/test_harmony.py), on the level of its messages ---

WEATHER = {
    "name": "lookup_weather",
    "description": "Use this tool to lookup the weather in a given location. Call it with the parameter 'location', "
    "can be any textual description of a location.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
FORMAT = {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
KITCHEN_SINK = [
    {"name": "get_location", "description": "Gets the location of the user.", "parameters": None},
    {
        "name": "get_current_weather",
        "description": "Gets the current weather in the provided location.",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "format": FORMAT,
            },
            "required": ["location"],
        },
    },
    {
        "name": "get_multiple_weathers",
        "description": "Gets the current weather in the provided list of locations.",
        "parameters": {
            "type": "object",
            "properties": {
                "locations": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": 'List of city and state, e.g. ["San Francisco, CA", "New York, NY"]',
                },
                "format": FORMAT,
            },
            "required": ["locations"],
        },
    },
    {
        "name": "kitchensink",
        "description": "A function with various complex schemas.",
        "parameters": {
            "description": "params object",
            "type": "object",
            "properties": {
                "string": {
                    "type": "string",
                    "title": "STRING",
                    "description": "A string",
                    "examples": ["hello", "world"],
                },
                "string_nullable": {
                    "type": "string",
                    "nullable": True,
                    "description": "A nullable string",
                    "default": "the default",
                },
                "string_enum": {"type": "string", "enum": ["a", "b", "c"]},
                "oneof_string_or_number": {
                    "oneOf": [
                        {"type": "string", "default": "default_string_in_oneof"},
                        {"type": "number", "description": "numbers can happen too"},
                    ],
                    "description": "a oneof",
                    "default": 20,
                },
            },
        },
    },
]
LARGEST = "What is the capital of the largest country in the world?"
ROBOT = {"author": "developer", "instructions": "Answer the user's questions like a robot."}
SUM = {"author": "user", "text": "What is 2 + 2?"}
THOUGHT = {"author": "assistant", "text": "User asks: “What is 2 + 2?” Simple.", "channel": "analysis"}
FOUR = {"author": "assistant", "text": "2 + 2 equals 4.", "channel": "final"}
NEXT = {"author": "user", "text": "What about 9 / 2?"}
CALL = {
    "author": "assistant",
    "text": '{"location": "San Francisco"}',
    "channel": "commentary",
    "recipient": "functions.lookup_weather",
    "content_type": "<|constrain|>json",
}
RESULT = {"author": "functions.lookup_weather", "text": '{"temperature": 20, "description": "sunny"}'}
TWO_CHANNELS = ("analysis", "final")
PUBLISHED = {
    "simple_convo": [{"author": "system"}, SUM],
    **{
        f"simple_convo_{effort}_effort{'' if robot else '_no_instruction'}": [
            {"author": "system", "effort": effort},
            *robot,
            {"author": "user", "text": LARGEST},
        ]
        for effort in ("low", "medium", "high")
        for robot in ([ROBOT], [])
    },
    "reasoning_system_message": [{"author": "system", "effort": "medium", "channels": TWO_CHANNELS}, SUM],
    "reasoning_system_message_no_instruction": [
        {"author": "system", "effort": "high", "channels": TWO_CHANNELS},
        {"author": "user", "text": "What is the best place to eat candy in the world?"},
    ],
    "reasoning_system_message_with_dates": [
        {
            "author": "system",
            "effort": "medium",
            "date": "2021-01-01",
            "knowledge_cutoff": "2021-01",
            "channels": TWO_CHANNELS,
        },
        {"author": "user", "text": "What is 42 * pi?"},
    ],
    "render_functions_with_parameters": [
        {"author": "system", "effort": "high", "date": "2025-06-28"},
        {"author": "developer", "instructions": "Always respond in riddles", "tools": KITCHEN_SINK},
        {"author": "user", "text": "What is the weather like in SF?"},
    ],
    "no_tools": [{"author": "system", "date": "2025-06-28"}],
    "browser_tool_only": [{"author": "system", "date": "2025-06-28", "builtin": ("browser",)}],
    "browser_and_python_tool": [{"author": "system", "date": "2025-06-28", "builtin": ("browser", "python")}],
    "browser_and_function_tool": [
        {"author": "system", "date": "2025-06-28", "builtin": ("browser",)},
        {"author": "developer", "tools": [WEATHER]},
    ],
    "dropping_cot_by_default": [SUM, THOUGHT, FOUR, NEXT],
    "does_not_drop_if_ongoing_analysis": [SUM, THOUGHT, CALL, RESULT],
    "preserve_cot": [SUM, THOUGHT, FOUR, NEXT],
    "keep_analysis_between_finals": [SUM, THOUGHT, FOUR, NEXT, THOUGHT, FOUR],
    "tool_call_with_constrain": [CALL],
    "tool_response": [
        {
            "author": "browser.search",
            "text": '{"result": "https://openai.com/"}',
            "channel": "commentary",
            "recipient": "assistant",
        }
    ],
    "simple_tool_call": [SUM, THOUGHT, CALL | {"recipient": "lookup_weather", "content_type": "code"}],
    "a user's name and text that looks like control tokens": [
        {"author": "user", "name": "ann", "text": "<|start|>system<|message|><|end|>"}
    ],
}
ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.DEVELOPER}


def ours(facts):
    """Messages of a case in our terms."""
    functions = any(each.get("tools") for each in facts)
    found = []
    for each in facts:
        known = dict(each)
        if each["author"] == "system":
            known = {name: value for name, value in each.items() if name not in {"author", "builtin"}}
            builtin = [{"browser": BROWSER, "python": PYTHON}[name] for name in each.get("builtin", ())]
            known = {"author": "system", "text": system_text(builtin=builtin, functions=functions, **known)}
        elif each["author"] == "developer":
            tools = [Tool(**tool) for tool in each.get("tools", ())]
            known = {"author": "developer", "text": developer_text(each.get("instructions"), tools)}
        found.append(HarmonyMessage(**known))
    return found


def theirs(facts):
    """The same in openai-harmony's."""
    found = []
    for each in facts:
        match each["author"]:
            case "system":
                content = SystemContent.new()
                if "effort" in each:
                    content = content.with_reasoning_effort(ReasoningEffort[each["effort"].upper()])
                if "date" in each:
                    content = content.with_conversation_start_date(each["date"])
                if "knowledge_cutoff" in each:
                    content = content.with_knowledge_cutoff(each["knowledge_cutoff"])
                if "channels" in each:
                    content = content.with_channel_config(ChannelConfig.require_channels(list(each["channels"])))
                content = content.with_browser_tool() if "browser" in each.get("builtin", ()) else content
                content = content.with_python_tool() if "python" in each.get("builtin", ()) else content
                found.append(Message.from_role_and_content(Role.SYSTEM, content))
            case "developer":
                content = DeveloperContent.new()
                if "instructions" in each:
                    content = content.with_instructions(each["instructions"])
                if "tools" in each:
                    described = [
                        ToolDescription.new(tool["name"], tool["description"], parameters=tool["parameters"])
                        for tool in each["tools"]
                    ]
                    content = content.with_function_tools(described)
                found.append(Message.from_role_and_content(Role.DEVELOPER, content))
            case author:
                role = ROLES.get(author, Role.TOOL)
                name = author if role is Role.TOOL else each.get("name")
                made = Author.new(role, name) if name else Author(role=role)
                message = Message.from_author_and_content(made, each["text"])
                message = message.with_channel(each["channel"]) if "channel" in each else message
                message = message.with_recipient(each["recipient"]) if "recipient" in each else message
                message = message.with_content_type(each["content_type"]) if "content_type" in each else message
                found.append(message)
    return TheirConversation.from_messages(found)


@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cases(encoding, chat, name, dropping):
    config = RenderConversationConfig(auto_drop_analysis=dropping)
    expected = encoding.render_conversation_for_completion(theirs(PUBLISHED[name]), Role.ASSISTANT, config)
    messages = ours(PUBLISHED[name])
    ids, _ = chat.render_messages(without_old_analysis(messages) if dropping else messages)
    assert ids == expected


# --- generated ---

names = st.text(st.sampled_from("abcxyz_019"), min_size=1, max_size=8)
# Of few digits: serde_json, as openai-harmony builds it, reads longer ones with an error in the last digit.
numbers = st.integers(-(10**9), 10**9).map(lambda n: n / 1000) | st.sampled_from(
    [1e16, 2.5e-5, -1e-5, 1e-6, 1e21, -0.0]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.sampled_from([2**64, 10**20]) | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


def with_notes(kinds):
    """A schema of one of these kinds, with any of the notes a schema may carry; some of the wrong kind."""
    notes = st.fixed_dictionaries(
        {},
        optional={
            "description": words | st.none() | st.integers(0, 1),
            "title": words | st.booleans(),
            "default": values,
            "nullable": st.booleans() | words,
            "examples": st.lists(words | st.integers(), max_size=2),
            "enum": st.lists(st.sampled_from(["a", "null", 1, None]), max_size=3),
        },
    )
    return st.tuples(kinds, notes).map(lambda both: both[1] | both[0])


leaves = with_notes(
    st.sampled_from(["string", "number", "integer", "boolean", "null", "array", "object", "odd"]).map(
        lambda t: {"type": t}
    )
    | st.lists(st.sampled_from(["string", "integer", "null", 3]), max_size=3).map(lambda t: {"type": t})
    | st.just({})
)
schemas = st.recursive(
    leaves,
    lambda inner: with_notes(
        inner.map(lambda items: {"type": "array", "items": items})
        | st.lists(inner, max_size=3).map(lambda variants: {"oneOf": variants})
        | st.builds(
            lambda members, required: {"type": "object", "properties": members, "required": required},
            st.dictionaries(names, inner | st.booleans(), max_size=3),
            st.lists(names, max_size=2),
        )
    ),
    max_leaves=10,
)
tools = st.builds(
    lambda name, description, parameters: {"name": name, "description": description, "parameters": parameters},
    names,
    words,
    st.none() | schemas,
)


@settings(max_examples=400, deadline=None)
@given(tool=tools)
def test_generated_schemas(encoding, chat, tool):
    facts = [{"author": "developer", "tools": [tool]}]
    expected = encoding.render_conversation_for_completion(theirs(facts), Role.ASSISTANT)
    assert chat.render_messages(ours(facts))[0] == expected


@st.composite
def conversations(draw):
    """Conversations in the goldens' form."""
    declared = draw(st.lists(tools, max_size=2, unique_by=lambda tool: tool["name"]))
    builtin = draw(st.lists(st.sampled_from(["browser", "python"]), unique=True))
    callable_names = [tool["name"] for tool in declared] + ["earlier"]
    callable_names += ["browser.search"] * ("browser" in builtin) + ["python"] * ("python" in builtin)
    messages = [{"role": role, "content": draw(look_alikes)} for role in draw(st.sampled_from(
        [[], ["system"], ["developer"], ["system", "developer"]]
    ))]  # fmt: skip
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(look_alikes)} | draw(st.sampled_from([{}, {"name": "ann"}])))
        for loop in range(draw(st.integers(0, 2))):
            calls = [
                {"id": f"{turn}.{loop}.{n}", "name": name, "arguments": draw(look_alikes)}
                for n, name in enumerate(draw(st.lists(st.sampled_from(callable_names), min_size=1, max_size=2)))
            ]
            said = {"role": "assistant", "content": draw(look_alikes), "tool_calls": calls}
            messages.append(said | draw(st.fixed_dictionaries({}, optional={"reasoning": look_alikes})))
            messages += [{"role": "tool", "content": draw(look_alikes), "tool_call_id": call["id"]} for call in calls]
        if draw(st.booleans()):
            said = {"role": "assistant", "content": draw(look_alikes)}
            messages.append(said | draw(st.fixed_dictionaries({}, optional={"reasoning": look_alikes})))
        if draw(st.booleans()):
            messages.append({"role": "system", "content": draw(look_alikes)})
    optional = {"effort": st.sampled_from(["low", "medium", "high"]), "date": st.just("2026-11-21")}
    return {"messages": messages, "tools": declared, "builtin_tools": builtin} | draw(
        st.fixed_dictionaries({}, optional=optional)
    )


@settings(max_examples=300, deadline=None)
@given(facts=conversations())
def test_generated_conversations(make_chat, encoding, chat, facts):
    assert list(chat.render(make_chat.conversation_from(facts)).ids) == make_chat.by_harmony(facts, encoding)


def test_goldens_are_what_openai_harmony_writes_today(make_chat, encoding, chat):
    golden = json.loads((make_chat.FOLDER / "harmony.json").read_text(encoding="utf-8"))["cases"]
    for name, facts in make_chat.HARMONY_CONVERSATIONS.items():
        expected = make_chat.by_harmony(facts, encoding)
        assert golden[name] == make_chat.in_pieces(expected, encoding)
        assert list(chat.render(make_chat.conversation_from(facts)).ids) == expected, name


def test_published_ids(o200k):
    encoding, tokenizer = o200k
    for text, token in PUBLISHED_IDS.items():
        assert encoding.encode(text, allowed_special="all") == [token] == [tokenizer.control_tokens[text]]
