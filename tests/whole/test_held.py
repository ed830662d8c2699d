"""Models of random weights held to a form, from the file on disk to the last event."""

import json
import subprocess
import sys

import jsonschema
import pytest

import ouvert
from ouvert.chat import builtin_template, format_for
from ouvert.store import Store

SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}, "why": {"type": "string", "maxLength": 12}},
    "required": ["yes", "why"],
    "additionalProperties": False,
}
ARGUMENTS = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Lima"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = ouvert.Tool(name="weather", description="The weather in a city", parameters=ARGUMENTS)


@pytest.fixture(scope="module")
def gpt_oss(tiny_gpt_oss, tmp_path_factory):
    with ouvert.load(tiny_gpt_oss, store=Store(tmp_path_factory.mktemp("store"))) as model:
        yield model


@pytest.fixture
def llama(speaking_model, tmp_path):
    with ouvert.load(speaking_model(), store=Store(tmp_path / "store")) as model:
        yield model


def asked(model, question="Shall I take an umbrella?", **settings):
    answer = model.chat(question, **{"temperature": 1.0, "max_tokens": 1500, "think_budget": 40} | settings)
    *deltas, finished = answer
    text = "".join(event.text for event in deltas if isinstance(event, ouvert.TextDelta))
    return text, finished, answer


@pytest.mark.parametrize("seed", range(6))
def test_a_gpt_oss_that_knows_nothing_answers_in_the_schema(gpt_oss, seed):
    text, finished, _ = asked(gpt_oss, response_schema=SCHEMA, seed=seed)
    jsonschema.validate(json.loads(text), SCHEMA)
    assert finished.reason == "stop"
    assert finished.usage.reasoning <= 40 + 13 * 5  # headers and ends


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_gpt_oss_that_knows_nothing_calls_a_tool_and_our_parser_reads_it(gpt_oss, seed, temperature):
    _, finished, answer = asked(gpt_oss, tools=[WEATHER], tool_choice="weather", seed=seed, temperature=temperature)
    if finished.reason == "length":  # the likeliest of nonsense may go round in a preamble, but for ever only there
        assert temperature == 0
        assert finished.tool_calls == ()
        return
    [call] = finished.tool_calls
    jsonschema.validate(json.loads(call.arguments), ARGUMENTS)
    chat = format_for(gpt_oss.tokenizer)
    parser = chat.parser(chat.render(answer.conversation))
    for token in answer.token_ids:
        parser.push(token)
    assert parser.finish("stop") == []
    assert [(each.name, each.arguments) for each in parser.tool_calls] == [
        (call.name, call.arguments)
    ]  # ids are random


def test_effort_and_budget_stand_in_the_prompt_and_in_the_receipt(gpt_oss):
    _, finished, answer = asked(gpt_oss, effort="high", think_budget=3, seed=2)
    assert "Reasoning: high" in gpt_oss.detokenize(answer.prompt_ids, control=True)
    assert finished.receipt["asked"]["effort"] == "high"
    assert finished.receipt["asked"]["think_budget"] == 3
    if finished.usage.reasoning:
        assert finished.receipt["seconds"]["thinking"] >= 0
    assert answer.thought_tokens == finished.usage.reasoning


