"""A format, a vocabulary and an engine of noise, put together as a model would be."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ouvert.assistant import Assistant
from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.chat import builtin_template, format_for
from ouvert.chat.template import TemplateFormat
from ouvert.engine import EngineFacts, LocalEngine
from ouvert.engine.identity import NumericIdentity

TESTS = Path(__file__).parents[1]


def module_at(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VOCABULARIES = module_at(TESTS / "chat" / "conftest.py")
RUNNERS = module_at(TESTS / "engine" / "conftest.py")
ENDS = (
    *("<|end|>", "<|return|>", "<|call|>", "</think>", "</tool_call>", "<|im_end|>", "<|eot_id|>", "</s>"),
    *("<｜tool▁calls▁end｜>", "<|tool_calls_section_end|>", "<｜end▁of▁sentence｜>"),
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}<tool_call>{{ tools | tojson }}</tool_call>{% endif %}"
    "<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


# Of later versions only how calls are written differs.
MISTRAL = builtin_template("mistral")
MISTRAL_11 = """{{ bos_token }}{% for m in messages %}{% if m.tool_calls %}{% for call in m.tool_calls %}
{{- '[TOOL_CALLS]' ~ call.function.name ~ '[ARGS]' ~ call.function.arguments | tojson }}{% endfor %}{{ eos_token }}
{%- else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}{{ tools | tojson if tools }}"""
DEEPSEEK_31 = """{{ bos_token }}{% for m in messages %}{% if m.tool_calls %}<｜Assistant｜><｜tool▁calls▁begin｜>
{%- for call in m.tool_calls %}
{{- '<｜tool▁call▁begin｜>' ~ call.function.name ~ '<｜tool▁sep｜>' ~ call.function.arguments | tojson }}
{{- '<｜tool▁call▁end｜>' }}{% endfor %}<｜tool▁calls▁end｜>{{ eos_token }}
{%- else %}<｜User｜>{{ m.content }}{% endif %}{% endfor %}{{ tools | tojson if tools }}"""
TEMPLATES = {
    "harmony": ("harmony", None),
    "qwen3": ("qwen3", QWEN),
    "r1": ("qwen3", QWEN + "<think>\n"),
    "chatml": ("chatml", builtin_template("chatml")),
    "llama3": ("llama3", builtin_template("llama3")),
    "mistral": ("mistral", MISTRAL),
    "mistral-tekken": ("mistral", MISTRAL.replace("[TOOL_CALLS] [", "[TOOL_CALLS][")),
    "mistral-v11": ("mistral", MISTRAL_11),
    "deepseek": ("deepseek", builtin_template("deepseek")),
    "deepseek-v3.1": ("deepseek", DEEPSEEK_31),
    "kimi": ("kimi", builtin_template("kimi")),
}


@pytest.fixture
def assistant():
    """assistant(one of TEMPLATES, seed) -> (Assistant, tokenizer)

    Its engine's scores are noise, somewhat in favour of tokens that end something, so that answers end. With a
    `script` the model wants to write just that, and then to end its answer.
    """

    def make(family, seed=0, favour=4.0, spare=3, script=None):
        vocabulary, template = TEMPLATES[family]
        tokenizer = VOCABULARIES.ByteTokenizer(**VOCABULARIES.VOCABULARIES[vocabulary])
        chat = format_for(tokenizer) if template is None else TemplateFormat(tokenizer, template)
        size = tokenizer.vocabulary_size + spare  # models have more rows than their vocabulary has entries

        ends = [tokenizer.control_tokens[text] for text in ENDS if text in tokenizer.control_tokens]

        def noise(ids):
            row = np.random.default_rng((seed, len(ids))).standard_normal(size).astype(np.float32)
            row[ends] += favour
            return row

        scores = noise if script is None else Script(chat, tokenizer, size, script)
        engine = LocalEngine(RUNNERS.FakeRunner(scores, size), 6000, make_facts)
        made = Scripted if script is not None else Assistant
        assistant = made(engine, chat, "noise", "sha256:0", lambda: vocabulary_of(tokenizer, size))
        assistant.script = scores
        return assistant, tokenizer

    return make


class Script:
    """Scores of a model that wants to write `text` and then to end its answer, whatever else has been written."""

    def __init__(self, chat, tokenizer, size, text):
        self.ids = tokenizer.ids(text)
        self.stops = sorted(chat.stop_ids)
        self.size = size
        self.prompt = 0  # tokens before the answer

    def __call__(self, ids):
        row = np.zeros(self.size, np.float32)
        at = len(ids) - self.prompt
        row[self.ids[at] if at < len(self.ids) else self.stops] = 9
        return row


class Scripted(Assistant):
    def answer(self, request):
        written = super().answer(request)
        self.script.prompt = len(written.prompt_ids)  # the engine begins with the first token that is asked for
        return written


def make_facts():
    return EngineFacts(
        version="0",
        instruction_set="fake",
        threads=1,
        identity=NumericIdentity(
            weights="sha256:" + "0" * 64,
            configuration="sha256:" + "c" * 64,
            layout="none",
            arithmetic="scripted",
            build=None,
            exact=True,
            cache="f32",
        ),
    )
