"""Contestants beyond this machine: refused without the owner's permit, said before anything is sent, counted."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from ouvert.evaluation import (
    Cost,
    EvaluationError,
    Likelihood,
    OtherServers,
    Text,
    Wording,
    cards,
    remote,
    require_may_leave,
    sending,
)
from ouvert.evaluation.analysis.resources import of_contestant
from ouvert.evaluation.analysis.speeds import Alone
from ouvert.evaluation.contestants.remote import UNKNOWN, key_variable
from ouvert.evaluation.price_list import (
    Price,
    answers_to_break_even,
    cost_elsewhere,
    cost_of_answers,
    price_for,
    read_prices,
)
from ouvert.safety import Guard, Hosts

from .conftest import SHORT, chat, events, item_of, whole

OPENAI = ["api.openai.com"]
PRICE = Price(input=1.25, output=10.0, currency="USD", source="openai.com/api/pricing", read="2026-11-30")
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
WORDS = {"choices": [{"delta": {"content": "4"}}], "model": "gpt-5-2025-08-07", "system_fingerprint": "fp_1"}

# Counts, in a process of its own, everything that a connection begins with.
SPY = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
"""
NAMES = ["openai:gpt-5", "anthropic:claude-x", "gemini:gemini-3-pro", "openai:https://example.invalid/v1/m"]


def alone(body, **variables):
    """Runs the lines in a process of its own; what it prints, or the test fails."""
    ran = subprocess.run(
        [sys.executable, "-c", SPY + textwrap.dedent(body)], capture_output=True, text=True, timeout=60, env=variables
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


# --- the permit ---


def test_without_the_permit_no_socket_opens():
    printed = alone(f"""
        from ouvert.evaluation import EvaluationError, remote
        for name in {NAMES!r}:
            for allowed in ([], ["example.org"], ["openai.com"], ["api.openai.com:80"]):
                try:
                    remote(name, allowed)
                except EvaluationError as problem:
                    assert "no connection was opened" in str(problem), problem
                else:
                    raise SystemExit(name)
        print(seen)
        # And with it, nothing is opened before a question is asked.
        contestant = remote("openai:gpt-5", ["api.openai.com"]).open("sk-1")
        contestant.close()
        print(seen, contestant.facts.where)
    """)
    assert printed == "[]\n[] remote\n"


def test_the_refusal_says_what_to_write_where():
    with pytest.raises(EvaluationError, match=r'table remote, as allow = \["api\.openai\.com"\]'):
        remote("openai:gpt-5", [])


def test_a_permit_for_a_host_is_not_one_for_its_neighbours():
    for allowed in (["openai.com"], ["evil-api.openai.com"], ["api.openai.com.evil.org"], ["api.anthropic.com"]):
        with pytest.raises(EvaluationError):
            remote("openai:gpt-5", allowed)


def test_beyond_this_machine_nothing_goes_without_encryption():
    with pytest.raises(EvaluationError, match="https"):
        remote("openai:http://example.org/v1/m", ["example.org"])


def test_without_a_key_nothing_is_opened_and_the_variable_is_named():
    with pytest.raises(EvaluationError, match="OPENAI_API_KEY"):
        remote("openai:gpt-5", OPENAI).open()


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai:gpt-5", "OPENAI_API_KEY"),
        ("anthropic:claude-x", "ANTHROPIC_API_KEY"),
        ("gemini:gemini-3-pro", "GEMINI_API_KEY"),
        ("openai:https://api.mistral.ai/v1/large", "KEY_API_MISTRAL_AI"),
        ("openai:https://api.openai.com:8443/v1/m", "KEY_API_OPENAI_COM_8443"),
        ("openai:http://127.0.0.1:8080/m", "KEY_127_0_0_1_8080"),
    ],
)
def test_a_key_is_for_one_host(name, variable):
    allowed = [
        "api.openai.com",
        "api.anthropic.com",
        "generativelanguage.googleapis.com",
        "api.mistral.ai",
        "127.0.0.1",
    ]
    assert key_variable(remote(name, allowed).place) == variable


# --- what is known ---


def test_a_remote_contestant_says_that_it_leaves_the_machine_and_what_cannot_be_known():
    facts = remote("openai:gpt-5:low", OPENAI).facts
    assert (facts.where, facts.host, facts.replays, facts.asks) == ("remote", "api.openai.com", False, {"chat"})
    assert facts.about["leaves_machine"] is True
    for language, words in (("en", "leaves the machine"), ("fr", "quitte la machine")):
        say = Wording("elsewhere", language)
        assert say("leaves") == words
        assert all(say(f"unknown.{each}") for each in UNKNOWN)


def test_an_effort_makes_another_contestant():
    assert remote("openai:gpt-5", OPENAI).facts.digest != remote("openai:gpt-5:low", OPENAI).facts.digest


def test_openai_itself_is_told_not_to_store_and_its_likes_are_not():
    assert remote("openai:gpt-5", OPENAI).dialect.hosted
    assert not remote("openai:https://example.org/v1/m", ["example.org"]).dialect.hosted


# --- asking, over a stub ---


