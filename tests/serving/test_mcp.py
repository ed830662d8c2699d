"""/mcp, asked by the official SDK's client in both eras of the protocol: tools, bounds, keys, sessions, questions."""

import asyncio
import importlib.util
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import mcp.types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from ouvert.agents import Agents, agent_of
from ouvert.serving import Keys
from ouvert.serving.agents.task import LeasedSpeaker
from ouvert.serving.mcp import over_http, protocol

spec = importlib.util.spec_from_file_location("scripted", Path(__file__).parents[1] / "agents" / "scripted.py")
assert spec
assert spec.loader
scripted = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)

HELLO = "Hello from a tiny model."
LEASE = b"# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed.\n"
ALL = {"ask_model", "models_list", "agents_list", "agent_run", "documents_collections", "documents_list"} | {
    "documents_search", "documents_open",
}  # fmt: skip
WRITE = [("c1", "write_file", {"name": "a.md", "text": "Hi"})]
ERAS = ("legacy", "2026-07-28")
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def begin(start_server, speaking_model):
    """A server below a folder, with a model, two agents, and a collection of the owner's."""

    def begin(folder):
        model = folder / "tiny"
        model.symlink_to(speaking_model())
        agents = Agents(folder / "home")
        agents.keep(agent_of("---\nname: clerk\ndescription: Says hello.\nmodel: tiny\n---\nYou are polite.\n"))
        agents.keep(
            agent_of("---\nname: asker\ndescription: Writes.\nmodel: tiny\ntools: [files]\napprove: always\n---\n")
        )
        server = start_server(models=(str(model),), home=folder / "home", state=folder / "state")
        with server.client() as client:
            assert client.put("/ouvert/documents/contracts/lease.md", content=LEASE).status_code == 201
        return server

    return begin


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture
def home(place):
    return place / "home"


@pytest.fixture(scope="module")
def server(begin, place):
    """Without a key: whoever runs it is its owner."""
    return begin(place)


@pytest.fixture
def guarded(begin, tmp_path):
    """A server, and what makes a key of it."""
    keys = Keys(tmp_path / "state")
    return begin(tmp_path), lambda name, **grants: keys.create(name, **grants)[1]


@asynccontextmanager
async def connected(server, mode="2026-07-28", secret=None, **settings):
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{server.base}/mcp", http_client=http), mode=mode, **settings) as client,
    ):
        yield client


def asking(server, *calls, mode="2026-07-28", secret=None, **settings):
    """The results of these calls, one after the other, over one connection."""

    async def ask():
        async with connected(server, mode, secret, **settings) as client:
            return [await called(client, name, arguments) for name, arguments in calls]

    return asyncio.run(ask())


async def called(client, name, arguments):
    """The result; an error of the protocol as it is."""
    try:
        return await client.call_tool(name, arguments)
    except MCPError as problem:
        return problem


def listed(server, secret=None, mode="2026-07-28"):
    async def ask():
        async with connected(server, mode, secret) as client:
            return (await client.list_tools()).tools

    return asyncio.run(ask())


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_of_either_era_finds_the_tools_and_asks_a_model(server, mode):
    tools = {each.name: each for each in listed(server, mode=mode)}
    assert set(tools) == ALL
    assert {each.name for each in tools.values() if not each.annotations.read_only_hint} == {"agent_run"}
    [answer] = asking(server, ("ask_model", {"question": "Who are you?"}), mode=mode)
    facts = answer.structured_content
    assert not answer.is_error
    assert facts["answer"] == HELLO
    assert (facts["model"], facts["ended"], facts["citations"]) == ("tiny", "stop", [])
    assert json.loads(answer.content[0].text) == facts
    with server.client() as client:
        assert client.get(f"/v1/receipts/{facts['receipt']}").status_code == 200


def test_documents_are_listed_searched_opened_and_answered_from(server):
    collections, documents, found, page, answer = asking(
        server,
        ("documents_collections", {}),
        ("documents_list", {"collection": "contracts"}),
        ("documents_search", {"collection": "contracts", "query": "cats", "most": 3}),
        ("documents_open", {"collection": "contracts", "document": "lease.md"}),
        ("ask_model", {"question": "Are pets allowed?", "documents": ["contracts"], "max_tokens": 20}),
    )
    assert collections.structured_content == {"collections": [{"name": "contracts", "encrypted": None}]}
    [document] = documents.structured_content["documents"]
    assert (document["name"], document["pages"]) == ("lease.md", 1)
    [passage, *_] = found.structured_content["passages"]
    assert (passage["document"], passage["page"], passage["headings"]) == (document["id"], 1, ["Lease", "Pets"])
    text = page.structured_content["text"]
    assert text.startswith("Lease\n\nThe deposit")
    assert text[passage["start"] : passage["stop"]] == passage["text"]
    assert page.structured_content["next"] is None
    assert answer.structured_content["answer"] == HELLO
    assert "source" not in json.dumps([documents.structured_content, found.structured_content])


