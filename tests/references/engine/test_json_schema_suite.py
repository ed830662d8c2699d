"""The JSON Schema Test Suite, whole, for drafts 4, 6, 7, 2019-09 and 2020-12: no schema is accepted and then broken.

A schema is refused by the name of what cannot be kept, or it is kept: every instance that the suite calls invalid is
held back, those it calls valid are let through (or a reason is named here), and whatever a model of random weights
writes under it, through the real engine, is valid.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

import ouvert
from ouvert.engine import EngineError, Grammar, Vocabulary
from ouvert.store import Store

DRAFTS = ("draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")
BYTES = Vocabulary([bytes([byte]) for byte in range(256)], (), lambda text: list(text.encode()))
DOCUMENT = Path(__file__).parents[3] / "docs" / "formats" / "constraints.md"

# Why a valid instance may be held back, in no order of its members: by file.
WHOLE_NUMBERS = "a whole number is written without a point or exponent"
FORMATS = "a format is held to where the draft only describes it"
DIALECTS = "dialects differ about the character, or it would need \\u"
SECOND_60 = "there is no second 60"
NARROW_FORMATS = "llguidance's format is narrower (quoted mail addresses, IPv4 in IPv6)"
LONG_NUMBERS = "a number has no more digits than readers of JSON keep"
REASONS = {
    "optional/bignum.json": LONG_NUMBERS,
    "const.json": WHOLE_NUMBERS,
    "enum.json": WHOLE_NUMBERS,
    "type.json": WHOLE_NUMBERS,
    "optional/zeroTerminatedFloats.json": WHOLE_NUMBERS,
    "optional/float-overflow.json": WHOLE_NUMBERS,
    "format.json": FORMATS,
    "optional/ecmascript-regex.json": DIALECTS,
    "optional/format/date-time.json": SECOND_60,
    "optional/format/time.json": SECOND_60,
    "optional/format/email.json": NARROW_FORMATS,
    "optional/format/ipv6.json": NARROW_FORMATS,
}
# What a refusal is about, by the words of the message.
REFUSALS = (
    (r"the keyword '([^']+)'", r"`\1`"),
    (r"the format '", "`format`: others than the ten"),
    (r"alternatives of oneOf", "`oneOf` whose alternatives may hold at once"),
    (r"another document|where no schema stands|an \$id beside a \$ref", "`$ref` out of the schema, or to no schema"),
    (r"has \$schema|has the \$schema", "`$schema`: a dialect of its own, or another inside"),
    (r"Unsatisfiable schema", "schemas that nothing satisfies"),
    (r"are not disjoint", "`patternProperties` that may match the same name"),
    (r"minProperties", "`minProperties` beyond the names required, or with optional ones"),
    (r"of the pattern|lookarounds", "`pattern`: look-around, word boundaries, back-references, …"),
    (r"a control character", "control characters in `const` and `enum`"),
    (r"a float can be exactly|float range|too many digits", "numbers that a float cannot be exactly"),
    (r"expected a dict", "`true` and `false` as a whole schema"),
)


def refusal(problem: EngineError) -> str:
    for words, name in REFUSALS:
        if found := re.search(words, str(problem)):
            return found.expand(name)
    raise AssertionError(f"a refusal that nobody has named: {problem}")


@pytest.fixture(scope="module")
def model(tiny_gpt_oss, tmp_path_factory):
    with ouvert.load(tiny_gpt_oss, store=Store(tmp_path_factory.mktemp("store"))) as model:
        yield model


@pytest.fixture(scope="module")
def kept(suite):
    """draft -> (cases with their compiled grammar over bytes, refusals counted by name)."""

    def of(draft):
        grammars, refusals = [], Counter()
        for case in suite[draft]:
            try:
                grammars.append((case, BYTES.compile(Grammar.json_schema(case.schema))))
            except EngineError as problem:
                refusals[refusal(problem)] += 1
        return grammars, refusals

    return {draft: of(draft) for draft in DRAFTS}


def without_lone_surrogates(instance) -> bool:
    return not re.search(r"\\ud[89a-f]", json.dumps(instance)) or "\\ud83d" in json.dumps(instance)


@pytest.mark.parametrize("draft", DRAFTS)
def test_no_invalid_instance_is_let_through_in_any_order_of_its_members(kept, oracle, draft):
    grammars, _ = kept[draft]
    wrong = [
        (case.file, case.description, text)
        for case, grammar in grammars
        for _, instance, valid in case.instances
        if not valid and without_lone_surrogates(instance)
        for text in oracle.spellings(instance)
        if oracle.accepts(grammar, text)
    ]
    assert wrong == []


def shares(grammars, oracle) -> Counter:
    counts = Counter()
    for case, grammar in grammars:
        for description, instance, valid in case.instances:
            if not valid:
                counts["invalid"] += 1
            elif any(oracle.accepts(grammar, text) for text in oracle.spellings(instance)):
                counts["let through"] += 1
            else:
                assert case.file in REASONS, (case, description)
                counts[REASONS[case.file]] += 1
    return counts


@pytest.mark.parametrize("draft", DRAFTS)
def test_valid_instances_are_let_through_but_for_named_reasons(kept, oracle, draft):
    counts = shares(kept[draft][0], oracle)
    valid = counts.total() - counts["invalid"]
    assert counts["let through"] / valid > 0.9, counts


@pytest.mark.parametrize("draft", DRAFTS)
def test_whatever_a_model_of_random_weights_writes_is_valid(suite, model, oracle, draft):
    prompt = model.tokenize("Write some JSON.")
    sizes = {token: model.vocabulary.bytes_of(token) for token in range(model.vocabulary.size)}
    # Without a nudge a model that knows nothing writes for ever: what closes is liked a little, what opens less.
    liking = {token: 4.0 for token, spelled in sizes.items() if spelled in (b'"', b"}", b"]")}
    liking |= {token: -2.0 for token, spelled in sizes.items() if spelled in (b"{", b"[", b",")}
    liking |= dict.fromkeys(model.tokenizer.end_ids, 4.0)
    written = Counter()
    for case in suite[draft]:
        try:
            constraint = model.constraint(Grammar.json_schema(case.schema))
        except EngineError:
            continue
        judge = oracle.validator(case.schema)
        for seed in range(4):
            settings = {"temperature": 1.0, "seed": seed, "max_tokens": 200, "logit_bias": liking}
            generation = model.generation(prompt, constraint=constraint, **settings)
            text = b"".join(sizes[token.id] for token in generation if token.id not in model.tokenizer.end_ids).decode()
            written[generation.stopped.reason] += 1
            if generation.stopped.reason == "stop" and judge_can_read(case):
                problems = [problem.message for problem in judge.iter_errors(oracle.value(text))]
                assert problems == [], (case, text)
    assert written["stop"] > 0.95 * written.total(), written


def judge_can_read(case) -> bool:
    """jsonschema reads patterns as Python does, which knows no Unicode properties."""
    return "\\\\p{" not in json.dumps(case.schema)


@pytest.mark.parametrize("block", range(10))
def test_texts_of_many_schemas_at_random_are_valid(oracle, block):
    written = 0
    for seed in range(1000 + block * 400, 1400 + block * 400):
        schema = oracle.RandomSchema(seed).schema
        try:
            grammar = BYTES.compile(Grammar.json_schema(schema))
        except EngineError:
            continue
        for n in range(3):
            text = oracle.wander(grammar, n)
            if text is not None:
                written += 1
                assert list(oracle.validator(schema).iter_errors(oracle.value(text))) == [], (schema, text)
    assert written > 300


def test_the_document_counts_what_is_kept_and_what_is_refused(kept, suite, oracle):
    """The two tables of docs/formats/constraints.md, written out."""
    lines = []
    for draft in DRAFTS:
        grammars, refusals = kept[draft]
        counts = shares(grammars, oracle)
        valid = counts.total() - counts["invalid"]
        lines.append(
            f"| {draft} | {len(suite[draft])} | {len(grammars)} | {refusals.total()} | {counts['invalid']} | "
            f"{counts['let through']} of {valid} |"
        )
    names = Counter()
    for draft in DRAFTS:
        names.update(kept[draft][1])
    for name, _ in names.most_common():
        lines.append(f"| {name} | {' | '.join(str(kept[draft][1][name]) for draft in DRAFTS)} |")
    reasons = Counter()
    for draft in DRAFTS:
        reasons.update(shares(kept[draft][0], oracle))
    lines += [f"| {reason} | {reasons[reason]} |" for reason in sorted(set(REASONS.values()))]
    written = DOCUMENT.read_text(encoding="utf-8")
    missing = [line for line in lines if line not in written]
    assert missing == [], "\n".join(["docs/formats/constraints.md lacks:", *lines])