def test_a_tool_loop_gets_its_thoughts_back(gpt_oss):
    for seed in range(20):
        _, first, _ = asked(gpt_oss, tools=[WEATHER], tool_choice="required", seed=seed)
        if first.tool_calls and first.usage.reasoning:
            break
    assert first.reason == "tool_calls"
    [call] = first.tool_calls
    history = [
        {"role": "user", "content": "Shall I take an umbrella?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    _, second, _ = asked(gpt_oss, history, tools=[WEATHER], tool_choice="none")
    assert second.receipt["messages"][1]["reasoning_restored"] is True
    assert second.tool_calls == ()
    assert second.usage.reused > 0


def test_a_model_that_would_say_something_else_is_held_to_the_schema(llama):
    *deltas, finished = llama.chat("Who are you?", response_schema=SCHEMA)
    jsonschema.validate(json.loads("".join(event.text for event in deltas)), SCHEMA)
    assert finished.receipt["asked"]["answer"]["grammar"] == "json schema"
    *deltas, _ = llama.chat("Who are you?", response_grammar=ouvert.Grammar.one_of(["Hello again", "Goodbye"]))
    assert "".join(event.text for event in deltas) == "Hello again"  # its own taste decides where the grammar lets it


MARKS = {
    "mistral": ("<s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "</s>"),
    "deepseek": (
        *("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜end▁of▁sentence｜>"),
    ),
    "kimi": (
        *("[BOS]", "<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>"),
        *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
        *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|im_end|>"),
    ),
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|eot_id|>"),
    "chatml": ("<|endoftext|>", "<|im_start|>", "<tool_call>", "</tool_call>", "<|im_end|>"),
}


@pytest.mark.parametrize("family", MARKS)
def test_a_model_that_would_say_something_else_calls_in_the_syntax_of_its_template(speaking_model, family, tmp_path):
    path = speaking_model(template=builtin_template(family), control=MARKS[family])
    time = ouvert.Tool(name="time")
    most = 0
    with ouvert.load(path, store=Store(tmp_path / "store")) as model:
        for seed in range(8):
            for choice, named in (("required", {"weather", "time"}), ("time", {"time"})):
                # Its own taste is a single token; two of the hottest let it write the others that are allowed.
                settings = {"think_budget": None, "tool_choice": choice, "temperature": 2.0, "seed": seed}
                text, finished, _ = asked(model, tools=[WEATHER, time], **settings)
                assert (finished.reason, text) == ("tool_calls", "")
                assert {call.name for call in finished.tool_calls} <= named
                for call in finished.tool_calls:
                    schema = ARGUMENTS if call.name == "weather" else {"type": "object", "maxProperties": 0}
                    jsonschema.validate(json.loads(call.arguments), schema)
                assert len(finished.tool_calls) == 1 or choice == "required"
                most = max(most, len(finished.tool_calls))
    assert most == 1 or family != "llama3"  # whose calls stand alone


def test_plain_tokens_can_be_held_too(llama):
    ids = llama.tokenize("Who")
    held = llama.constraint(ouvert.Grammar.regex("[0-9]{5}"))
    assert llama.detokenize(llama.generate(ids, constraint=held)).isdecimal()


def test_demands_that_make_no_sense_are_refused(llama):
    with pytest.raises(ouvert.AssistantError, match="no tools were declared"):
        llama.chat("?", tool_choice="required")
    with pytest.raises(ouvert.AssistantError, match="expected auto, none, required, or a declared tool"):
        llama.chat("?", tools=[WEATHER], tool_choice="time")
    with pytest.raises(ouvert.AssistantError, match="at most one"):
        llama.chat("?", response_schema={}, response_grammar=ouvert.Grammar.regex("a"))
    with pytest.raises(ouvert.AssistantError, match="tool_choice is"):
        llama.chat("?", tool_choice={"type": "any"})
    with pytest.raises(ouvert.AssistantError, match="does not think"):
        llama.chat("?", think_budget=5)


# --- on the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    def run(*words):
        command = [sys.executable, "-c", "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))", "run"]
        environment = {"OUVERT_HOME": str(tmp_path / "store"), "PATH": "", "HOME": str(tmp_path)}
        return subprocess.run(
            [*command, *map(str, words)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_run_holds_the_answer_to_a_schema_and_the_thoughts_to_a_budget(run, tiny_gpt_oss, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    options = ("--schema", tmp_path / "schema.json", "--effort", "low", "--think-budget", 8, "--seed", 1)
    ran = run(tiny_gpt_oss, "Well?", *options, "--temperature", 1, "--json")
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    jsonschema.validate(json.loads(facts["text"]), SCHEMA)
    assert facts["receipt"]["asked"]["think_budget"] == 8
    shown = run(tiny_gpt_oss, "Well?", *options, "--temperature", 1)
    assert shown.stdout == facts["text"] + "\n"
    if facts["reasoning"]:
        assert "thought for" in shown.stderr


def test_run_continues_raw_text_in_a_schema(run, tiny_gpt_oss, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    ran = run(tiny_gpt_oss, "the weather", "--raw", "--schema", tmp_path / "schema.json", "--temperature", 1)
    jsonschema.validate(json.loads(ran.stdout), SCHEMA)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("[]", "holds list, expected a JSON object")],
)
def test_run_refuses_what_is_no_schema(run, tiny_gpt_oss, tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "schema.json").write_text(content)
    ran = run(tiny_gpt_oss, "Well?", "--schema", tmp_path / "schema.json")
    assert ran.returncode == 1
    assert complaint in ran.stderr


def test_run_refuses_thinking_options_where_there_is_no_template(run, tiny_gpt_oss):
    ran = run(tiny_gpt_oss, "Well?", "--raw", "--effort", "low")
    assert ran.returncode == 1
    assert "--raw uses none" in ran.stderr
