"""A receipt says what was read of experts on disk."""

import pytest

from ouvert import load
from ouvert.assistant import ChatRequest, as_conversation
from ouvert.engine import demand_of_files, least_plan

CONTEXT = 512


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_receipt_says_what_was_read_of_experts_where_they_are_on_disk(tiny_gpt_oss, tmp_path, on_disk):
    from ouvert.store import Store

    demand = demand_of_files(tiny_gpt_oss)
    half = least_plan(demand, CONTEXT).memory + demand.experts // 2
    with load(
        tiny_gpt_oss,
        store=Store(tmp_path),
        threads=1,
        context=CONTEXT,
        receipts=False,
        prefixes=False,
        memory=half if on_disk else None,
    ) as model:
        before = model.engine.load.experts
        request = ChatRequest(conversation=as_conversation("Hello"), sampling={"max_tokens": 8, "seed": 1})
        *_, finished = model.answer(request)
        if not on_disk:
            assert "experts" not in finished.receipt
            return
        said, total = finished.receipt["experts"], model.engine.load.experts
        assert said.keys() == {"read_bytes", "hit_rate"}
        assert said["read_bytes"] == total.read_bytes - before.read_bytes > 0
        assert said["hit_rate"] == pytest.approx(total.hits / total.lookups, abs=1e-4)
        assert 0 < said["hit_rate"] < 1
