"""The agent file: strict, since a key that is ignored is a bound that does not hold."""

import json
import os
from pathlib import Path

import pytest

from ouvert.agents import AgentError, agent_of, import_agent, read_agent

WHOLE = """---
name: contracts
description: Answers questions about our contracts, with page citations.
model: gpt-oss-20b
effort: low
tools: [browser, python]
documents: [contracts]
agents: [helper]
mcp:
  crm: {command: [crm-mcp, --stdio], tools: [lookup], read_only: [lookup], seconds: 5}
approve: strict
trusted_destinations: ["*@firm.test"]
budget: {steps: 20, tokens: 60000, seconds: 900}
answer: answer.schema.json
---
You answer from the contracts only.
"""


def test_every_key_is_read():
    agent = agent_of(WHOLE)
    assert agent.name == "contracts"
    assert agent.header.tools == ("browser", "python")
    assert agent.header.mcp["crm"].command == ("crm-mcp", "--stdio")
    assert agent.header.budget.tool_calls == 50
    assert agent.header.approve == "strict"
    assert agent.instructions == "You answer from the contracts only."
    assert agent.digest != agent_of(WHOLE.replace("contracts only", "contracts alone")).digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tools:", "toolz:", "toolz is no key of an agent, expected only known ones. Did you mean tools?"),
        ("approve:", "aprove:", "Did you mean approve?"),
        ("steps: 20", "step: 20", "budget.step is no key of an agent, expected only known ones. Did you mean steps?"),
        ("seconds: 5}", "second: 5}", "mcp.crm.second is no key"),
        ("approve: strict", "approve: tainted", "It takes always, effects, strict, default, never."),
        ("steps: 20", "steps: 0", "budget.steps is 0"),
        ("steps: 20", "steps: yes", "budget.steps is True"),
        ("[browser, python]", "[browser, shell]", "tools.1 is 'shell'"),
        ("[browser, python]", "[python]", "expected `browser` among its tools"),
        ('["*@firm.test"]', '["*"]', "trusts every destination"),
        ("name: contracts", "name: Our Contracts", "name is 'Our Contracts'"),
        ("model: gpt-oss-20b", "name: twice\nmodel: gpt-oss-20b", "name stands there twice"),
        ("effort: low", "effort: &a low\ntemperature: *a", "it has an alias"),
        ("effort: low", "effort: !!python/object/apply:os.getcwd []", "its header is no YAML"),
        ("---\nname", "name", "it begins with no header"),
        ("tools: [lookup], read", "tools: [], read", "mcp.crm.tools"),
        ('["*@firm.test"]', '["[!x]*"]', "has a set of letters"),
        ("seconds: 900", "seconds: .inf", "budget.seconds is inf"),
        ("seconds: 900", "seconds: .nan", "budget.seconds is nan"),
        ("seconds: 900", "joules: true", "budget.joules is True"),
        ("steps: 20", f"steps: {10**30}", "budget.steps is 1000"),
        ("effort: low", "effort: 2024-13-45", "line 4 is no timestamp: month must be in 1..12"),
        ("effort: low", f"temperature: {'9' * 5000}", "is no int"),
        ("effort: low", "held: !!bool x", "is no bool"),
        ("effort: low", "temperature: !!float x", "is no float"),
        ("effort: low", "effort: !!timestamp x", "is no timestamp"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(old, new, said):
    with pytest.raises(AgentError) as raised:
        agent_of(WHOLE.replace(old, new, 1), "contracts.md")
    assert said in str(raised.value)
    assert "reading the agent contracts.md" in str(raised.value)


def test_an_answers_schema_is_read_beside_the_agent(tmp_path):
    (tmp_path / "agent.md").write_text(WHOLE)
    with pytest.raises(AgentError, match=r"answer\.schema\.json"):
        read_agent(tmp_path / "agent.md")
    (tmp_path / "answer.schema.json").write_text(json.dumps({"type": "object"}))
    agent = read_agent(tmp_path / "agent.md")
    assert agent.schema == {"type": "object"}
    (tmp_path / "agent.md").write_text(WHOLE.replace("answer.schema", "../answer.schema"))
    with pytest.raises(AgentError, match="it is a path"):
        read_agent(tmp_path / "agent.md")


def test_a_file_that_is_not_there_is_an_error_with_four_parts(tmp_path):
    with pytest.raises(
        AgentError, match=r"reading the agent none\.md: No such file.*expected a Markdown file.*agent list"
    ):
        read_agent(tmp_path / "none.md")


@pytest.mark.parametrize("schema", ["[" * 100_000, '{"type": NaN}', b"\xff", "{}" + " " * (1 << 20)])
def test_a_schema_that_is_none_is_named(tmp_path, schema):
    (tmp_path / "agent.md").write_text(WHOLE)
    (tmp_path / "answer.schema.json").write_bytes(schema if isinstance(schema, bytes) else schema.encode())
    with pytest.raises(AgentError, match=r"reading the schema answer\.schema\.json"):
        read_agent(tmp_path / "agent.md")


def test_a_pipe_and_a_device_without_end_are_no_agents(tmp_path):
    os.mkfifo(tmp_path / "pipe.md")
    for place in (tmp_path / "pipe.md", Path("/dev/zero"), tmp_path):
        with pytest.raises(AgentError, match="it is no file"):
            read_agent(place)
        with pytest.raises(AgentError, match="it is no file"):
            import_agent(place, "some-model")


def test_toml_without_an_end_is_no_agent(tmp_path):
    (tmp_path / "a.toml").write_text('instructions = "x"\nname = ' + "[" * 5000)
    with pytest.raises(AgentError, match="it is no TOML"):
        import_agent(tmp_path / "a.toml", "some-model")
