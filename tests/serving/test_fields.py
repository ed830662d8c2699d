"""Fields that no dialect of ours declares: honoured, refused by name, or named beside the answer; never silence."""

import json
import re

import pytest

from ouvert.serving.wire import MOST_NAMED

HELLO = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {
    "type": "object",
    "properties": {"team": {"enum": ["red"]}},
    "required": ["team"],
    "additionalProperties": False,
}
# A request that is answered, in every dialect.
ASKED = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 200, "temperature": 0},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 200, "temperature": 0},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 200, "temperature": 0},
    "/v1/messages": {"messages": HELLO, "max_tokens": 200, "temperature": 0},
    "/v1/messages/count_tokens": {"messages": HELLO},
    "/v1/responses/input_tokens": {"input": "Hi"},
    "/api/chat": {"messages": HELLO, "options": {"num_predict": 200, "temperature": 0}, "stream": False},
    "/api/generate": {"prompt": "Hi", "options": {"num_predict": 200, "temperature": 0}, "stream": False},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [72]},
}
ANSWERS = ["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages", "/api/chat", "/api/generate"]


def post(client, path, **fields):
    return client.post(path, json={"model": "tiny", **ASKED[path], **fields})


def answered(client, path, **fields):
    response = post(client, path, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def notes(body):
    return body.get("ouvert", {}).get("not_honoured", [])


def text_of(body):
    match body:
        case {"choices": [{"message": {"content": text}}]} | {"choices": [{"text": text}]}:
            return text
        case {"output": [{"content": [{"text": text}]}]} | {"content": [{"text": text}]}:
            return text
        case {"message": {"content": text}} | {"response": text}:
            return text
    return None


def fault(response):
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize("path", ASKED)
def test_a_field_that_nobody_knows_is_named(client, path):
    body = answered(client, path, dream=True, **{"x" * 200: 1})
    assert "dream: this field is not known here" in notes(body)
    assert any(re.fullmatch("x{80}….*", note) for note in notes(body))


@pytest.mark.parametrize("path", ASKED)
def test_what_is_known_is_not_named(client, path):
    assert notes(answered(client, path)) == []


@pytest.mark.parametrize("path", ASKED)
def test_notes_are_few(client, path):
    body = answered(client, path, **{f"x{n}": n for n in range(1000)})
    assert len(notes(body)) == MOST_NAMED + 1


PART = {"type": "text", "text": "Hi", "dream": 1}


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi", "dream": 1}] * 3}, "messages[].dream"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [PART]}]}, "messages[].content[].dream"),
        ("/v1/chat/completions", {"chat_template_kwargs": {"dream": 1}}, "chat_template_kwargs.dream"),
        ("/v1/chat/completions", {"stream_options": {"dream": 1}}, "stream_options.dream"),
        ("/v1/chat/completions", {"ouvert": {"dream": 1}}, "ouvert.dream"),
        ("/v1/completions", {"structured_outputs": {"dream": 1}}, "structured_outputs.dream"),
        ("/v1/responses", {"input": [{"role": "user", "content": "Hi", "dream": 1}]}, "input[].dream"),
        ("/v1/responses", {"input": [{"role": "user", "content": [PART]}]}, "input[].content[].dream"),
        ("/v1/responses", {"text": {"dream": 1}}, "text.dream"),
        ("/v1/responses", {"reasoning": {"dream": 1}}, "reasoning.dream"),
        ("/v1/responses/input_tokens", {"reasoning": {"dream": 1}}, "reasoning.dream"),
        ("/v1/messages", {"messages": [{"role": "user", "content": [PART]}]}, "messages[].content[].dream"),
        ("/v1/messages", {"system": [PART]}, "system[].dream"),
        ("/v1/messages", {"thinking": {"type": "disabled", "dream": 1}}, "thinking.dream"),
        ("/v1/messages", {"output_config": {"dream": 1}}, "output_config.dream"),
        ("/api/chat", {"messages": [{"role": "user", "content": "Hi", "dream": 1}]}, "messages[].dream"),
        ("/api/chat", {"options": {"dream": 1}}, "options.dream"),
        ("/api/generate", {"options": {"dream": 1}}, "options.dream"),
    ],
)
def test_fields_within_are_named_with_their_place_and_once(client, path, fields, named):
    assert [note.partition(":")[0] for note in notes(answered(client, path, **fields))].count(named) == 1


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


