"""gpt-oss's own tools, `browser` and `python`, as OpenAI's harmony declares them and writes their calls and results.

What `browser` shows is held to OpenAI's reference in tests/documents/test_browser.py.
"""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

from openai_harmony import (
    Author,
    Message,
    Role,
    SystemContent,
    ToolNamespaceConfig,
)
from openai_harmony import Conversation as TheirConversation

from ouvert.agents import Agents, Asked, agent_of
from ouvert.agents.builtin import native_tools
from ouvert.chat.harmony.sections import BUILTIN, system_text
from ouvert.documents import Collections, in_a_box
from ouvert.sandbox import probe

UNKNOWN = "Internet access for this session is UNKNOWN. Depends on the cluster."
OFFLINE = "There is no Internet access."
HEADER = "name: reader\ndescription: Reads.\nmodel: m\ntools: [browser, python]\ndocuments: [contracts]\n"
READER = f"---\n{HEADER}---\nBe brief.\n"
CODE = "import math\nmath.pi * 2  # {not: json}"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


scripted = load(Path(__file__).parents[2] / "agents" / "scripted.py")


def offline(namespace):
    return ToolNamespaceConfig(
        name=namespace.name, description=namespace.description.replace(UNKNOWN, OFFLINE), tools=namespace.tools
    )


def theirs(encoding, *messages):
    return encoding.decode(encoding.render_conversation(TheirConversation.from_messages(list(messages))))


def system_of(*namespaces):
    content = SystemContent.new()
    for each in namespaces:
        content = content.with_tools(each)
    return Message.from_role_and_content(Role.SYSTEM, content)


def test_what_they_are_told_of_the_tools_is_theirs_but_for_one_sentence(encoding):
    assert UNKNOWN in ToolNamespaceConfig.python().description
    assert "sources=web" in ToolNamespaceConfig.browser().description
    for names, namespaces in {
        ("browser",): [ToolNamespaceConfig.browser()],
        ("python",): [ToolNamespaceConfig.python()],
        ("python_offline",): [offline(ToolNamespaceConfig.python())],
        ("browser", "python"): [ToolNamespaceConfig.browser(), ToolNamespaceConfig.python()],
        ("browser", "python_offline"): [ToolNamespaceConfig.browser(), offline(ToolNamespaceConfig.python())],
    }.items():
        written = theirs(encoding, system_of(*namespaces)).removeprefix("<|start|>system<|message|>")
        assert written.removesuffix("<|end|>") == system_text(builtin=[BUILTIN[name] for name in names])


def test_a_run_with_both_is_written_as_theirs_is(encoding, chat, tmp_path):
    """The system message, each call and each result: recipients, channels, authors."""
    probe().require()
    collections = Collections(tmp_path, in_a_box())
    with collections.create("contracts") as collection:
        collection.add("lease.md", b"# Lease\n\nThe rent is 900 euros a month.\n")
    script = scripted.Script(
        [[("a", "browser_search", {"query": "rent"})], [("b", "python", {"code": CODE})], "900"], format="harmony"
    )
    with Agents(tmp_path, collections).begun(
        agent_of(READER), Asked(text="What is the rent?"), lambda _: script
    ) as run:
        list(run.steps())
    results = [event["text"] for event in run.log if event.kind == "result"]
    request = script.asked[2]
    assert native_tools(run.tools, "harmony").names == request.conversation.builtin_tools
    rendered = encoding.decode(chat.render(replace(request.conversation, effort="medium")).ids)

    def said(author, text, recipient, kind=None):
        message = Message.from_author_and_content(author, text).with_channel("analysis").with_recipient(recipient)
        return message if kind is None else message.with_content_type(kind)

    search = json.dumps({"query": "rent"})
    expected = theirs(
        encoding,
        system_of(ToolNamespaceConfig.browser(), offline(ToolNamespaceConfig.python())),
        Message.from_role_and_content(Role.DEVELOPER, "# Instructions\n\nBe brief."),
        Message.from_role_and_content(Role.USER, "What is the rent?"),
        said(Author(role=Role.ASSISTANT), search, "browser.search", "code"),
        said(Author.new(Role.TOOL, "browser.search"), results[0], "assistant"),
        said(Author(role=Role.ASSISTANT), CODE, "python", "code"),
        said(Author.new(Role.TOOL, "python"), results[1], "assistant"),
    )
    assert rendered.removesuffix("<|start|>assistant") == expected
