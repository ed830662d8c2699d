"""A gpt-oss in vLLM, in BF16, divided over two processes (tensor parallel), gives our numbers."""

import ouvert

from .conftest import KEY
from .likeness import compare

SERVES = ("gpt_oss", "--tensor-parallel-size", "2")


def test_its_numbers_are_ours_within_its_own_rounding(vllm):
    assert compare(vllm, KEY) > 40  # of 96 tokens


def test_how_it_is_divided_stands_in_the_receipt(vllm):
    engine = ouvert.vllm(vllm.url, key=KEY, parallel="tensor parallel 2")
    with ouvert.load(vllm.folder, elsewhere=engine, receipts=False) as model:
        *_, finished = model.continue_text("Hello", temperature=0, max_tokens=3)
    assert finished.receipt["engine"]["parallel"] == "tensor parallel 2"