@pytest.mark.parametrize(
    ("path", "tool", "named"),
    [
        ("/v1/chat/completions", {"function": {**TOOL, "dream": 1}}, "tools[].function.dream"),
        ("/v1/responses/input_tokens", {"type": "function", **TOOL, "dream": 1}, "tools[].dream"),
        ("/v1/messages/count_tokens", {"name": "f", "input_schema": {}, "dream": 1}, "tools[].dream"),
        ("/api/chat", {"function": {**TOOL, "dream": 1}}, "tools[].function.dream"),
    ],
)
def test_fields_of_tools_are_named(harmony, path, tool, named):
    with harmony.client() as client:
        body = answered(client, path, tools=[tool])
    assert notes(body) == [f"{named}: this field is not known here"]


@pytest.mark.parametrize("path", ANSWERS)
def test_a_stream_names_them_too(client, path):
    response = post(client, path, dream=True, stream=True)
    assert response.status_code == 200
    assert "dream: this field is not known here" in response.text


FORMS = {
    "guided_json": (SCHEMA, "team"),
    "json_schema": (SCHEMA, "team"),
    "guided_choice": (["yes", "no"], "yes|no"),
    "guided_regex": ("[0-9]{3}", "[0-9]{3}"),
    "regex": ("[0-9]{3}", "[0-9]{3}"),
    "guided_grammar": ('root ::= "yes" | "no"', "yes|no"),
    "grammar": ('root ::= "yes" | "no"', "yes|no"),
    "ebnf": ('root ::= "yes" | "no"', "yes|no"),
}
STRUCTURED = {
    "json": (json.dumps(SCHEMA), "team"),
    "choice": (["yes", "no"], "yes|no"),
    "regex": ("[0-9]{3}", "[0-9]{3}"),
    "grammar": ('start: "yes" | "no"', "yes|no"),
    "json_object": (True, "object"),
}
ALL_FORMS = [
    *(({name: value}, held) for name, (value, held) in FORMS.items()),
    *(({"structured_outputs": {name: value}}, held) for name, (value, held) in STRUCTURED.items()),
    ({"grammar": {"type": "regex", "value": "[0-9]{3}"}}, "[0-9]{3}"),
    ({"grammar": {"type": "json", "value": SCHEMA}}, "team"),
    ({"guided_json": json.dumps(SCHEMA)}, "team"),
    ({"json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}, "team"),
]


def holds(text, held):
    if held == "team":
        return set(json.loads(text)) == {"team"}
    if held == "object":
        return text.startswith("{")
    return re.fullmatch(held, text) is not None


# Every form in one dialect, since all read them in one place; and one of each kind in the others.
HELD = [("/v1/chat/completions", *form) for form in ALL_FORMS]
HELD += [(path, {name: FORMS[name][0]}, FORMS[name][1]) for path in ANSWERS[1:] for name in ("json_schema", "grammar")]


@pytest.mark.parametrize(("path", "fields", "held"), HELD, ids=lambda each: json.dumps(each)[:40])
def test_a_form_of_another_server_is_held(client, path, fields, held):
    body = answered(client, path, **fields)
    assert holds(text_of(body), held)
    assert notes(body) == []


def test_a_raw_prompt_is_continued_in_the_form_of_another_server(client):
    body = answered(client, "/api/generate", raw=True, guided_choice=["yes", "no"])
    assert holds(body["response"], "yes|no")


RESPONSE_FORMATS = [
    {"type": "json_object", "schema": SCHEMA},
    {"type": "json_object", "json_schema": {"schema": SCHEMA}},
    {"type": "json_schema", "schema": SCHEMA},
    {"type": "json_schema", "json_schema": SCHEMA},
    {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    {"type": "json", "value": SCHEMA},
]


@pytest.mark.parametrize("stated", RESPONSE_FORMATS, ids=json.dumps)
def test_a_schema_is_found_wherever_a_response_format_has_it(client, stated):
    assert holds(text_of(answered(client, "/v1/chat/completions", response_format=stated)), "team")
    body = answered(client, "/v1/responses", text={"format": stated})
    assert holds(text_of(body), "team")
    assert body["text"]["format"]["schema"] == SCHEMA


def test_a_text_is_continued_in_the_form_of_a_response_format(client):
    stated = {"type": "json_object", "schema": SCHEMA}
    assert holds(text_of(answered(client, "/v1/completions", response_format=stated)), "team")


@pytest.mark.parametrize("stated", ["json", SCHEMA])
def test_ollamas_format_is_held_in_chat_completions_too(client, stated):
    text = text_of(answered(client, "/v1/chat/completions", format=stated))
    assert holds(text, "object" if stated == "json" else "team")


@pytest.mark.parametrize(
    ("stated", "param"),
    [
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format.json_schema.schema"),
        ({"type": "grammar"}, "response_format.grammar"),
        ({"type": "structural_tag", "structures": []}, "response_format.type"),
    ],
)
def test_a_form_without_what_it_needs_is_refused(client, stated, param):
    response = post(client, "/v1/chat/completions", response_format=stated)
    assert fault(response)
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("path", ANSWERS)
def test_two_forms_are_refused_and_both_named(client, path):
    said = fault(post(client, path, guided_regex="a", grammar='root ::= "b"'))
    assert "guided_regex" in said
    assert "grammar" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guided_json", "no schema"),
        ("structured_outputs", {"structural_tag": "{}"}),
        ("grammar", {"type": "dream", "value": "a"}),
    ],
)
@pytest.mark.parametrize("path", ANSWERS)
def test_a_form_that_cannot_be_read_is_refused_by_name(client, path, name, value):
    assert fault(post(client, path, **{name: value})).startswith(name)


MEANT = {
    "/v1/chat/completions": {
        "min_tokens": 5,
        "ignore_eos": True,
        "stop_token_ids": [2],
        "max_output_tokens": 3,
        "n_predict": 3,
        "skip_special_tokens": False,
        "add_generation_prompt": False,
        "continue_final_message": True,
        "mirostat": 2,
        "typical_p": 0.5,
        "use_beam_search": True,
        "best_of": 2,
        "functions": [{"name": "f"}],
        "options": {"temperature": 0},
        "web_search_options": {"a": 1},
        "random_seed": 0,
    },
    "/v1/completions": {"min_tokens": 5, "ignore_eos": True, "messages": HELLO, "max_completion_tokens": 3},
    "/v1/responses": {
        "response_format": {"type": "json_object"},
        "max_tokens": 3,
        "stop": ["e"],
        "n": 2,
        "messages": HELLO,
        "reasoning_effort": "low",
        "conversation": "conv_1",
        "prompt": {"id": "pmpt_1"},
        "min_tokens": 5,
        "modalities": ["text", "audio"],
    },
    "/v1/messages": {
        "response_format": {"type": "json_object"},
        "stop": ["e"],
        "n": 2,
        "reasoning_effort": "low",
        "mcp_servers": [{"name": "x"}],
        "parallel_tool_calls": False,
        "min_tokens": 5,
    },
    "/api/chat": {
        "response_format": {"type": "json_object"},
        "tool_choice": "required",
        "min_tokens": 5,
    },
    "/api/generate": {"template": "{{ .Prompt }}", "context": [1], "messages": HELLO},
}


@pytest.mark.parametrize(
    ("path", "name", "value"), [(path, name, value) for path, each in MEANT.items() for name, value in each.items()]
)
def test_what_means_something_and_is_not_honoured_is_refused_by_name_with_a_remedy(client, path, name, value):
    said = fault(post(client, path, **{name: value}))
    assert re.match(rf"{name} is not supported here: .+\.$", said)


@pytest.mark.parametrize(
    ("path", "name", "remedy"),
    [
        ("/v1/responses", "response_format", "text.format"),
        ("/v1/responses", "max_tokens", "max_output_tokens"),
        ("/v1/responses", "messages", "input"),
        ("/v1/chat/completions", "max_output_tokens", "max_tokens"),
        ("/v1/messages", "response_format", "output_config.format"),
        ("/v1/messages", "stop", "stop_sequences"),
        ("/api/chat", "response_format", "format"),
    ],
)
def test_the_remedy_names_the_right_field(client, path, name, remedy):
    assert remedy in fault(post(client, path, **{name: {"type": "json_object"}}))


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "num_predict"])
def test_what_stands_beside_ollamas_options_counts_as_one(client, path, name):
    asked = {key: value for key, value in ASKED[path].items() if key != "options"}
    body = client.post(path, json={"model": "tiny", **asked, name: 2}).json()
    assert (body["eval_count"], notes(body)) == (2, [])
    both = client.post(path, json={"model": "tiny", **asked, name: 2, "options": {"num_predict": 1}}).json()
    assert both["eval_count"] == 1


