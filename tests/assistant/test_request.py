"""What is asked of a model as one value: a field that is not of its kind is refused by its name, and at once."""

import pytest

import ouvert as library
from ouvert.assistant import AssistantError, ChatRequest, TextRequest, Variant, as_conversation
from ouvert.engine import EngineError, ScaledAdapter
from ouvert.store import Store

ADAPTER = Variant(adapters=(ScaledAdapter("sha256:" + "a" * 64),))


@pytest.fixture
def model(speaking_model, tmp_path):
    store = Store(tmp_path / "store")
    with library.load(speaking_model(), store=store, receipts=False, context=128, prefixes=False) as model:
        yield model


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversation", "Hi"),
        ("conversation", [{"role": "user", "content": "Hi"}]),
        ("demands", None),
        ("thinking", "low"),
        ("sampling", 3),
        ("stop", "abc"),
        ("stop", 3),
        ("variant", None),
    ],
)
def test_a_conversation_with_a_field_of_another_kind_is_refused_by_its_name(field, value):
    with pytest.raises(AssistantError, match=f"ChatRequest: {field}="):
        ChatRequest(**{"conversation": as_conversation("Hi"), field: value})


@pytest.mark.parametrize("field", ["prompt_ids", "demands", "sampling", "stop", "variant"])
def test_a_text_with_a_field_of_another_kind_is_refused_by_its_name(field):
    with pytest.raises(AssistantError, match=f"TextRequest: {field}="):
        TextRequest(**{"prompt_ids": (1,), field: 3})


def test_stops_and_ids_are_looked_at_one_by_one():
    with pytest.raises(AssistantError, match="stop has 3, expected strings"):
        TextRequest(prompt_ids=(1,), stop=("a", 3))
    with pytest.raises(AssistantError, match=r"prompt_ids has 1\.5, expected whole numbers"):
        TextRequest(prompt_ids=(1, 1.5))


def test_a_model_that_is_asked_with_plain_values_names_the_method_that_takes_them(model):
    with pytest.raises(AssistantError, match=r"a str was given, expected a ChatRequest\. `Model\.chat`"):
        model.answer("Hi")
    with pytest.raises(AssistantError, match=r"a list was given, expected a TextRequest\. `Model\.continue_text`"):
        model.continuation([1, 2])


def test_tokens_can_be_asked_of_a_variant_and_are_never_those_of_the_base(model):
    base = list(model.generate([1, 2], max_tokens=2, temperature=0, variant=Variant()))
    assert base == list(model.generate([1, 2], max_tokens=2, temperature=0))
    for ask in (model.generate, model.generation):
        with pytest.raises(EngineError, match="adapter sha256:aaa"):
            list(ask([1, 2], max_tokens=2, temperature=0, variant=ADAPTER))
