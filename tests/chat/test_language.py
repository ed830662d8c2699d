"""Which template a model is talked to with: its own, one of several, ours, or one that its user gives."""

import codecs
import json
import shutil

import pytest

import ouvert
from ouvert.chat import ChatError, Language
from ouvert.chat.language import templates_in, templates_in_gguf
from ouvert.store import Store

# What a conversation with tools begins with is of no weight to the speaking model: the last token tells the next.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOL_USE = "TOOLS {{ tools | tojson }}\n" + CHATML
TOOL = ouvert.Tool(name="w", description="x", parameters={"type": "object", "properties": {}})


@pytest.fixture
def folder(speaking_model, tmp_path):
    """folder(chat_template, files={...}) -> a speaking model with these instead of its own template."""

    def made(stated=None, files=None):
        target = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        shutil.copytree(speaking_model(), target)
        settings = json.loads((target / "tokenizer_config.json").read_text())
        del settings["chat_template"]
        settings |= {} if stated is None else {"chat_template": stated}
        (target / "tokenizer_config.json").write_text(json.dumps(settings))
        for name, content in (files or {}).items():
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    return made


@pytest.fixture
def loaded(tmp_path):
    """loaded(folder, ...) -> the model, its store for itself."""
    models = []

    def load(path, **more):
        models.append(ouvert.load(path, store=Store(tmp_path / "store"), prefixes=False, **more))
        return models[-1]

    yield load
    for model in models:
        model.close()


