"""/v1/responses over a socket: shapes as OpenAI's own library demands them, and what is stored."""

import json
import re
import time

import pytest
from openai import OpenAI
from openai.types.responses import Response as SDKResponse

from ouvert.serving.openai.response_items import messages_of
from ouvert.serving.openai.response_request import ResponsesRequest, new_response

ANSWER = "Hello from a tiny model."
ENDLESS = {"\n": "again", "again": "again"}


@pytest.fixture(scope="module")
def sdk(server):
    with OpenAI(base_url=server.base + "/v1", api_key="none", _strict_response_validation=True, max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def endless(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "endless"
    model.symlink_to(speaking_model(ENDLESS))
    return start_server(models=(str(model),))


def ask(client, items="Who are you?", **fields):
    response = client.post("/v1/responses", json={"model": "tiny", "input": items, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, **fields):
    response = client.post("/v1/responses", json={"model": "tiny", "input": "Hi", **fields})
    assert response.status_code == 400
    return response.json()["error"]


def events_of(client, **fields):
    body = {"model": "tiny", "input": "Who are you?", "stream": True, **fields}
    text = client.post("/v1/responses", json=body).text
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in events]
    return events


def test_openais_library_accepts_the_answer(sdk):
    response = sdk.responses.create(model="tiny", input="Who are you?")
    assert response.output_text == ANSWER
    assert response.status == "completed"
    assert response.usage.output_tokens == 7
    assert response.usage.input_tokens_details.cache_write_tokens == 0


def test_every_field_of_openais_type_is_there():
    made = new_response(ResponsesRequest(model="m", input="x"), "resp_1")
    missing = {name for name, field in SDKResponse.model_fields.items() if field.is_required() and name not in made} - {
        "usage"
    }
    assert not missing
    for name in ("completed_at", "presence_penalty", "frequency_penalty", "top_logprobs", "service_tier"):
        assert name in made
    assert {"safety_identifier", "prompt_cache_key"} <= made.keys()


def test_openais_library_accepts_every_event(sdk):
    with sdk.responses.stream(model="tiny", input="Who are you?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == ANSWER
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_events_come_in_order_and_are_numbered(client):
    events = events_of(client)
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert all(event["logprobs"] == [] for event in events if ".output_text." in event["type"])
    assert "".join(event["delta"] for event in events if event["type"].endswith(".delta")) == ANSWER
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ANSWER


def test_what_an_event_said_does_not_change_afterwards(client):
    events = events_of(client)
    assert events[0]["response"]["output"] == []
    assert events[3]["part"]["text"] == ""


def test_a_limit_makes_it_incomplete(client):
    response = ask(client, max_output_tokens=3)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert events_of(client, max_output_tokens=3)[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "Hi"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "developer", "content": "Hi"},
        {"role": "system", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [], "encrypted_content": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    ],
)
def test_items_as_clients_send_them_are_read(client, item):
    assert ask(client, [item, {"role": "user", "content": "Who are you?"}])["status"] == "completed"


def test_harmless_top_level_fields_are_accepted(client):
    fields = {
        "text": {},
        "instructions": "",
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
        "prompt_cache_key": "k",
        "client_metadata": {"a": 1},
        "service_tier": "auto",
        "metadata": {"a": "b"},
    }
    response = ask(client, **fields)
    assert response["metadata"] == {"a": "b"}
    assert response["prompt_cache_key"] == "k"


@pytest.mark.parametrize("kind", ["web_search", "namespace", "mcp", "local_shell"])
def test_tools_of_other_kinds_are_ignored(client, kind):
    assert ask(client, tools=[{"type": kind, "name": "x"}])["tools"] == []


def test_a_picture_and_an_unknown_item_are_refused_by_name(client):
    picture = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]
    assert refused(client, input=picture)["param"] == "input[0].content[0]"
    assert refused(client, input=[{"type": "computer_call"}])["param"] == "input[0].type"


@pytest.mark.parametrize("field", ["conversation", "prompt"])
def test_what_cannot_be_honoured_is_refused_by_name(client, field):
    assert refused(client, **{field: {"id": "x"}})["param"] == field


def test_a_response_goes_on_from_the_one_before(client):
    first = ask(client)
    second = ask(client, "And you?", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    whole = ask(
        client,
        [
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": "And you?"},
        ],
    )
    assert second["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert refused(client, previous_response_id="resp_none")["code"] == "previous_response_not_found"


def test_instructions_are_not_carried_over(client):
    first = ask(client, instructions="Be brief.")
    plain = ask(client, "And?", previous_response_id=ask(client)["id"])
    assert (
        ask(client, "And?", previous_response_id=first["id"])["usage"]["input_tokens"] == plain["usage"]["input_tokens"]
    )


def test_an_item_can_be_referred_to_by_its_id(client):
    said = ask(client)["output"][0]["id"]
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "item_reference", "id": said},
        {"role": "user", "content": "?"},
    ]
    spelled = [items[0], {"role": "assistant", "content": ANSWER}, items[2]]
    assert ask(client, items)["usage"]["input_tokens"] == ask(client, spelled)["usage"]["input_tokens"]
    assert refused(client, input=[{"type": "item_reference", "id": "msg_none"}])["code"] == "item_not_found"


def test_a_stored_response_is_found_listed_and_deleted(client, sdk):
    response = ask(client)
    assert sdk.responses.retrieve(response["id"]).output_text == ANSWER
    items = list(sdk.responses.input_items.list(response["id"]))
    assert [item.content[0].text for item in items] == ["Who are you?"]
    sdk.responses.delete(response["id"])
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_input_items_turn_pages(client):
    sent = [{"role": "user", "content": str(n)} for n in range(5)]
    path = f"/v1/responses/{ask(client, sent)['id']}/input_items"
    page = client.get(path, params={"order": "asc", "limit": 2}).json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["0", "1"]
    assert page["has_more"]
    rest = client.get(path, params={"order": "asc", "after": page["last_id"]}).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "3", "4"]
    for wrong in ({"order": "up"}, {"limit": "many"}, {"after": "none"}):
        assert client.get(path, params=wrong).status_code == 400