def test_a_page_is_read_in_pieces_that_follow_each_other(server):
    line = "Nothing of this is of any use, and there is much of it. "
    with server.client() as client:
        client.put("/ouvert/documents/contracts/long.txt", content=(line * 1000).encode())
    start, pieces = 0, []
    while start is not None:
        arguments = {"collection": "contracts", "document": "long.txt", "start": start}
        [piece] = asking(server, ("documents_open", arguments))
        pieces.append(piece.structured_content["text"])
        start = piece.structured_content["next"]
    assert [len(each) for each in pieces[:2]] == [20_000, 20_000]
    assert "".join(pieces).strip() == (line * 1000).strip()


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("ask_model", {}, "question"),
        ("ask_model", {"question": "Hi", "modle": "tiny"}, "modle"),
        ("ask_model", {"question": "Hi", "model": "none"}, "There is no model 'none' here"),
        ("ask_model", {"question": "Hi", "model": "agent/clerk"}, "agent_run gives it a task"),
        ("ask_model", {"question": "Hi", "documents": ["none"]}, "there is no collection 'none'"),
        ("documents_search", {"collection": "../own", "query": "x"}, "There is no collection"),
        ("documents_open", {"collection": "contracts", "document": "none"}, "There is no document"),
        ("documents_open", {"collection": "contracts", "document": "lease.md", "page": 9}, "has 1 pages"),
        ("documents_open", {"collection": "contracts", "document": "lease.md", "start": 9999}, "has the characters 0"),
        ("agent_run", {"agent": "none", "task": "Hi"}, "it is not kept here"),
    ],
)
def test_what_cannot_be_done_is_said_to_the_model_that_called(server, home, tool, arguments, said):
    [result] = asking(server, (tool, arguments))
    assert result.is_error
    assert said in result.content[0].text
    assert str(home) not in result.content[0].text


def test_what_nobody_foresaw_is_in_the_log_alone(server, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("/home/anna/secret")

    monkeypatch.setattr("ouvert.serving.mcp.asking.offered", broken)
    [result] = asking(server, ("models_list", {}))
    assert result.is_error
    assert "secret" not in result.content[0].text
    assert "/home/anna/secret" in caplog.text


def test_a_key_may_no_more_here_than_elsewhere(guarded):
    server, key = guarded
    plain, reader, none = key("plain"), key("reader", scopes=("documents",)), key("none", models=("other",))
    assert {each.name for each in listed(server, plain)} == {"ask_model", "models_list"}
    assert {each.name for each in listed(server, reader)} >= {"documents_open"}
    [refused] = asking(server, ("documents_collections", {}), secret=plain)
    assert "no tool 'documents_collections' here for you" in str(refused)
    [own] = asking(server, ("documents_collections", {}), secret=reader)
    assert own.structured_content == {"collections": []}
    models, refused, documents = asking(
        server,
        ("models_list", {}),
        ("ask_model", {"question": "Hi", "model": "tiny"}),
        ("ask_model", {"question": "Hi", "documents": ["contracts"]}),
        secret=none,
    )
    assert models.structured_content == {"models": []}
    assert "There is no model 'tiny' here" in refused.content[0].text
    assert documents.is_error
    with server.client(headers={"authorization": "Bearer ouv_wrong"}) as client:
        assert client.post("/mcp", json=INITIALIZE, headers=HEADERS).status_code == 401


def test_pages_and_hosts_of_others_are_refused(server):
    with server.client() as client:
        for headers, status in (
            ({"origin": "https://evil.example"}, 403),
            ({"host": "evil.example"}, 403),
            ({"origin": "http://localhost:9999"}, 403),
            ({"origin": server.base}, 200),
            ({}, 200),
        ):
            assert client.post("/mcp", json=INITIALIZE, headers={**HEADERS, **headers}).status_code == status, headers
        assert client.get("/mcp").status_code == 405
        large = {**INITIALIZE, "padding": "x" * (server.service.settings.body_bytes + 1)}
        assert client.post("/mcp", json=large, headers=HEADERS).status_code == 413


def test_a_session_is_used_by_nobody_but_who_began_it(guarded):
    server, key = guarded
    one, other = ({**HEADERS, "authorization": f"Bearer {key(name)}"} for name in ("one", "other"))
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    with server.client() as client:
        begun = client.post("/mcp", json=INITIALIZE, headers=one)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert client.post("/mcp", json=ready, headers=one | session).status_code == 202
        assert client.post("/mcp", json=listing, headers=other | session).status_code == 404
        assert client.delete("/mcp", headers=other | session).status_code == 404
        assert client.post("/mcp", json=listing, headers=one | session).status_code == 200
        assert client.delete("/mcp", headers=one | session).status_code == 200
        assert client.post("/mcp", json=listing, headers=one | session).status_code == 404


# --- agents ---


def test_an_agent_runs_and_its_task_is_nobodys_word(server, home):
    agents, ran = asking(server, ("agents_list", {}), ("agent_run", {"agent": "clerk", "task": "Who are you?"}))
    assert [each["name"] for each in agents.structured_content["agents"]] == ["asker", "clerk"]
    facts = ran.structured_content
    assert (facts["state"], facts["answer"], facts["waits_for"]) == ("done", HELLO, None)
    with server.client() as client:
        run = client.get(f"/ouvert/agents/runs/{facts['run']}").json()
        [task] = client.get(f"/ouvert/agents/runs/{facts['run']}/events").json()["data"][:1]
    assert run["tainted"]
    assert task["words"] == ""


@pytest.fixture
def writing(monkeypatch):
    """The agent's model writes a file, and then says so."""
    script = scripted.Script([WRITE, "Done."])
    monkeypatch.setattr(LeasedSpeaker, "named", lambda self, name: script)


ASK = ("agent_run", {"agent": "asker", "task": "Write a.md."})


def written(home, run):
    file = home / "agent-runs" / run / "files" / "a.md"
    return file.read_text() if file.exists() else None


@pytest.mark.usefixtures("writing")
@pytest.mark.parametrize("mode", ERAS)
def test_where_nobody_can_be_asked_the_result_says_that_the_run_waits(server, home, mode):
    [ran] = asking(server, ASK, mode=mode)
    facts = ran.structured_content
    assert (facts["state"], facts["waits_for"]["tool"], facts["waits_for"]["call"]) == ("waiting", "write_file", "c1")
    assert f"ouvert agent resume {facts['run']} --allow c1" in facts["decide"]
    assert written(home, facts["run"]) is None


@pytest.mark.usefixtures("writing")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("action", "content", "state", "text"),
    [
        ("accept", {"allowed": True}, "done", "Hi"),
        ("accept", {"allowed": False}, "done", None),
        ("decline", None, "done", None),
        ("cancel", None, "waiting", None),
    ],
)
def test_a_person_is_asked_by_a_client_that_can(server, home, mode, action, content, state, text):
    asked = []

    async def person(context, params):
        asked.append(params.message)
        return types.ElicitResult(action=action, content=content)

    [ran] = asking(server, ASK, mode=mode, elicitation_callback=person)
    facts = ran.structured_content
    assert len(asked) == 1
    assert "write_file" in asked[0]
    assert '"a.md"' in asked[0]
    assert facts["state"] == state
    assert written(home, facts["run"]) == text


