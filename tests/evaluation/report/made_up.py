"""A comparison that nobody made: values for every section of a report, and answers that try to act on a page."""

from ouvert.evaluation import Card, Chat, Item, Likelihood, Outcome, Score
from ouvert.evaluation.comparison import (
    Bits,
    Calibration,
    Comparison,
    Damage,
    DamageRatio,
    EffortPoint,
    GroupScore,
    Interval,
    Pair,
    PassAt,
    Ranked,
    Resources,
    Row,
    RowScore,
    Speed,
)
from ouvert.evaluation.report.material import Given, Material

SMALL, LARGE, AWAY = "smollm2", "qwen2.5-coder:1.5b", "openai:gpt-5"

# Text that would act if it were not escaped, or that would cover, turn round or break what is near it.
HOSTILE = (
    "</pre></main><script>alert(1)</script><img src=x onerror=alert(2)><style>*{display:none}</style>",
    "# A heading\n\n[a link](javascript:alert(3)) ![](https://example.com/x.png) | a | table |\n```\n<b>b</b> `code`",
    "\x1b[31mred\x1b[0m\x00\x07 and \x9b2J",
    "\u202etxet desrever\u202c \u2066isolated\u2069 \u200e\u200b\ufeff",
    "x" * 200_000,
    '=HYPERLINK("https://example.com","click")',
    "Z" + "\u0335\u0321\u0322\u0327\u0328" * 30 + "algo",
    "\ud800 alone, {braces} and {0}, &amp; ' \" \\ $x$ %s",
    "",
)


def interval(share, half=0.1):
    return Interval(max(0.0, share - half), min(1.0, share + half))


def card(name, title, french, *, chance=0.0):
    both = {"en": f"Asks for {title.lower()}.", "fr": f"Demande : {french.lower()}."}
    return Card(
        name=name, module=name, kind="generated", title={"en": title, "fr": french}, what=both, source="Ouvert",
        licence="Apache-2.0", languages=("en", "fr"), forms=("",), asks=("chat",), chance={"": chance},
        scorer=f"{name} 1", cluster=both, contamination={"en": "generated", "fr": "générées"}, small_models=both,
    )  # fmt: skip


CARDS = {
    each.name: each
    for each in (
        card("ladder", "Arithmetic in steps", "Calcul par paliers"),
        card("tools", "Calling tools", "Appels d’outils"),
        card("mmlu", "Knowledge (MMLU)", "Connaissances (MMLU)", chance=0.25),
        card("french", "French grammar", "Grammaire française", chance=0.5),
        card("needle", "Finding in a long text", "Retrouver dans un long texte"),
        card("mine", "My prompts", "Mes questions"),
    )
}  # fmt: skip


def score(contestant, share, baseline=0.0, n=100, **more):
    found = interval(share)
    values = {
        "contestant": contestant, "n": n, "right": round(share * n), "share": share, "interval": found,
        "baseline": baseline, "guess": "chance" if baseline else "says nothing", "floor": found.low <= baseline,
        "malformed": 0, "refused": 0, "cut": 0,
    }  # fmt: skip
    return RowScore(**{**values, **more})


def row(suite, language, form, primary, *scores):
    name = "/".join(part for part in (suite, language, form) if part)
    purposes = ("chat",) if primary else ()
    return Row(
        row=name, suite=suite, language=language, form=form, purposes=purposes, primary=primary, graded=False,
        scores=scores,
    )  # fmt: skip


def pair(of, verdict, difference, only_first, only_second, *, names=(SMALL, LARGE), p=0.5, adjusted=None):
    return Pair(
        row=of, first=names[0], second=names[1], n=100, both=10, only_first=only_first, only_second=only_second,
        neither=90 - only_first - only_second, difference=difference,
        interval=Interval(difference - 0.1, difference + 0.1), p=p, p_adjusted=adjusted, margin=0.05, visible=0.12,
        design_effect=1.1, verdict=verdict,
    )  # fmt: skip


STEPS = tuple(
    GroupScore(group=f"{n} terms", n=20, share=1 - n / 5, interval=interval(1 - n / 5, 0.2)) for n in (2, 3, 4)
)