@pytest.fixture
def provider(stub):
    stub.says("/v1/chat/completions", events(WORDS, END, b"[DONE]"))
    return stub


def opened(stub, **settings):
    return remote(f"openai:{stub.base}/v1/gpt-5", [f"127.0.0.1:{stub.port}"]).open(patience=SHORT, **settings)


def test_an_answer_keeps_the_copys_name_the_fingerprint_and_the_day_and_no_key(provider):
    answered = opened(provider, key="sk-secret").ask(chat(), 0, 7)
    assert answered.outcome.text == "4"
    assert answered.receipt["said"] == {"model": "gpt-5-2025-08-07", "system_fingerprint": "fp_1"}
    assert answered.receipt["at"].startswith("20")
    assert answered.receipt["where"] == "remote"
    assert "sk-secret" not in repr(answered)
    (body,) = provider.bodies("/v1/chat/completions")
    assert not body.keys() & {"temperature", "seed"}


def test_likelihoods_and_texts_are_refused_and_nothing_is_sent(provider):
    for ask in (Text(text="Hello"), Likelihood(context="A", choices=(" b", " c"))):
        assert opened(provider).ask(item_of(ask), 0, 0).outcome.refused
    assert provider.asked == []


def test_a_receipt_has_the_connections_of_its_answer(provider):
    receipt = opened(provider, guard=Guard(Hosts())).ask(chat(), 0, 0).receipt
    assert receipt["connections"] == {"attempted": 0, "allowed": 0, "denied": 0}  # loopback is no connection beyond


def test_the_guard_lets_that_host_through_for_this_alone_and_counts_it():
    """The documentation's addresses: nothing leaves the machine even if the guard fails."""
    printed = alone("""
        import http.client, json, socket
        from ouvert.evaluation import Chat, EvaluationError, Item, remote
        from ouvert.evaluation.contestants.exchange import Patience
        from ouvert.safety import guard
        made = guard()
        contestant = remote("openai:https://192.0.2.1/v1/m", ["192.0.2.1"]).open("k", made, Patience(attempts=1))
        def connect(self):
            sys.audit("socket.connect", type("S", (), {"family": socket.AF_INET})(), (self.host, self.port))
            raise OSError("no network in a test")
        http.client.HTTPSConnection.connect = connect
        ask = Chat(messages=({"role": "user", "content": "Hi"},), max_tokens=4)
        try:
            contestant.ask(Item(suite="s", id="1", language="en", ask=ask, expected={}), 0, 0)
        except EvaluationError:
            pass
        try:
            sys.audit("socket.connect", type("S", (), {"family": socket.AF_INET})(), ("192.0.2.1", 443))
        except PermissionError:
            print("denied behind it")
        print(json.dumps([each.facts() for each in made.attempts]))
    """)
    denied, attempts = printed.splitlines()
    assert denied == "denied behind it"
    first, second = json.loads(attempts)
    assert first == {"kind": "connect", "host": "192.0.2.1", "port": 443, "allowed": True, "purpose": "contestant"}
    assert second["allowed"] is False


def test_our_own_server_is_asked_in_anthropics_dialect(start_server, speaking_model, tmp_path):
    (tmp_path / "tiny").symlink_to(speaking_model())
    serving = start_server(models=(str(tmp_path / "tiny"),))
    contestant = remote(f"anthropic:{serving.base}/tiny", [f"127.0.0.1:{serving.port}"]).open(patience=SHORT)
    answered = contestant.ask(chat(), 0, 0)
    assert answered.outcome.text == "Hello from a tiny model."
    assert answered.outcome.reason == "stop"
    assert answered.cost.output_tokens > 0
    assert answered.receipt["said"]["model"] == "tiny"


# --- what is said before ---


def test_what_would_be_sent_is_counted_to_the_byte(provider):
    asked = remote(f"openai:{provider.base}/gpt-5", [f"127.0.0.1:{provider.port}"])
    items = [chat("What is 2+2?"), chat("Où est la mer ?"), item_of(Text(text="not asked"))]
    said = sending(asked, items, samples=2, price=PRICE)
    contestant = asked.open(patience=SHORT)
    for item in items * 2:
        contestant.ask(item, 0, 0)
    assert said.prompts == 4 == len(provider.asked)
    assert said.request_bytes == sum(int(each.headers["content-length"]) for each in provider.asked)
    assert said.most_output == 4 * (16 + 4096)
    assert said.most_price == pytest.approx(said.request_bytes * 1.25e-6 + said.most_output * 10e-6)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["leaves the machine", "host: api.openai.com; prompts: 1", "USD", "openai.com/api/pricing", "30 days"]),
        ("fr", ["quitte la machine", "questions\u00a0: 1", "USD", "openai.com/api/pricing", "30 jours"]),
    ],
)
def test_host_prompts_price_and_what_is_kept_are_said_in_both_languages(language, expected):
    said = sending(remote("openai:gpt-5", OPENAI), [chat()], price=PRICE).in_words(Wording("elsewhere", language))
    assert [each for each in expected if each not in said] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("anthropic:m", "privacy.anthropic.com"),
        ("gemini:m", "55 days"),
        ("openai:https://example.org/v1/m", "its terms say"),
    ],
)
def test_each_host_has_its_own_statement_and_another_host_none(name, says):
    allowed = ["api.anthropic.com", "generativelanguage.googleapis.com", "example.org"]
    assert says in sending(remote(name, allowed), [chat()]).in_words(Wording("elsewhere", "en"))


