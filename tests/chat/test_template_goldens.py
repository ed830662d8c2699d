"""Templates write what transformers writes (goldens; tests/references/chat holds them to it)."""

import json
import re

import pytest

from ouvert.chat import builtin_template
from ouvert.chat.template import TemplateFormat


def test_every_case_is_what_transformers_wrote(make_chat, byte_tokenizer):
    golden = json.loads((make_chat.FOLDER / "templates.json").read_text(encoding="utf-8"))
    templates = make_chat.templates(golden["smollm2"])
    assert [(case["template"], case["conversation"]) for case in golden["cases"]] == make_chat.template_cases(templates)
    formats = {
        name: TemplateFormat(
            byte_tokenizer(("<s>", "</s>")), text, bos_token="<s>", eos_token="</s>", extra={"thinks": True}
        )
        for name, text in templates.items()
    }
    for case in golden["cases"]:
        conversation = make_chat.conversation_from(make_chat.CONVERSATIONS[case["conversation"]])
        rendered = formats[case["template"]].render(conversation)
        assert rendered.text == case["text"], (case["template"], case["conversation"])


@pytest.mark.parametrize("template", ["chatml", "deepseek", "deepseek31", "llama3", "mistral", "kimi"])
def test_every_message_can_be_found_in_its_prompt(make_chat, tokenizer_of, template):
    tokenizer = tokenizer_of(template.removesuffix("31"))
    chat = TemplateFormat(tokenizer, builtin_template(template))
    conversation = make_chat.conversation_from(make_chat.CONVERSATIONS["tools"])
    rendered = chat.render(conversation)
    assert [span.start for span in rendered.spans[1:]] == [span.stop for span in rendered.spans[:-1]]
    for index, message in enumerate(conversation.messages):
        own = [span for span in rendered.spans if span.message == index and span.source != "format"]
        written = "".join(tokenizer.decode(rendered.ids[span.start : span.stop]) for span in own)
        assert all(word in written for word in re.findall(r"\w+", message.content))
        assert {span.source for span in own} == {"chosen" if message.role == "assistant" else "supplied"}