def rows():
    return (
        row("ladder", "en", "", True, score(SMALL, 0.18, groups=STEPS), score(LARGE, 0.63, groups=STEPS)),
        row("ladder", "fr", "", True, score(SMALL, 0.15), score(LARGE, 0.58, wordings=Interval(0.5, 0.66))),
        row("tools", "en", "schema", True, score(SMALL, 0.45, malformed=7), score(LARGE, 0.52, cut=3)),
        row("mmlu", "en", "letter", True,
            score(SMALL, 0.25, 0.27, guess="always C", chosen={"A": 97, "B": 1, "C": 2, "D": 0}, biased="A"),
            score(LARGE, 0.33, 0.27, chosen={"A": 20, "B": 33, "C": 27, "D": 20})),
        row("mmlu", "en", "likelihood", False, score(SMALL, 0.38, 0.25), score(LARGE, 0.44, 0.25)),
        row("french", "fr", "likelihood", False, score(SMALL, 0.71, 0.5), score(LARGE, 0.73, 0.5)),
        row("needle", "en", "", False, score(SMALL, 0.3), score(LARGE, 0.9)),
        row("mine", "en", "", False, score(SMALL, 0.5), score(LARGE, 0.6)),
    )  # fmt: skip


def pairs():
    return (
        pair("ladder/en", "second_better", -0.45, 3, 48, p=1e-9, adjusted=4e-9),
        pair("ladder/fr", "second_better", -0.43, 4, 47, p=1e-8, adjusted=3e-8),
        pair("tools/en/schema", "not_shown", -0.07, 9, 16, p=0.17, adjusted=0.34),
        pair("mmlu/en/letter", "floor", -0.08, 10, 18, p=0.14, adjusted=0.34),
        pair("mmlu/en/likelihood", "not_shown", -0.06, 11, 17, p=0.26),
        pair("french/fr/likelihood", "equivalent", -0.02, 5, 7, p=0.6),
        # A value that no analysis gives: an exploratory row with a winner. The report must not name one all the same.
        pair("needle/en", "second_better", -0.6, 0, 60, p=1e-12),
        pair("mine/en", "not_shown", -0.1, 5, 15, p=0.04),
    )


def facts(label, where="here", **more):
    return {
        "label": label, "name": label, "where": where, "identity": {}, "digest": "sha256:" + "0123456789abcdef" * 4,
        "about": {"licence": "apache-2.0", "parameters": 135_000_000, "bytes": 101_000_000, "context": 8192,
                  "languages": ["en"], "published": "2024-11-02", "release": "no release gate was passed"},
        "asks": ["chat"], "tokenizer": "", "host": "", "replays": True, **more,
    }  # fmt: skip


def plan(labels):
    found = [
        {"row": each.row, "suite": each.suite, "count": 100, "seed": 7, "margin": 0.05, "primary": each.primary,
         "purposes": list(each.purposes), "items": "sha256:" + "ab" * 32, "visible": 0.12}
        for each in rows()
    ]  # fmt: skip
    return {
        "ouvert": "0.1.0", "written": "2026-11-30T14:00:00Z", "seed": 7, "rows": found, "purposes": ["chat"],
        "machine": {"cpu": "An example CPU", "threads": 2}, "versions": {"ouvert": "0.1.0", "python": "3.11"},
        "contestants": [{"label": each} for each in labels], "suites": [],
    }  # fmt: skip


def comparison(**changes):
    labels = (SMALL, LARGE)
    values = {
        "plan": plan(labels),
        "contestants": (facts(SMALL), facts(LARGE, about={"licence": "something-else", "parameters": 1_540_000_000})),
        "rows": rows(),
        "pairs": pairs(),
        "speeds": (
            Speed(contestant=SMALL, n=40, whole=4.4, whole_interval=Interval(4.1, 4.9), visible=0.3, per_right=29.0,
                  per_right_interval=Interval(18, 60), output_tokens=12.0, reads=410.0, writes=64.0),
            Speed(contestant=LARGE, n=40, whole=5.9, whole_interval=Interval(5.2, 6.4), visible=1.1, per_right=9.6,
                  per_right_interval=Interval(7.5, 13), output_tokens=4.1, reads=62.0, writes=11.0),
        ),
        "resources": tuple(
            Resources(contestant=label, weight_bytes=weights, peak_bytes=weights * 2,
                      fits={"8": True, "16": True, "32": True}, not_measured={"joules": "joules"})
            for label, weights in ((SMALL, 101_000_000), (LARGE, 1_117_000_000))
        ),
        "limits": {"floors": ("mmlu/en/letter",), "one_wording": ("tools/en/schema",), "few_items": ()},
        "connections": {"attempted": 0, "allowed": 0, "denied": 0, "counted": 480, "receipts": 480},
    }  # fmt: skip
    return Comparison(**{**values, **changes})


