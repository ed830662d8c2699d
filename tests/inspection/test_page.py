"""The one HTML file of a trace: what is in it, what its policy lets in, how large it is. web/tests/browser opens it."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ouvert.inspection import trace_of
from ouvert.inspection.page import TEMPLATE, page
from ouvert.serving.web.page import FOLDER

from .conftest import Transcript

SAMPLES = Path(__file__).with_name("samples")
MOST_BYTES = 2_000_000  # of 500 tokens, 24 layers and the five likeliest tokens of each


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def element(html, tag):
    """What stands in the last element of that kind."""
    return re.findall(rf"<{tag}(?: [^>]*)?>(.*?)</{tag}>", html, re.S)[-1]


def data_of(made):
    packed = re.search(rb'id="data">([A-Za-z0-9+/=]*)<', made)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed, validate=True)))


def test_the_template_is_built_from_the_same_sources_as_the_page():
    """tests/serving/web/test_page.py compares those with web/."""
    assert (TEMPLATE.parent / "sources.sha256").read_text() == (FOLDER / "sources.sha256").read_text()


def test_the_policy_lets_in_the_script_and_the_style_of_the_file_and_nothing_else():
    html = page(sample("trace"), []).decode()
    stated = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    policy = dict(part.strip().split(" ", 1) for part in stated.split(";"))
    digest = {
        tag: base64.b64encode(hashlib.sha256(element(html, tag).encode()).digest()).decode()
        for tag in ("script", "style")
    }
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest['script']}'",
        "style-src": f"'sha256-{digest['style']}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", html))
    assert {address.split("/")[2] for address in addresses} <= {"www.w3.org"}  # names of XML, which nobody asks for


def test_what_is_put_in_comes_out_and_nothing_of_it_is_markup():
    trace = sample("trace")
    trace["tokens"][3]["text"] = "</script><script>alert(1)</script><!--"
    views = [sample(name) for name in ("confidence", "lens", "attribution")]
    made = page(trace, views)
    assert data_of(made) == {"trace": trace, "views": views}
    assert b"alert(1)" not in made
    assert made.count(b"</script>") == 2
    assert page(trace, views) == made


def test_a_number_that_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        page(sample("trace"), [{"view": "lens", "entropy": [float("nan")]}])


def test_500_tokens_24_layers_and_the_five_likeliest_are_less_than_2_megabytes():
    random = np.random.default_rng(5)
    tokens, layers, top, vocabulary = 500, 24, 5, 50_000
    ids = random.zipf(1.2, (layers, tokens, top)) % vocabulary
    logprobs = np.round(-random.exponential(3, (layers, tokens, top)), 5)
    pieces = {str(each): f" w{each}" for each in {*ids.ravel().tolist()}}
    lens = sample("lens") | {
        "layers": list(range(layers)),
        "places": list(range(tokens)),
        "ids": ids.tolist(),
        "logprobs": logprobs.tolist(),
        "entropy": np.round(random.exponential(3, (layers, tokens)), 5).tolist(),
        "came": ids[-1, :, 0].tolist(),
        "came_logprobs": np.round(-random.exponential(3, (layers, tokens)), 5).tolist(),
        "came_ranks": random.integers(1, 1000, (layers, tokens)).tolist(),
        "pieces": pieces,
    }
    trace = sample("trace")
    trace["tokens"] = [trace["tokens"][0] | {"place": place, "text": f" w{place}"} for place in range(tokens)]
    assert 200_000 < len(page(trace, [lens, sample("confidence")])) < MOST_BYTES


def test_a_trace_writes_its_page_with_the_lens_and_whatever_else_was_looked_at(subject_called, tmp_path):
    trace = trace_of(subject_called("llama"), Transcript())
    trace.attribution()
    trace.page(tmp_path / "t.html")
    data = data_of((tmp_path / "t.html").read_bytes())
    assert data["trace"] == json.loads(json.dumps(trace.json()))
    assert [view["view"] for view in data["views"]] == ["confidence", "attribution", "lens"]
    assert data["views"][2] == json.loads(json.dumps(trace.lens().json()))


def test_a_page_can_be_written_without_words(subject_called):
    trace = trace_of(subject_called("llama"), Transcript())
    trace.attribution()
    trace.focus(tokens=[1])
    whole, silent = (data_of(trace.to_html(words=words)) for words in (True, False))
    assert (whole["trace"].get("words"), silent["trace"]["words"]) == (None, False)
    assert {(token["id"], token["text"]) for token in silent["trace"]["tokens"]} == {(-1, "")}
    assert "focus" in whole["trace"]["views"]
    assert (
        [view["view"] for view in silent["views"]] == silent["trace"]["views"] == ["confidence", "attribution", "lens"]
    )
    confidence, attribution, lens = silent["views"]
    assert {*confidence["ids"], *np.ravel(confidence["alternative_ids"]), attribution["token"]} == {-1}
    assert {*np.ravel(lens["ids"]), *lens["came"]} == {-1}
    assert [view["pieces"] for view in silent["views"]] == [{"-1": ""}] * 3
    assert confidence["logprobs"] == whole["views"][0]["logprobs"]
