"""`ouvert.load` takes what it honours, and names what it does not."""

import pytest

import ouvert


@pytest.mark.parametrize("setting", ["receipts", "prefixes"])
def test_a_path_in_the_place_of_a_ledger_or_of_page_files_is_refused(tmp_path, setting):
    with pytest.raises(ouvert.AssistantError, match=f"{setting} is .*expected True, False or an ouvert"):
        ouvert.load("smollm2", **{setting: tmp_path})


def test_a_model_whose_weights_compute_elsewhere_answers_as_it_does_here(speaking_model):
    """The engine of the same model, loaded once more, stands for another program."""
    path, asked = speaking_model(), []
    with ouvert.load(path, receipts=False, prefixes=False, threads=1) as there:

        def elsewhere(meant):
            asked.append(meant)
            return there.engine

        with ouvert.load(path, receipts=False, elsewhere=elsewhere) as here:
            assert [each.text for each in here.chat("Hi") if isinstance(each, ouvert.TextDelta)] == [
                each.text for each in there.chat("Hi") if isinstance(each, ouvert.TextDelta)
            ]
            assert here.fingerprint == there.fingerprint
            assert (here.info.context, here.info.bytes) == (there.info.context, there.info.bytes)
    [meant] = asked
    assert meant.weights_digest == there.engine.facts.identity.weights
    assert (meant.tokenizer_digest, meant.vocabulary_size) == (there.tokenizer.digest, there.info.vocabulary_size)


def test_what_another_program_computes_with_is_not_set_here(speaking_model):
    with pytest.raises(ouvert.AssistantError, match=r"threads=2, exact=True, and another program computes"):
        ouvert.load(speaking_model(), elsewhere=lambda meant: None, threads=2, exact=True)