def everything(**changes):
    """Values for every section that there is."""
    bins = ((0.2, 0.1, 20), (0.5, 0.4, 20), (0.9, 0.6, 20))
    calibrated = tuple(
        Calibration(contestant=label, row="ladder/en", of="tokens", n=60, bins=bins, ece=0.15,
                    ece_interval=Interval(0.1, 0.2), brier=0.2, coverage=((0.25, 0.8), (0.5, 0.7), (1.0, 0.4)))
        for label in (SMALL, LARGE)
    )  # fmt: skip
    damaged = tuple(
        Damage(contestant=LARGE, reference=SMALL, language=language, tokens=2048, windows=16, divergence=kl,
               divergence_interval=Interval(kl * 0.9, kl * 1.1), flips=0.15, flips_interval=Interval(0.13, 0.17),
               change=-0.02, change_interval=Interval(-0.03, -0.01))
        for language, kl in (("en", 0.058), ("fr", 0.096))
    )  # fmt: skip
    points = tuple(
        EffortPoint(model="gpt-oss", effort=effort, contestant=label, share=share, interval=interval(share),
                    output_tokens=tokens, thought_tokens=tokens / 2, seconds=tokens / 10, joules=None, knee=knee)
        for effort, label, share, tokens, knee in (("low", SMALL, 0.6, 120.0, False), ("high", LARGE, 0.7, 900.0, True))
    )  # fmt: skip
    ratio = DamageRatio(contestant=LARGE, reference=SMALL, language="fr", beside="en", ratio=1.66,
                        interval=Interval(1.5, 1.8))  # fmt: skip
    more = {
        "calibrations": calibrated, "damages": damaged, "damage_ratios": (ratio,), "efforts": points,
        "bits": tuple(
            Bits(contestant=label, row="reading/fr", texts=20, text_bytes=20_000, tokens=tokens, bits_per_byte=bits,
                 interval=Interval(bits - 0.05, bits + 0.05), perplexity=42.0)
            for label, tokens, bits in ((SMALL, 6900, 1.856), (LARGE, 5480, 1.476))
        ),
        "passes": (PassAt(contestant=LARGE, row="ladder/en", k=3, samples=5, value=0.7, interval=interval(0.7)),),
        "votes": (Ranked(contestant=LARGE, votes=200, rating=40.0, interval=Interval(5, 80)),),
    }  # fmt: skip
    return comparison(**{**more, **changes})


def item(of, number, text):
    ask = Chat(messages=({"role": "user", "content": text},), max_tokens=100)
    if of.form == "likelihood":
        ask = Likelihood(context=text, choices=(" est", " es"))
    return Item(suite=of.suite, id=f"{of.suite}-{number:03}", language=of.language, ask=ask, form=of.form,
                expected={"answer": number})  # fmt: skip


def answer_text(of, number, right):
    if of.suite == "tools":
        return HOSTILE[number % len(HOSTILE)]
    if of.suite == "needle":
        return HOSTILE[(0, 4)[number % 2]] + str(number)
    return f"The sum of the numbers is {number if right else number + 3}, because 17 and {number} make that."


def given(of, number, right):
    outcome = Outcome(text=answer_text(of, number, right), reason="stop")
    if of.form == "likelihood":
        outcome = Outcome(logprobs=(-3.2, -4.1) if right else (-4.1, -3.2))
    return Given(outcome=outcome, score=Score(value=float(right), right=right))


def material(found=None, **changes):
    found = found or everything()
    items = {
        each.row: tuple(item(each, number, f"What is 17 + {number}? " * 3) for number in range(30))
        for each in found.rows
    }
    answers = {
        (of.contestant, each.row, one.id): given(each, number, (number * (place + 3)) % 7 < 3)
        for each in found.rows
        for place, of in enumerate(each.scores)
        for number, one in enumerate(items[each.row])
    }
    values = {
        "comparison": found, "cards": CARDS, "items": items, "given": answers, "withheld": frozenset({"mine"}),
        "chain": "sha256:" + "cd" * 32, "plan_digest": "sha256:" + "ef" * 32,
    }  # fmt: skip
    return Material(**{**values, **changes})