@pytest.mark.parametrize("name", ["mirostat", "typical_p", "tfs_z", "min_p_", "grammar", "max_tokens"])
def test_options_of_ollama_are_sorted_in_the_same_way(client, name):
    response = post(client, "/api/chat", options={name: 0.5})
    if name == "min_p_":
        assert "options.min_p_: this field is not known here" in notes(response.json())
    else:
        assert fault(response).startswith(f"options.{name} is not supported here")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
def test_values_that_ask_for_nothing_are_no_fault(client, path):
    idle = {"ignore_eos": False, "min_tokens": 0, "mirostat": 0, "typical_p": 1.0, "stop_token_ids": [], "n": None}
    assert notes(answered(client, path, **idle)) == []


@pytest.mark.parametrize(
    ("path", "fields", "note"),
    [
        ("/v1/chat/completions", {"store": True}, "store: "),
        ("/v1/chat/completions", {"num_ctx": 4096}, "num_ctx: "),
        ("/v1/chat/completions", {"verbosity": "low"}, "verbosity: "),
        ("/v1/responses", {"reasoning": {"summary": "auto"}}, "reasoning.summary: "),
        ("/v1/responses", {"text": {"verbosity": "low"}}, "verbosity"),
        ("/v1/responses", {"include": ["web_search_call.results"]}, "include: web_search_call.results"),
    ],
)
def test_what_an_answer_is_as_good_without_is_left_out_with_the_reason(client, path, fields, note):
    found = notes(answered(client, path, **fields))
    assert [each for each in found if note in each] == found != []


