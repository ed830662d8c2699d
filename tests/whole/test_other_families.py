"""A state space model, and one with latent attention and experts: from the command line and, streamed, over HTTP.

Their logits are held to transformers' elsewhere (tests/models); here the whole chain says the same words everywhere.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.conftest import CHATML, CONTROL, bytes_and_added_tokens
from tests.pool_clients import Process

from ouvert import TextDelta, load
from ouvert.weights import SafetensorsWriter, open_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
WORDS = 288  # bytes, control tokens, and some that are nothing
TOKENS = 24
# Family -> the tensors that have a row for every token.
BY_TOKEN = {
    "mamba2": ("backbone.embeddings.weight",),
    "deepseek_v3": ("model.embed_tokens.weight", "lm_head.weight"),
}


@pytest.fixture(scope="module", params=BY_TOKEN)
def speaker(request, tmp_path_factory):
    """The golden checkpoint of that family with a vocabulary of bytes, which speaks ChatML."""
    family, golden = request.param, GOLDENS / request.param
    folder = tmp_path_factory.mktemp(family) / f"tiny-{family}"
    folder.mkdir()
    config = json.loads((golden / "config.json").read_text())
    config |= {"vocab_size": WORDS, "bos_token_id": 256, "eos_token_id": 258, "max_position_embeddings": 512}
    if family == "mamba2":
        del config["max_position_embeddings"]
    added = {text: 256 + n for n, text in enumerate(CONTROL)}
    settings = {"chat_template": CHATML, "eos_token": CONTROL[-1], "tokenizer_class": "PreTrainedTokenizerFast"}
    files = {
        "config.json": config,
        "tokenizer.json": bytes_and_added_tokens(added, CONTROL),
        "tokenizer_config.json": settings,
        "generation_config.json": {"do_sample": False},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    random = np.random.default_rng(3)
    with open_checkpoint(golden / "model.safetensors") as checkpoint:
        tensors = checkpoint.tensors
        shapes = {
            name: (WORDS, *each.shape[1:]) if name in BY_TOKEN[family] else each.shape for name, each in tensors.items()
        }
        declared = {name: (tensors[name].encoding, shape) for name, shape in shapes.items()}
        with SafetensorsWriter(folder / "model.safetensors", declared) as writer:
            for name, (encoding, shape) in declared.items():
                if name not in BY_TOKEN[family]:
                    writer.write(name, tensors[name].data)
                else:
                    assert encoding == "BF16"
                    values = random.standard_normal(shape).astype(np.float32)
                    writer.write(name, (values.view(np.uint32) >> 16).astype("<u2"))
    return folder


@pytest.fixture(scope="module")
def said(speaker):
    """What it says to three questions, in Python."""
    with load(speaker, receipts=False, prefixes=False, threads=1) as model:
        answers = {question: model.chat(question, max_tokens=TOKENS) for question in ("Hello", "Who?", "Why not?")}
        return {
            question: "".join(event.text for event in events if isinstance(event, TextDelta))
            for question, events in answers.items()
        }


def test_the_command_line_says_what_python_says(speaker, said, tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path))
    command = [sys.executable, "-c", RUN, "run", str(speaker), "Hello", "--max-tokens", str(TOKENS), "--threads", "1"]
    ran = subprocess.run([*command, "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["text"] == said["Hello"]


def lines_of(answer):
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: {")]


def by_openai(client, model, question):
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS, "stream": True}
    chunks = lines_of(client.post("/v1/chat/completions", json=body))
    return [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]


def by_anthropic(client, model, question):
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS, "stream": True}
    events = lines_of(client.post("/v1/messages", json=body))
    return [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]


def by_ollama(client, model, question):
    body = {"model": model, "messages": [{"role": "user", "content": question}], "options": {"num_predict": TOKENS}}
    answer = client.post("/api/chat", json=body)
    return [json.loads(line)["message"]["content"] for line in answer.text.splitlines()]


def test_streams_of_every_dialect_say_the_same_also_beside_each_other(speaker, said, tmp_path):
    process = Process(tmp_path, speaker, "--threads", "1")
    try:
        with httpx.Client(base_url=process.base, timeout=60) as client, ThreadPoolExecutor(9) as threads:
            asked = [
                (question, threads.submit(ask, client, speaker.name, question))
                for ask in (by_openai, by_anthropic, by_ollama)
                for question in said
            ]
            for question, stream in asked:
                pieces = stream.result()
                assert "".join(pieces) == said[question]
                assert sum(map(bool, pieces)) > 3
    finally:
        process.kill()
