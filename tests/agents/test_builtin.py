"""The tools that every agent may name: files of the run, Python in a box, documents in a browser."""

import json

import pytest
from scripted import Script, made

from ouvert.agents import Agents, Asked, ToolError, agent_of
from ouvert.agents.builtin import from_native, native_tools
from ouvert.agents.builtin.files import files_tools, inside
from ouvert.chat import Conversation, Message, ToolCall
from ouvert.documents import Collections, in_a_box
from ouvert.sandbox import probe

LEASE = "# Lease\n\nThe rent is 900 euros a month. It is due on the first day.\n\n# Notice\n\nNotice is three months.\n"


def test_files_stay_below_the_runs_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    tools = {each.name: each for each in files_tools(tmp_path / "run")}
    assert tools["write_file"].run({"name": "a/b.md", "text": "Hi"}).ok
    assert tools["list_files"].run({}).text == "a/b.md 2"
    assert tools["read_file"].run({"name": "a/b.md"}).text == "Hi"
    for name in ("../secret", "/etc/passwd", "link/secret", "", ".", "a/../../secret", "link"):
        assert not tools["read_file"].run({"name": name}).ok, name
        assert not tools["write_file"].run({"name": name, "text": "x"}).ok, name
    with pytest.raises(ToolError, match="is a link"):
        inside(tmp_path / "run", "link/secret")


@pytest.fixture
def here(tmp_path):
    collections = Collections(tmp_path, in_a_box())
    with collections.create("contracts") as collection:
        collection.add("lease.md", LEASE.encode())
    return Agents(tmp_path, collections)


READER = "---\nname: reader\ndescription: Reads.\nmodel: m\ntools: [browser]\ndocuments: [contracts]\n---\n"


def through(here, agent, script):
    with here.begun(agent, Asked(text="What is the rent?"), lambda name: script) as run:
        list(run.steps())
    return run


def test_citations_lead_to_documents_and_invented_ones_are_marked(here):
    script = Script([
        [("c1", "browser_search", {"query": "rent"})],
        [("c2", "browser_open", {"id": 0})],
        "It is 900 euros【1†L2-L5】, paid by Bob【7†L3】.",
    ])  # fmt: skip
    run = through(here, agent_of(READER), script)
    shown = [each["text"] for each in run.log if each.kind == "result"]
    assert shown[0].startswith("[0] rent\n**viewing lines [0 - ")
    assert "The rent is 900 euros" in shown[1]
    cited = run.log.events[-1]["cited"]
    assert cited["citations"]["given"] == 2
    assert cited["citations"]["invented"] == 1
    assert cited["text"] == "It is 900 euros[1], paid by Bob[unsupported]."
    assert "900 euros" in cited["places"][0]["quote"]
    assert run.state.tainted


def test_an_agent_reads_no_other_collection(here):
    with pytest.raises(Exception, match="no collection 'salaries'"):
        through(here, agent_of(READER.replace("[contracts]", "[salaries]")), Script(["Hi"]))


def test_a_browser_that_is_opened_again_has_the_pages_it_had(here):
    asking = agent_of(READER.replace("documents:", "approve: always\ndocuments:"))
    script = Script(
        [[("c1", "browser_search", {"query": "rent"})], [("c2", "browser_open", {"id": 0})], "900【1†L2-L5】"]
    )
    run = through(here, asking, script)
    while run.state.question is not None:
        with here.reopened(run.id, lambda name: script) as run:
            run.verdict(run.state.question.call.id, allowed=True, by="test")
            list(run.steps())
    assert run.log.events[-1]["cited"]["citations"]["resolved"] == 1


def test_python_remembers_within_a_run_and_says_when_it_forgot(tmp_path):
    probe().require()
    here = Agents(tmp_path)
    agent = made("tools: [python]\napprove: always")
    script = Script([
        [("c1", "python", {"code": "x = 20\nopen('a.txt', 'w').write('kept')\nx + 1"})],
        [("c2", "python", {"code": "x"})],
        "Done.",
    ])  # fmt: skip
    run = through(here, agent, script)
    with here.reopened(run.id, lambda name: script) as run:
        run.verdict("c1", allowed=True, by="test")
        list(run.steps())
    with here.reopened(run.id, lambda name: script) as run:
        run.verdict("c2", allowed=True, by="test")
        list(run.steps())
    first, second = [each for each in run.log if each.kind == "result"]
    assert first["text"].endswith("21")
    assert "variables are gone" in second["text"]
    assert "NameError" in second["text"]
    assert first["beside"]["box"] == probe().level.value
    assert (run.folder / "files" / "a.txt").read_text() == "kept"


def test_gpt_oss_calls_its_own_tools_by_the_names_it_knows(here):
    with here.begun(
        agent_of(READER.replace("[browser]", "[browser, python]")), Asked(text="Hi"), lambda name: Script(["Hi"])
    ) as run:
        native = native_tools(run.tools, "harmony")
        assert native.names == {"browser", "python_offline"}
        assert native_tools(run.tools, "template").names == frozenset()
        without = {name: tool for name, tool in run.tools.items() if name != "browser_find"}
        assert native_tools(without, "harmony").names == {"python_offline"}
    said = Message(
        role="assistant",
        tool_calls=(ToolCall("a", "browser_open", '{"id": 0}'), ToolCall("b", "python", '{"code": "1"}')),
    )
    told = native.conversation(
        Conversation(messages=(said, Message(role="tool", name="python", tool_call_id="b", content="1")))
    )
    assert [(each.name, each.arguments) for each in told.messages[0].tool_calls] == [
        ("browser.open", '{"id": 0}'),
        ("python", "1"),
    ]
    assert told.messages[1].name == "python"
    assert from_native("browser.search", "{}") == ("browser_search", "{}")
    assert from_native("python", "print(1)") == ("python", json.dumps({"code": "print(1)"}))
    assert from_native("python", '{"code": "1"}') == ("python", '{"code": "1"}')


def test_harmony_writes_them_in_its_system_message(here, tiny_gpt_oss):
    import ouvert

    agent = agent_of(
        READER.replace("[browser]", "[browser, python]").replace(
            "---\nname", "---\nbudget: {tokens: 8, steps: 1}\nname"
        )
    )
    with (
        ouvert.load(str(tiny_gpt_oss), receipts=False, prefixes=False) as model,
        here.begun(agent, Asked(text="Hi"), lambda name: model) as run,
    ):
        from ouvert.agents.steps import Answer
        from ouvert.agents.talking import request_for

        request = request_for(run.state, run.agent, run.tools, Answer(8, 10.0), model)
        text = model.assistant.prompt(request).text
        assert "## browser" in text
        assert "## python" in text
        assert "There is no Internet access." in text
        assert "UNKNOWN" not in text
        assert "namespace functions" not in text
        list(run.steps())
        assert run.state.name in ("budget", "done")
