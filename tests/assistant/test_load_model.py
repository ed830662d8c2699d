"""`ouvert.load` takes what it honours, and names what it does not."""

import pytest

import ouvert


@pytest.mark.parametrize("setting", ["receipts", "prefixes"])
def test_a_path_in_the_place_of_a_ledger_or_of_page_files_is_refused(tmp_path, setting):
    with pytest.raises(ouvert.AssistantError, match=f"{setting} is .*expected True, False or an ouvert"):
        ouvert.load("smollm2", **{setting: tmp_path})