def test_nothing_is_kept_of_what_was_not_to_be_stored(client):
    response = ask(client, store=False)
    assert response["store"] is False
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_only_so_many_are_kept(start_server, speaking_model):
    server = start_server(models=(str(speaking_model()),), stored_responses=2)
    with server.client() as client:
        ids = [ask(client)["id"] for _ in range(3)]
        assert [client.get(f"/v1/responses/{each}").status_code for each in ids] == [404, 200, 200]


def test_a_response_in_the_background_is_polled(client, sdk):
    response = sdk.responses.create(model="tiny", input="Who are you?", background=True)
    assert response.status == "queued"
    until = time.monotonic() + 20
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < until
        time.sleep(0.02)
        response = sdk.responses.retrieve(response.id)
    assert response.status == "completed"
    assert response.output_text == ANSWER


def test_a_response_in_the_background_is_cancelled_at_once(endless):
    with endless.client() as client:
        body = {"model": "endless", "input": "Hi", "background": True}
        response = client.post("/v1/responses", json=body).json()
        path = f"/v1/responses/{response['id']}"
        until = time.monotonic() + 20
        while not client.get(path).json()["output"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
        endless.idle()
        assert client.get(path).json()["status"] == "cancelled"
        assert client.get(path).json()["output"][0]["status"] == "incomplete"


def test_background_goes_neither_with_streams_nor_unstored(client):
    assert refused(client, background=True, stream=True)["param"] == "background"
    assert refused(client, background=True, store=False)["param"] == "background"


def test_a_failure_in_the_background_is_said(client):
    body = {"model": "tiny", "input": "x" * 3000, "background": True}
    path = f"/v1/responses/{client.post('/v1/responses', json=body).json()['id']}"
    until = time.monotonic() + 20
    while (response := client.get(path).json())["status"] != "failed":
        assert time.monotonic() < until
        time.sleep(0.02)  # it is polled, as clients do
    assert re.search(r"3\d\d\d tokens, and this engine's context holds 2048 ", response["error"]["message"])


def test_what_does_not_fit_is_refused_unless_truncation_is_asked_for(client):
    old = [{"role": "user", "content": "x" * 900}, {"role": "assistant", "content": "y" * 900}]
    items = [*old, {"role": "user", "content": "x" * 900}]
    assert refused(client, input=items)["code"] == "context_length_exceeded"
    response = ask(client, items, truncation="auto")
    assert response["status"] == "completed"
    assert response["usage"]["input_tokens"] < 1000
    assert response["ouvert"]["not_honoured"] == ["truncation: 2 of the oldest messages were left out"]
    assert refused(client, input="x" * 3000, truncation="auto")["code"] == "context_length_exceeded"


def test_json_is_enforced_on_the_text(client):
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wanted = {"format": {"type": "json_schema", "name": "a", "schema": {**schema, "additionalProperties": False}}}
    response = ask(client, text=wanted, max_output_tokens=200)
    assert isinstance(json.loads(response["output"][0]["content"][0]["text"])["yes"], bool)
    assert refused(client, text={"format": {"type": "json_schema", "name": "a"}})["param"] == "text.format.schema"


def test_log_probabilities_stand_in_the_text(client):
    response = ask(client, top_logprobs=2, include=["message.output_text.logprobs"])
    tokens = response["output"][0]["content"][0]["logprobs"]
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == ANSWER


def test_a_receipt_rides_along(client):
    response = client.post("/v1/responses", json={"model": "tiny", "input": "Hi"})
    assert response.headers["x-ouvert-receipt"] == response.json()["id"]
    assert response.json()["ouvert"]["receipt"]["tokens"]["output"] == 7
    assert client.get(f"/v1/receipts/{response.json()['id']}").status_code == 200


class Nothing:
    def item(self, item_id):
        return None


def test_thoughts_text_and_calls_that_follow_each_other_are_one_message():
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "Go"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        call,
        {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}]},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
    ]
    user, turn, one, two = messages_of(items, Nothing())
    assert (user.role, turn.role, one.role, two.role) == ("user", "assistant", "tool", "tool")
    assert turn.reasoning == "Hm."
    assert [each.id for each in turn.tool_calls] == ["c1", "c2"]
    assert (one.content, two.content) == ("1", "2")
    assert (one.tool_call_id, two.tool_call_id) == ("c1", "c2")
