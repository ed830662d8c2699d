"""Real templates, of the families that TRL ships: every answer is read back, and TRL's own masks of the same answers.

TRL marks in copies of the templates what an assistant wrote ({% generation %}). Where both know the answer, ours is the
end of theirs up to the token that stops: theirs begins earlier where a template writes as the past what a prompt
supplies (<think>), and goes on behind the stop (a line break that no model is asked for).
"""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from ouvert.chat import Conversation, Message, ReasoningDelta, TextDelta
from ouvert.chat.template import TemplateFormat

CONTROL = re.compile(
    r"<\|[^|> ]+\|>|<｜[^>｜]+｜>|</?think>|</?(?:start|end)_of_turn>|\[/?[A-Z_]+\]|<[a-z_]+\|>|<\|[a-z_]+>"
)
STOPS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>", "<|end|>",
         "<｜end▁of▁sentence｜>", "<|eot|>", "<|eom|>")  # fmt: skip
OTHER_STOPS = {"glm4moe": ("<|user|>", "<|observation|>", "<|endoftext|>")}
# gptoss is Harmony, which no template of ours writes. The others read pictures, and want messages made of parts.
APART = {"gptoss", "idefics3", "smolvlm", "llava_next"}
# They leave out the thought that their own prompt begins: training on the past would teach to answer inside it.
LEAVE_THOUGHTS_OUT = {"deepseek_r1_distill", "deepseekv3"}


def folder():
    [root] = importlib.util.find_spec("trl").submodule_search_locations
    return Path(root) / "chat_templates"


NAMES = sorted(path.stem for path in folder().glob("*.jinja") if not path.stem.endswith("_training"))
NAMES = [name for name in NAMES if name not in APART]
USER = Message(role="user", content="Hi")


@pytest.fixture(scope="module")
def format_of(byte_tokenizer):
    def made(name):
        text = (folder() / f"{name}.jinja").read_text(encoding="utf-8")
        stops = OTHER_STOPS.get(name) or tuple(each for each in STOPS if each in text) or ("<eos>",)
        control = sorted({*CONTROL.findall(text), "<bos>", "<eos>", *stops})
        tokenizer = byte_tokenizer(tuple(control), bos="<bos>", eos="<eos>", ends=(*stops, "<eos>"))
        return tokenizer, TemplateFormat(tokenizer, text)

    return made


def written(chat, messages, answer):
    conversation = Conversation(messages=tuple(messages))
    rendered = chat.render(conversation)
    if answer.reasoning and rendered.thoughtless:
        conversation = replace(conversation, thinking=True)
        rendered = chat.render(conversation)
    return rendered, chat.answer(conversation, rendered, answer)


def test_the_corpus_is_there():
    assert len(NAMES) >= 30


@pytest.mark.parametrize("thought", [None, "Hm.\nWell"])
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_read_back(format_of, name, thought):
    tokenizer, chat = format_of(name)
    if thought and not chat.abilities.thinks:
        return
    answer = Message(role="assistant", content="Yes: <b>it</b> is.", reasoning=thought)
    for messages in ([USER], [USER, Message(role="assistant", content="Ho"), Message(role="user", content="Hu")]):
        rendered, found = written(chat, messages, answer)
        assert found.ids[-1] in chat.stop_ids
        assert not chat.stop_ids.intersection(found.ids[:-1])
        parser = chat.parser(rendered)
        deltas = [delta for token in found.ids for delta in parser.push(token)] + parser.finish("stop")
        said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        said = said.removeprefix(" to=user")  # Muse's header, which our parser takes for text
        assert said.removesuffix("<|END_RESPONSE|>") == answer.content
        assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == (thought or "")
        assert tokenizer.decode(found.ids[found.thought :]).endswith(answer.content) or name == "cohere2"


@pytest.mark.parametrize("thought", [None, "Hm."])
@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if (folder() / f"{name}_training.jinja").exists() and name not in LEAVE_THOUGHTS_OUT],
)
def test_our_answers_are_the_end_of_what_trl_trains(format_of, name, thought):
    tokenizer, chat = format_of(name)
    if thought and not chat.abilities.thinks:
        return
    said = {"role": "assistant", "content": "Yes."} | ({"reasoning_content": thought} if thought else {})
    [text], [spans] = render_jinja_template(
        [[{"role": "user", "content": "Hi"}, said]],
        chat_template=(folder() / f"{name}_training.jinja").read_text(encoding="utf-8"),
        return_assistant_tokens_mask=True,
        add_generation_prompt=False,
        bos_token="<bos>",
        eos_token="<eos>",
    )
    theirs = "".join(text[start:stop] for start, stop in spans)
    _, found = written(chat, [USER], Message(role="assistant", content="Yes.", reasoning=thought))
    ours = tokenizer.decode(found.ids, control=True)
    stop = tokenizer.decode(found.ids[-1:], control=True)
    to_the_stop = theirs[: theirs.rindex(stop) + len(stop)]
    assert to_the_stop.endswith(ours)
    assert theirs[len(to_the_stop) :] in {"", "\n", "\n<eos>"}
    supplied = to_the_stop.removesuffix(ours).strip()
    assert supplied in {"", "<think>", "<think>\n\n</think>", "<|start|>assistant"}