# --- prompts that stay ---


def test_the_owners_prompts_stay_unless_the_owner_says_otherwise_set_by_set():
    every = [cards()["mine"], cards()["gsm8k"]]
    with pytest.raises(EvaluationError, match=r"mine stay on this machine.*--send mine"):
        require_may_leave(every, ["openai:gpt-5"], [])
    require_may_leave(every, ["openai:gpt-5"], ["mine"])
    require_may_leave(every, [], [])


def test_a_permission_that_permits_nothing_is_a_mistake():
    with pytest.raises(EvaluationError, match="Leave it out"):
        require_may_leave([cards()["mine"]], [], ["mine"])
    with pytest.raises(EvaluationError, match="expected a suite of this comparison"):
        require_may_leave([cards()["gsm8k"]], ["openai:gpt-5"], ["mine"])


# --- prices ---

LIST = """
["openai:gpt-5"]
input = 1.25
output = 10
currency = "USD"
source = "openai.com/api/pricing"
read = 2026-11-30
"""


def test_the_owners_list_is_read(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(LIST)
    prices = read_prices(path)
    assert prices == {"openai:gpt-5": PRICE}
    assert price_for(prices, "openai:gpt-5:low") == PRICE
    assert price_for(prices, "openai:gpt-6") is None


@pytest.mark.parametrize(
    "wrong",
    ["not TOML", "x = 1", LIST.replace("1.25", "-1"), LIST.replace("1.25", "nan"), LIST.replace("1.25", '"1.25"'),
     LIST.replace("source", "sauce"), LIST.replace('"openai.com/api/pricing"', '""'), LIST.replace("1.25", "true")],
)  # fmt: skip
def test_a_price_without_source_and_sense_is_refused(tmp_path, wrong):
    path = tmp_path / "prices.toml"
    path.write_text(wrong)
    with pytest.raises(EvaluationError, match=r"prices\.toml"):
        read_prices(path)
    with pytest.raises(EvaluationError, match=r"none\.toml"):
        read_prices(tmp_path / "none.toml")


def test_answers_cost_what_their_tokens_cost_and_half_a_sum_is_no_price():
    costs = [Cost(whole=1.0, prompt_tokens=100, output_tokens=20)] * 2
    assert cost_of_answers(PRICE, costs) == pytest.approx(2 * (100 * 1.25 + 20 * 10) / 1e6)
    assert cost_of_answers(PRICE, [*costs, Cost(whole=1.0)]) is None


def test_the_owners_price_stands_in_the_plan_and_an_answer_costs_what_it_says(provider):
    name = f"openai:{provider.base}/gpt-5"
    others = OtherServers(allowed=["127.0.0.1"], price={name: PRICE}.get)
    about = others.remote(name).facts.about
    assert about["price"] == {
        "input": 1.25,
        "output": 10.0,
        "currency": "USD",
        "source": PRICE.source,
        "read": PRICE.read,
    }
    assert "price" not in OtherServers(allowed=["127.0.0.1"]).remote(name).facts.about
    costs = [Cost(whole=1.0, prompt_tokens=100, output_tokens=20), Cost(whole=1.0, prompt_tokens=300, output_tokens=60)]
    assert cost_elsewhere(about, costs) == (pytest.approx((200 * 1.25 + 40 * 10) / 1e6), "USD")
    assert cost_elsewhere(about, [*costs, Cost(whole=1.0)]) is None
    assert cost_elsewhere(about, []) is None
    assert cost_elsewhere({}, costs) is None


def test_a_machine_pays_after_so_many_answers_or_never():
    assert answers_to_break_even(800.0, 0.0001, 0.0005) == 2_000_000
    assert answers_to_break_even(800.0, 0.0005, 0.0005) is None


def test_a_list_of_models_is_not_asked_of_a_remote_host(provider):
    provider.says("/v1/models", whole({"data": []}))
    opened(provider)
    assert provider.asked == []


def test_a_comparison_has_what_a_remote_answer_cost_by_the_owners_list(provider):
    name = f"openai:{provider.base}/gpt-5"
    facts = OtherServers(allowed=["127.0.0.1"], price={name: PRICE}.get).remote(name).facts
    answered = opened(provider).ask(chat(), 0, 0)
    answers = tuple(replace(answered, cost=Cost(whole=1.0, prompt_tokens=n, output_tokens=20)) for n in (100, 300))
    found = of_contestant(facts, {}, Alone(answers=answers, right=(True, False)))
    assert (found.cost, found.currency) == (pytest.approx((200 * 1.25 + 20 * 10) / 1e6), "USD")
    assert found.cost_per_right == pytest.approx(2 * found.cost)
    assert (
        of_contestant(remote("openai:gpt-5", OPENAI).facts, {}, Alone(answers=answers, right=(True, False))).cost
        is None
    )