def test_responses_choose_tokens_as_chat_completions_do(client):
    chosen = {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.1, "temperature": 1.0}
    full = {"ouvert": {"receipt": "full"}}
    for path in ("/v1/responses", "/v1/chat/completions"):
        sampling = answered(client, path, **chosen, **full)["ouvert"]["receipt"]["sampling"]
        assert chosen.items() <= sampling.items()


HARMLESS = {
    "/v1/chat/completions": {"user": "u", "metadata": {"a": "b"}, "service_tier": "auto", "prompt_cache_key": "k"},
    "/v1/responses": {
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "client_metadata": {"a": 1},
        "include": ["reasoning.encrypted_content"],
        "store": True,
        "max_tool_calls": 3,
        "stream_options": {"include_obfuscation": False},
    },
    "/v1/messages": {"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}},
    "/api/chat": {"options": {"num_gpu": 1, "num_thread": 4, "numa": True, "low_vram": True}, "keep_alive": "5m"},
}


@pytest.mark.parametrize("path", HARMLESS)
def test_what_has_no_effect_on_an_answer_is_not_worth_a_word(client, path):
    assert notes(answered(client, path, **HARMLESS[path])) == []


BOUNDS = {
    "/v1/chat/completions": {
        "temperature": (2, 2.1),
        "top_p": (1, 1.1),
        "presence_penalty": (-2, -2.1),
        "frequency_penalty": (2, 2.1),
        "n": (2, 10_000),
        "logit_bias": ({"1": 100}, {"1": 101}),
    },
    "/v1/completions": {"temperature": (2, 9), "presence_penalty": (2, 3), "logprobs": (0, 21)},
    "/v1/responses": {"temperature": (2, 9), "top_p": (1, 1.1), "top_logprobs": (20, 21)},
    "/v1/messages": {"temperature": (1, 1.1), "top_p": (1, 1.1), "max_tokens": (1, 0)},
}


@pytest.mark.parametrize(
    ("path", "name", "within", "beyond"),
    [(path, name, *pair) for path, each in BOUNDS.items() for name, pair in each.items()],
)
def test_bounds_of_sampling_are_those_of_the_dialect(client, path, name, within, beyond):
    assert post(client, path, **{name: within}).status_code == 200
    assert name in fault(post(client, path, **{name: beyond}))


def test_ollamas_temperature_has_no_such_bound(client):
    assert post(client, "/api/chat", options={"temperature": 9}).status_code == 200
    assert post(client, "/api/generate", options={"temperature": 9}, raw=True).status_code == 200
    assert "options.temperature" in fault(post(client, "/api/chat", options={"temperature": -1}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input": None}, "Neither input nor previous_response_id"),
        ({"input": ""}, "Neither input nor previous_response_id"),
        ({"input": []}, "Neither input nor previous_response_id"),
        ({"input": None, "messages": HELLO}, "it is called input here"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
def test_a_response_to_nothing_is_refused(client, path, fields, said):
    assert said in fault(post(client, path, **fields))


def test_a_text_to_continue_has_to_be_sent(client):
    response = client.post("/v1/completions", json={"model": "tiny"})
    assert fault(response) == "prompt is missing. Send it."