@pytest.mark.usefixtures("writing")
def test_a_verdict_is_for_a_run_of_ones_own_that_waits_for_it(guarded):
    server, key = guarded
    own, other = key("own", scopes=("agents",)), key("other", scopes=("agents",))
    [ran] = asking(server, ASK, secret=own)
    run = ran.structured_content["run"]

    async def decide(secret, state):
        async with connected(server, secret=secret) as client:
            reply = {"verdict": types.ElicitResult(action="accept", content={"allowed": True})}
            return await client.session.call_tool(*ASK, input_responses=reply, request_state=state)

    for who, state, said in (
        (other, json.dumps([run, "c1"]), "there is none of that name"),
        (own, json.dumps([run, "c2"]), "c2"),
        (own, "nonsense", "requestState"),
        (own, "3", "requestState"),
    ):
        result = asyncio.run(decide(who, state))
        assert result.is_error
        assert said in result.content[0].text


# --- long work ---


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_is_told_how_far_it_is(server, mode, monkeypatch):
    monkeypatch.setattr("ouvert.serving.mcp.asking.BETWEEN", 0.0)
    told = []

    async def heard(progress, total, message):
        told.append((progress, message))

    async def ask():
        async with connected(server, mode) as client:
            return await client.call_tool("ask_model", {"question": "Hi"}, progress_callback=heard)

    asyncio.run(ask())
    assert told[0] == (1, "waiting for tiny")
    assert told[-1][1].startswith("writing")
    assert [each for each, _ in told] == sorted({each for each, _ in told})


@pytest.mark.parametrize("mode", ERAS)
def test_an_answer_ends_when_nobody_waits_for_it_any_more(server, mode, monkeypatch):
    monkeypatch.setattr("ouvert.serving.mcp.asking.BETWEEN", 0.0)

    async def ask():
        async with connected(server, mode) as client:
            begun = asyncio.Event()

            async def heard(*_):
                begun.set()

            endless = {"question": "Hi " * 50, "max_tokens": 100_000}
            call = asyncio.create_task(client.call_tool("ask_model", endless, progress_callback=heard))
            await asyncio.wait_for(begun.wait(), 30)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.to_thread(server.idle)

    asyncio.run(ask())


def test_a_result_that_is_too_long_is_refused(server, monkeypatch):
    monkeypatch.setattr(protocol, "LONGEST", 10)
    [result] = asking(server, ("models_list", {}))
    assert result.is_error
    assert "10 are the most" in result.content[0].text


def test_without_the_library_the_extra_is_named(server, monkeypatch):
    def absent(self):
        raise ImportError("No module named 'mcp'")

    monkeypatch.setattr(over_http.OverHTTP, "_made", absent)
    monkeypatch.setattr(server.app.state, "mcp", over_http.OverHTTP(server.service))
    with server.client() as client:
        answer = client.post("/mcp", json=INITIALIZE, headers=HEADERS)
    assert answer.status_code == 501
    assert ".[mcp]" in answer.json()["error"]["message"]