PLACES = {
    "a list": {"stated": [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": TOOL_USE}]},
    "a list in another order": {
        "stated": [{"name": "tool_use", "template": TOOL_USE}, {"name": "default", "template": CHATML}]
    },
    "a file beside the text": {"stated": CHATML, "files": {"additional_chat_templates/tool_use.jinja": TOOL_USE}},
    "files alone": {
        "files": {"chat_template.jinja": CHATML, "additional_chat_templates/tool_use.jinja": TOOL_USE},
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_conversations_with_tools_are_written_by_the_template_for_them(folder, loaded, place):
    model = loaded(folder(**PLACES[place]))
    with_tools = model.render("hi", tools=[TOOL])
    assert with_tools.text.startswith('TOOLS [{"type": "function", "function": {"name": "w"')
    assert model.render("hi").text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert model.chat_format.abilities.tools
    # The receipt says which one it was.
    receipts = [list(model.chat("hi", tools=tools, max_tokens=2))[-1].receipt for tools in (None, [TOOL])]
    shown = [(receipt["model"]["format"], receipt["model"]["template_digest"]) for receipt in receipts]
    assert [name for name, _ in shown] == ["template", "template tool_use"]
    assert shown[0][1] != shown[1][1]
    for receipt in receipts:
        assert model.assistant.identity_like(receipt).template_digest == receipt["model"]["template_digest"]
    alone = loaded(folder(TOOL_USE)).assistant.identity.template_digest
    assert alone != shown[1][1], "another name, another digest"


def test_templates_in_files_go_before_those_in_the_configuration(folder):
    assert templates_in(folder("C", {"chat_template.jinja": "J"})) == {"default": "J"}
    assert templates_in(folder("C", {"additional_chat_templates/rag.jinja": "R"})) == {"default": "C", "rag": "R"}
    assert templates_in(folder("C", {"chat_template.json": '{"chat_template": "P"}'})) == {"default": "C"}
    assert templates_in(folder(None, {"chat_template.json": '{"chat_template": "P"}'})) == {"default": "P"}
    assert templates_in(folder()) == {}


def test_gguf_names_templates_behind_the_key():
    metadata = {
        "tokenizer.chat_templates": ["tool_use", "rag"],
        "tokenizer.chat_template.tool_use": "T",
        "tokenizer.chat_template": "D",
        "tokenizer.chat_template.rag": "R",
        "tokenizer.chat_template.odd": 3,
    }
    assert templates_in_gguf(metadata) == {"default": "D", "tool_use": "T", "rag": "R"}
    assert Language("x", "llama", metadata, None).template == "D"


def test_a_single_template_needs_no_certain_name(folder, loaded):
    model = loaded(folder([{"name": "chatml", "template": CHATML}]))
    assert model.render("hi").text.startswith("<|im_start|>user")
    assert model.chat_format.name == "template chatml"


def test_of_several_without_a_default_one_has_to_be_chosen(folder, loaded):
    path = folder([{"name": "rag", "template": "R" + CHATML}, {"name": "x\x1b[2J", "template": CHATML}])
    with pytest.raises(ChatError, match=r"brings 2 templates \(rag, x\\x1b\[2J\).*--template NAME"):
        loaded(path).render("hi")
    assert loaded(path, template="rag").render("hi").text.startswith("R<|im_start|>")


@pytest.mark.parametrize("stated", [3, [{"name": "default"}], ["x"], {"default": "x"}])
def test_what_is_no_template_is_said(folder, loaded, stated):
    path = folder(stated)
    with pytest.raises(ChatError, match=r"chat_template is .*expected text or a list.*--template builtin"):
        loaded(path).render("hi")
    assert loaded(path, template="builtin").render("hi").text.startswith("<|im_start|>user")


BROKEN = ["{% for m in messages %}{{ m.content }", "{{ messages[0].content.encode('utf-8') }}", "{{ if .System }}"]


@pytest.mark.parametrize("broken", BROKEN)
def test_the_remedy_that_an_error_names_exists(folder, loaded, broken, tmp_path):
    path = folder(broken)
    with pytest.raises(ChatError, match=r"--template builtin, or --template FILE.jinja"):
        loaded(path).render("hi")
    assert loaded(path, template="builtin").chat_format.name == "builtin chatml"
    assert loaded(path, template="builtin:llama3").chat_format.name == "builtin llama3"
    (tmp_path / "mine.jinja").write_bytes(codecs.BOM_UTF8 + ("MINE " + CHATML).encode())
    model = loaded(path, template=tmp_path / "mine.jinja")
    assert model.render("hi").text.startswith("MINE <|im_start|>user")
    receipt = list(model.chat("hi", max_tokens=2))[-1].receipt
    assert receipt["model"]["format"] == "file mine.jinja"


def test_a_template_that_fails_is_tried_once(monkeypatch):
    """It may take seconds, and everybody who asks for the model would take them again."""
    tried = []

    def failing(*args, **more):
        tried.append(args)
        raise ChatError("no")

    monkeypatch.setattr("ouvert.chat.language.format_for", failing)
    monkeypatch.setattr(Language, "tokenizer", None)
    language = Language("x", "llama", {}, None)
    for _ in range(3):
        with pytest.raises(ChatError, match="no"):
            _ = language.chat_format
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (
            "builtin:vicuna",
            "no built-in template 'vicuna', expected one of chatml, deepseek, deepseek31, kimi, llama3, mistral",
        ),
        ("nowhere.jinja", r"'nowhere.jinja' cannot be read \(No such file or directory\).*the model's own \(default\)"),
        ("", "cannot be read"),
    ],
)
def test_a_template_that_is_none_is_refused_when_the_model_is_loaded(folder, loaded, template, why):
    with pytest.raises(ChatError, match=why):
        loaded(folder(CHATML), template=template)


def test_harmony_is_written_by_no_template(tiny_gpt_oss, loaded):
    with pytest.raises(ChatError, match="speaks Harmony, which no template can write"):
        loaded(tiny_gpt_oss, template="builtin")


def test_a_byte_order_mark_at_the_beginning_of_a_file_is_no_content(folder, loaded):
    expected = loaded(folder(CHATML)).render("hi")
    marked = folder(files={"chat_template.jinja": codecs.BOM_UTF8 + CHATML.encode()})
    for path in marked.glob("*.json"):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    (marked / "generation_config.json").write_bytes(codecs.BOM_UTF8 + b'{"temperature": 0.25}')
    model = loaded(marked)
    assert model.render("hi") == expected
    assert model.info.sampling.temperature == 0.25
    stated = folder("\ufeff" + CHATML)
    assert loaded(stated).render("hi") == expected


def test_a_byte_order_mark_before_an_index_is_no_content(tmp_path):
    import numpy as np

    from ouvert.weights import SafetensorsWriter, open_checkpoint

    with SafetensorsWriter(tmp_path / "model-00001-of-00001.safetensors", {"t": ("F32", (2,))}) as writer:
        writer.write("t", np.zeros(2, np.float32))
    index = {"weight_map": {"t": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_bytes(codecs.BOM_UTF8 + json.dumps(index).encode())
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == ["t"]
