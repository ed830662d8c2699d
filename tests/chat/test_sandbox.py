"""Templates by strangers: what they may do, and what they may not cost."""
# ruff: noqa: E501 - tables of templates are easiest to read one a line

import importlib.util
from pathlib import Path

import pytest

from ouvert.chat.sandbox import Sandbox, TemplateError

spec = importlib.util.spec_from_file_location("bounded", Path(__file__).parents[1] / "bounded.py")
assert spec
assert spec.loader
bounded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bounded)

MESSAGES = [{"role": "user", "content": " Hi <b> \n"}, {"role": "assistant", "content": "Yo"}]


def render(template, **variables):
    return Sandbox(template).render({"messages": MESSAGES} | variables, 100)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}\n  {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n", "user\nassistant\n"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m['content'] }}{% break %}{% endfor %}", "Yo"),
        ("{% for m in messages %}{% generation %}{{ m.role }}{% set a = 1 %}{% endgeneration %}{% endfor %}", "userassistant"),
        ("{{ {'b': ['<é>', 1, none], 'a': true} | tojson }}", '{"b": ["<é>", 1, null], "a": true}'),
        ("{{ {'b': [1], 'a': 2} | tojson(indent=2, sort_keys=true) }}", '{\n  "a": 2,\n  "b": [\n    1\n  ]\n}'),
        ("{{ ['é'] | tojson(ensure_ascii=true, separators=(',', ':')) }}", '["\\u00e9"]'),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | map('trim') | join('+') }}", "Hi <b>"),
        ("{{ messages[0].content.strip().split(' ')[-1] }}{{ messages[1:][0].role }}{{ 'ab'[::-1] }}", "<b>assistantba"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro hello(x, y=2) %}{{ x }}/{{ y }}{% endmacro %}{{ hello(1) }}{{ hello('a', y='b') }}", "1/2a/b"),
        ("{% set x %}{{ messages | length }}!{% endset %}{{ x ~ x }}", "2!2!"),
        ("{{ '%s=%05.1f' | format('a', 2.5) }}{{ '%d%%' % 3 }}{{ '{:>4}|{x}'.format('a', x=1) }}", "a=002.53%   a|1"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1} | items | list }}", "a1[('a', 1)]"),
        ("{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent(1, true) }}{{ 'x' | center(3) }}|", "a\n  b a\n b x |"),
        ("{{ [3, 1, 2] | sort | first }}{{ [[1], [2]] | sum(start=[]) }}{{ (1, 2) + (3,) }}{{ 2 ** 10 }}", "1[1, 2](1, 2, 3)1024"),
        ("{{ 'a-b' | replace('-', '+') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ '-' * 3 }}{{ ','.join(['a', 'b']) }}", "a+bbba---a,b"),
        ("{{ undefined_thing }}{{ undefined_thing is defined }}{{ none }}{{ 1 == 1.0 and 'a' in 'abc' }}", "FalseNoneTrue"),
        ("{% for i in range(3) recursive %}{{ i }}{% endfor %}{% for b in [1, 2, 3] | batch(2) %}{{ b }}{% endfor %}", "012[1, 2][3]"),
        ("{% filter upper %}abc{{ messages[1].role }}{% endfilter %}", "ABCASSISTANT"),
        ("{% call(x) outer() %}<{{ x }}>{% endcall %}" , None),
    ],
)  # fmt: skip
def test_what_templates_need_works(template, expected):
    if expected is None:
        template, expected = "{% macro outer() %}{{ caller(7) }}{% endmacro %}" + template, "<7>"
    assert render(template) == expected


