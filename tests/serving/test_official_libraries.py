"""What the official libraries ask for beyond answers: counted, done, or refused with what there is instead."""

import anthropic
import ollama
import openai
import pytest

HELLO = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def open_ai(server):
    with openai.OpenAI(
        base_url=server.base + "/v1", api_key="none", _strict_response_validation=True, max_retries=0
    ) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(base_url=server.base, api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def llama(server):
    client = ollama.Client(host=server.base)
    yield client
    client._client.close()


def test_input_tokens_are_those_that_a_response_reads(open_ai):
    asked = {"model": "tiny", "input": "Who are you?", "instructions": "Answer."}
    counted = open_ai.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == open_ai.responses.create(**asked).usage.input_tokens


def test_input_tokens_count_what_was_stored_too(open_ai):
    first = open_ai.responses.create(model="tiny", input="Who are you?")
    with_first = open_ai.responses.input_tokens.count(model="tiny", input="And?", previous_response_id=first.id)
    alone = open_ai.responses.input_tokens.count(model="tiny", input="And?")
    assert with_first.input_tokens > alone.input_tokens + first.usage.output_tokens


@pytest.mark.parametrize(
    ("ask", "instead"),
    [
        (lambda sdk: sdk.responses.compact(model="tiny", input="Hi"), "truncation"),
        (lambda sdk: sdk.conversations.create(), "previous_response_id"),
        (lambda sdk: sdk.conversations.retrieve("conv_1"), "previous_response_id"),
        (lambda sdk: sdk.conversations.update("conv_1", metadata={}), "previous_response_id"),
        (lambda sdk: sdk.conversations.delete("conv_1"), "previous_response_id"),
        (lambda sdk: sdk.conversations.items.list("conv_1"), "previous_response_id"),
        (lambda sdk: sdk.conversations.items.create("conv_1", items=[]), "previous_response_id"),
        (lambda sdk: sdk.conversations.items.retrieve("item_1", conversation_id="conv_1"), "previous_response_id"),
        (lambda sdk: sdk.conversations.items.delete("item_1", conversation_id="conv_1"), "previous_response_id"),
        (lambda sdk: sdk.chat.completions.retrieve("chatcmpl-1"), "/v1/responses"),
    ],
)
def test_what_openais_library_finds_nowhere_is_refused_with_what_there_is(open_ai, ask, instead):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(open_ai)
    assert caught.value.code == "not_offered"
    assert instead in caught.value.message


def test_a_response_of_a_conversation_is_refused_by_name(open_ai):
    with pytest.raises(openai.BadRequestError) as caught:
        open_ai.responses.create(model="tiny", input="Hi", conversation="conv_1")
    assert caught.value.param == "conversation"


@pytest.mark.parametrize(
    "ask",
    [
        lambda sdk: sdk.messages.batches.create(requests=[]),
        lambda sdk: sdk.messages.batches.list(),
        lambda sdk: sdk.messages.batches.retrieve("msgbatch_1"),
        lambda sdk: sdk.messages.batches.cancel("msgbatch_1"),
        lambda sdk: sdk.messages.batches.delete("msgbatch_1"),
    ],
)
def test_batches_of_anthropics_are_refused_with_what_there_is(claude, ask):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(claude)
    assert caught.value.body["type"] == "error"
    assert "/v1/messages" in caught.value.body["error"]["message"]


def test_anthropics_library_counts_what_a_message_reads(claude):
    asked = {"model": "tiny", "messages": HELLO, "system": "Answer."}
    usage = claude.messages.create(**asked, max_tokens=1).usage
    counted = claude.messages.count_tokens(**asked).input_tokens
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_a_model_that_is_here_is_pulled_at_once(llama):
    assert llama.pull("tiny").status == "success"
    assert llama.pull("tiny:latest").status == "success"
    assert [each.status for each in llama.pull("tiny", stream=True)][-1] == "success"


def test_a_name_that_leads_nowhere_is_not_pulled(llama):
    with pytest.raises(ollama.ResponseError, match="there is no model called 'nowhere'") as caught:
        llama.pull("nowhere")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="there is no model called 'nowhere'"):
        list(llama.pull("nowhere", stream=True))


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.create("mine", from_="tiny"),
        lambda client: client.copy("tiny", "mine"),
        lambda client: client.push("tiny"),
    ],
)
def test_ollamas_library_is_told_that_the_owner_changes_models(llama, ask):
    with pytest.raises(ollama.ResponseError, match="changes no models") as caught:
        ask(llama)
    assert caught.value.status_code == 403


def test_a_model_that_lies_in_a_folder_of_the_owners_is_not_deleted(llama):
    with pytest.raises(ollama.ResponseError, match="a file or folder that the server was started with") as caught:
        llama.delete("tiny")
    assert caught.value.status_code == 409


def test_a_blob_is_not_there_and_none_is_taken(client):
    assert client.head("/api/blobs/sha256:00").status_code == 404
    response = client.post("/api/blobs/sha256:00", content=b"x")
    assert response.status_code == 404
    assert "ouvert pull" in response.json()["error"]


def test_a_line_for_anthropics_servers_is_left_out_of_the_prompt(claude):
    def ask(nonce):
        header = f"x-anthropic-billing-header: cc_version=2.1.42; cc_entrypoint=cli; cch={nonce};"
        blocks = [{"type": "text", "text": header}, {"type": "text", "text": "You help. " * 60}]
        return claude.messages.create(model="tiny", max_tokens=1, system=blocks, messages=HELLO)

    ask("fa690")
    again = ask("0aaa9")
    assert again.usage.cache_read_input_tokens > 10 * again.usage.input_tokens
    assert any(note.startswith("system: a line x-anthropic-") for note in again.to_dict()["ouvert"]["not_honoured"])


@pytest.mark.parametrize(
    ("system", "read"),
    [
        ("x-anthropic-billing-header: a\nYou help.", "You help."),
        ("x-anthropic-billing-header: a\n\nx-anthropic-other: b\n\nYou help.", "You help."),
        ("x-anthropic-billing-header: a", ""),
        ("Say x-anthropic-billing-header: a", "Say x-anthropic-billing-header: a"),
        ("You help.\nx-anthropic-billing-header: a", "You help.\nx-anthropic-billing-header: a"),
    ],
)
def test_such_lines_are_left_out_at_the_beginning_alone_in_both_dialects(client, system, read):
    def count(text):
        messages = [{"role": "system", "content": text}, *HELLO]
        chat = client.post("/tokenize", json={"model": "tiny", "messages": messages}).json()["count"]
        asked = {"model": "tiny", "messages": HELLO, "system": text}
        return chat, client.post("/v1/messages/count_tokens", json=asked).json()["input_tokens"]

    plain = count(read)
    assert count(system)[1] == plain[1]
    assert count(system)[0] == plain[0]


def test_a_context_beyond_a_models_own_is_clipped(start_server, speaking_model, tmp_path):
    (tmp_path / "tiny").symlink_to(speaking_model())
    options = {"threads": 1, "receipts": False, "context": 10**6}
    server = start_server(models=(str(tmp_path / "tiny"),), load_options=options)
    with server.client() as client:
        shown = client.post("/api/show", json={"model": "tiny"}).json()["model_info"]
        counted = client.post("/tokenize", json={"model": "tiny", "prompt": "Hi"}).json()
    assert counted["max_model_len"] == shown["llama.context_length"] < 10**6
