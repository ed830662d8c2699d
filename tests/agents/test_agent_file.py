"""The agent file: strict, since a key that is ignored is a bound that does not hold."""

import json

import pytest

from ouvert.agents import AgentError, agent_of, read_agent

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