def test_a_refusal_is_in_the_templates_own_words():
    with pytest.raises(TemplateError, match="it refused this conversation: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ messages | attr('__class__') }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{a.__class__.__mro__}'.format_map({'a': 1}) }}",
    "{{ '{0[role]}'.format(messages[0]) }}",
    "{{ '{}'.format.__self__.__class__() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment() }}",
    "{{ loop._iterator }}{% for x in messages %}{{ loop._iterable.append(1) }}{% endfor %}",
    "{% set ns = namespace(__class__=1) %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{{ messages.append({}) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ messages[0].__setitem__('role', 'x') }}",
    "{{ dict.__class__() }}{{ dict.mro() }}",
    "{{ 'abc'.encode() }}",
    "{{ 'abc'.translate({97: 'x'}) }}",
    "{{ (1).to_bytes(1000000000, 'big') }}",
    "{{ messages | map('attr', '__class__') | first | attr('mro') }}{{ messages | map(attribute='__class__.mro') | first }}",
    "{% include 'secrets.txt' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import path %}",
    "{% extends 'base' %}",
    "{{ lipsum(n=1000) }}",
    "{{ lipsum.__globals__.os.popen('id').read() }}",
    "{{ [1, 2] | random }}",
    "{{ context.environment() }}{{ environment.call() }}",
    "{% for x in messages %}{{ x.items.__self__.clear() }}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("template", ESCAPES)
def test_no_way_out(template):
    before = [dict(message) for message in MESSAGES]
    try:
        shown = render(template)
    except TemplateError:
        shown = ""
    assert shown == "", "nothing is shown of what may not be seen"
    assert before == MESSAGES


MANY = "{% for i in range(99999) %}"


def doubled(expression):
    """A template that makes ns.x longer, over and over."""
    loop = "{% for i in range(60) %}{% set ns.x = " + expression + " %}{% endfor %}{{ ns.x }}"
    return "{% set ns = namespace(x='0123456789') %}" + loop


BOMBS = {
    "a long range": "{{ range(10 ** 9) | list }}",
    "nested loops": MANY + "{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops that print": "{% for a in range(99999) %}{% for b in range(99999) %}" + "y" * 1000 + "{% endfor %}{% endfor %}",
    "loops in a block": "{% set x %}" + MANY + "{% for b in range(99) %}text{% endfor %}{% endfor %}{% endset %}",
    "loops over filters": MANY + "{% set b = range(99999) | map('string') | list %}{% endfor %}",
    "sums of ranges": MANY + "{% if range(99999) | sum > 5 %}{% endif %}{% endfor %}",
    "lazy filters": MANY + "{% if range(99999) | select('odd') | reject('odd') | first %}{% endif %}{% endfor %}",
    "string times number": "{{ 'x' * 10 ** 9 }}",
    "number times list": "{{ 10 ** 9 * [1] }}",
    "doubling with +": doubled("ns.x + ns.x"),
    "doubling with ~": doubled("ns.x ~ ns.x"),
    "doubling with a format": doubled("'%s%s' % (ns.x, ns.x)"),
    "doubling with str.format": doubled("'{0}{0}'.format(ns.x)"),
    "doubling with replace": doubled("ns.x.replace('0', ns.x)"),
    "doubling with the filter": doubled("ns.x | replace('0', ns.x)"),
    "doubling with join": doubled("ns.x.join([ns.x, ns.x])"),
    "doubling with the join filter": doubled("[ns.x, ns.x] | join(ns.x)"),
    "doubling with a block": "{% set ns = namespace(x='0123456789') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "doubling lists": doubled("[ns.x, ns.x]"),
    "doubling tuples": doubled("(ns.x, ns.x)"),
    "doubling dicts": doubled("{'a': ns.x, 'b': ns.x}"),
    "doubling with dict()": doubled("dict(a=ns.x, b=ns.x)"),
    "doubling with views": doubled("dict(a=ns.x, b=ns.x).items()"),
    "doubling with slices": doubled("(ns.x, ns.x)[:]"),
    "doubling with sum": doubled("[ns.x] | sum(start=ns.x)"),
    "doubling with map": doubled("[ns.x, ns.x] | map('string') | list"),
    "many copies": "{% set x = 'x' * 999999 %}" + MANY + "{% set y = x.upper() %}{% endfor %}",
    "many looks": "{% set x = 'x' * 999999 %}" + MANY + "{% if 'y' in x or 'xy' in x %}{% endif %}{% endfor %}",
    "many prints": "{% set x = 'x' * 999999 %}{% set y %}" + MANY + "{{ x }}{% endfor %}{% endset %}",
    "wide padding": "{{ 'x'.center(10 ** 9) }}",
    "wide filter": "{{ 'x' | center(10 ** 9) }}",
    "wide zeros": "{{ '1'.zfill(1000000000) }}",
    "wide format": "{{ '%1000000000d' % 1 }}",
    "wide format by argument": "{{ '%*d' % (1000000000, 1) }}",
    "wide format filter": "{{ '%.1000000000f' | format(1) }}",
    "wide str.format": "{{ '{:1000000000}'.format(1) }}",
    "wide nested str.format": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "wide indent": "{{ 'x\ny' | indent(10 ** 9) }}",
    "wide indent of many lines": "{{ ('x\n' * 99999) | indent(99999) }}",
    "wide indent by text": "{{ ('x\n' * 9999) | indent('y' * 99999) }}",
    "wide json": "{{ [1] | tojson(indent=1000000000) }}",
    "wide json separators": "{{ range(9999) | list | tojson(separators=('x' * 99999, ':')) }}",
    "wide batch": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "powers": "{{ 9 ** (9 ** 9) }}",
    "repeated squares": "{% set ns = namespace(x=9999999) %}" + MANY + "{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "branching macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "branching block": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "nested lists": "{% set ns = namespace(x=[]) %}" + MANY + "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "nested generators": "{% set ns = namespace(x=['a']) %}{% for i in range(9999) %}{% set ns.x = ns.x | map('upper') %}{% endfor %}{{ ns.x | list }}",
    "doubling with varargs": "{% set ns = namespace(t=1) %}{% macro f() %}{% set ns.t = varargs %}{% endmacro %}{% for i in range(60) %}{{ f(ns.t, ns.t) }}{% endfor %}{{ ns.t == ns.t }}",
    "doubling with kwargs": "{% set ns = namespace(t=1) %}{% macro f() %}{% set ns.t = kwargs %}{% endmacro %}{% for i in range(60) %}{{ f(a=ns.t, b=ns.t) }}{% endfor %}{{ ns.t | string }}",
    "doubling with a caller's varargs": "{% set ns = namespace(t=1) %}{% macro f() %}{{ caller(ns.t, ns.t) }}{% endmacro %}{% for i in range(60) %}{% call() f() %}{% set ns.t = varargs %}{% endcall %}{% endfor %}",
    "doubling with cyclers": doubled("cycler(ns.x, ns.x).items"),
    "doubling with star arguments": doubled("dict(a=cycler(*[ns.x, ns.x]).items)"),
    "doubling with copies": doubled("[ns.x, ns.x].copy()"),
    "doubling with batch": doubled("[ns.x, ns.x] | batch(2) | list"),
    "doubling with groupby": doubled("[{'a': ns.x}, {'a': ns.x}] | groupby('b') | list"),
    "doubling with items": doubled("{'a': ns.x, 'b': ns.x} | items | list"),
    "doubling with dictsort": doubled("{'a': ns.x, 'b': ns.x} | dictsort"),
    "doubling with json": doubled("[ns.x, ns.x] | tojson"),
    "doubling with repr": doubled("[ns.x, ns.x] | string"),
    "doubling with %r": doubled("'%r%r' % (ns.x, ns.x)"),
    "doubling with a block of blocks": "{% set ns = namespace(x='0123456789') %}{% macro f() %}{{ ns.x }}{{ ns.x }}{% endmacro %}{% for i in range(60) %}{% set ns.x = f() %}{% endfor %}",
    "growing by urlencode": doubled("(ns.x ~ '%') | urlencode | urlencode ~ ns.x"),
    "growing by escapes": doubled("ns.x | e | string | replace('0', '&') | e | forceescape if false else (ns.x ~ '&') | replace('&', '&&')"),
    "growing by indent": "{% set ns = namespace(x='a\nb') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('\n', '\n\n') | indent(9999, true, true) %}{% endfor %}",
    "json of deep values": "{% set ns = namespace(x=[]) %}{% for i in range(120) %}{% set ns.x = [ns.x] %}{% endfor %}{{ (range(99999) | list + [ns.x]) | tojson(indent=16) }}",
    "json of wide and deep values": "{% set ns = namespace(x=range(60000) | list) %}{% for i in range(120) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson(indent=16) }}",
    "deep tuples": "{% set ns = namespace(t=1) %}{% macro f() %}{% set ns.t = varargs %}{% endmacro %}" + "{% for i in range(900) %}" + "{% set _ = f(ns.t) %}" * 99 + "{% endfor %}{{ {ns.t: 1} | length }}",
    "deep lists by plus": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [] + [ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
    "deep tuples by items": "{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = {1: ns.x} | items | first %}{% endfor %}{{ {ns.x: 1} }}",
    "long dates": "{{ strftime_now('%Y' * 100000) }}",
    "wide dates": "{{ strftime_now('%999999999d') }}",
    "enormous powers": "{{ 10 ** (10 ** 10) }}",
    "enormous constants": "{{ 'a' * 10 ** 9 }}{{ [0] * 10 ** 9 }}",
    "enormous sums": "{% set ns = namespace(x=2 ** 64) %}{% for i in range(999) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "slices of slices": doubled("(ns.x ~ ns.x)[0:] ~ ns.x[:]"),
    "a cycle of blocks": "{% block a %}{{ self.b() }}{% endblock %}{% block b %}{{ self.a() }}{% endblock %}",
    "sorting for ever": "{% set x = ['x' * 90000] * 20 %}{% for i in range(99999) %}{% if x | sort | length %}{% endif %}{% endfor %}",
    "comparing for ever": "{% set x = ['x' * 9000] * 100 %}{% set y = ['x' * 9000] * 100 %}{% for i in range(99999) %}{% for j in range(99999) %}{% if x == y %}{% endif %}{% endfor %}{% endfor %}",
    "a template of 10 MB": "{{ messages }}" * 10**6,
    "many conditions": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "a prompt too long": "{% for i in range(9999) %}" + "abcdefgh" * 10 + "{% endfor %}",
    "an enormous template": "x" * 10**6,
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep lists": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "deep loops": "{% for a in messages %}" * 500 + "{% endfor %}" * 500,
    "deep conditions": "{{ " + "not " * 20000 + "1 }}",
    "not a template": "{% for %}",
    "an unknown tag": "{% debug %}",
}  # fmt: skip


EXPLODES = f"""
import tracemalloc
from ouvert.chat.sandbox import Sandbox, TemplateError

def task(template):
    tracemalloc.start()
    try:
        Sandbox(template).render({{"messages": {MESSAGES!r}}}, 100, seconds=0.2)
    except TemplateError:
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 100e6, peak
    else:
        raise AssertionError("it was rendered")
    finally:
        tracemalloc.stop()
"""


def test_no_template_costs_much():
    """One takes a second at most, without tracing and a busy machine."""
    assert bounded.unfinished(EXPLODES, BOMBS, seconds=10) is None


def test_a_long_conversation_fits_the_budget():
    template = "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '\n' }}{% endfor %}"
    messages = [{"role": "user", "content": "words " * 2000}] * 500
    text = Sandbox(template).render({"messages": messages}, 500 * 12000)
    assert len(text) == 500 * (len("<user>") + 11999 + 1)


def test_runs_of_one_template_share_nothing():
    sandbox = Sandbox("{% for m in messages %}{{ m }}{% endfor %}")
    with pytest.raises(TemplateError, match="stopped, because"):
        sandbox.render({"messages": ["x" * 10**6]}, 0)
    assert sandbox.render({"messages": ["x"]}, 1) == "x"
