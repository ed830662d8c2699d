"""GBNF: each grammar lets through the texts that llama.cpp's rules say, and no other."""

import importlib.util
from pathlib import Path

import pytest

from ouvert.engine import EngineError, Grammar, Vocabulary

VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)], (), lambda text: list(text.encode()))

spec = importlib.util.spec_from_file_location("schema_oracle", Path(__file__).with_name("schema_oracle.py"))
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

LIST = 'root ::= item+\n\n# one line each\nitem ::= "- " [^\\r\\n]+ "\\n"\n'
SUMS = 'root ::= (expr "=" num "\\n")+\nexpr ::= term ([-+*/] term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+\n'
MOVES = """root ::= "1. " move " " move "\\n" ([1-9] [0-9]? ". " move " " move "\\n")*
move ::= (pawn | piece | castle) [+#]?
piece ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"""
JSON = """root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\\"" ([^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= | " " | "\\n" [ \\t]{0,20}
"""


@pytest.mark.parametrize(
    ("grammar", "inside", "outside"),
    [
        (LIST, ["- a\n", "- é, b\n- c\n"], ["", "- \n", "a\n", "- a"]),
        (SUMS, ["1=1\n", "(2+3)*4=20\n1-1=0\n"], ["1+=1\n", "(1=1\n", "1=1"]),
        (MOVES, ["1. e4 e5\n", "1. e4 Nf6\n2. exd5 O-O-O#\n"], ["1. e9 e5\n", "2. e4 e5\n", "1. e4\n"]),
        (JSON, ["{}", '{"a": [1, -2.5e3, true],\n  "b\\u00e9": null}'], ["[]", '{"a"}', "{'a':1}", '{"a":1,}']),
        # Characters, not words: what may end a repetition may also go on with it.
        ('root ::= [a-z]* "end"', ["end", "endend", "xend"], ["en", "endx"]),
        ('root ::= word "end"\nword ::= [a-z]*', ["end", "xend"], ["x"]),
        ('root ::= x x\nx ::= "a" | "aa"', ["aa", "aaa", "aaaa"], ["a", "aaaaa"]),
        ('root ::= "a" "bc" | "ab" "d"', ["abc", "abd"], ["ab"]),
        ('root ::= root "a" | "a"', ["a", "aaa"], [""]),
        ('root ::= a-b a_b\na-b ::= "x"\na_b ::= "y"', ["xy"], ["xx"]),
        ('start ::= "a"\nroot ::= start START\nSTART ::= "b"', ["ab"], ["a"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,2} "d"{0}', ["aab", "aabbcc"], ["ab", "aac", "aabccc", "aabd"]),
        ('root ::= ("a" | )\n', ["a", ""], ["b"]),
        ('root ::= ""', [""], ["a"]),
        ('root ::= (\n  "a" # one\n  | "b"\n)', ["a", "b"], ["ab"]),
        ('root ::=\n  "a" |\n  "b"', ["a", "b"], ["ab"]),
        ('root ::= "\\u00e9\\x41\\U0001F600\\"\\\\\\t"', ['éA😀"\\\t'], []),
        ("root ::= [a\\]\\-^] [^\\n] .", ["]x\n", "^-é", "-]]"], ["b--", "a\n-"]),
        ("root ::= [a&&b] [[c/] [~-]", ["&[~", "b/-", "ac-"], ["c[~", "a&~"]),
        ("root ::= [é-ï]\r\n", ["é", "ê"], ["e"]),
    ],
)  # fmt: skip
def test_a_grammar_lets_through_its_texts_and_no_other(grammar, inside, outside):
    constraint = VOCABULARY.compile(Grammar.gbnf(grammar))
    for text in inside:
        assert oracle.accepts(constraint, text), text
    for text in outside:
        assert not oracle.accepts(constraint, text), text


@pytest.mark.parametrize("grammar", [LIST, SUMS, MOVES, JSON])
def test_what_is_written_under_a_grammar_can_be_read_back(grammar):
    constraint = VOCABULARY.compile(Grammar.gbnf(grammar))
    texts = [text for seed in range(10) if (text := oracle.wander(constraint, seed)) is not None]
    assert texts
    assert all(oracle.accepts(constraint, text) for text in texts)


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ('root ::= "a"\nb := "c"', "line 2, column 3: expected ::="),
        ('root ::= "a', 'line 1, column 10: a " without its second'),
        ('root ::= ("a"\n | [b', "line 2, column 4: a \\[ without its \\]"),
        ('root ::= ("a"', "line 1, column 10: a \\( without its \\)"),
        ('root ::= "a" )', "line 1, column 14: expected a literal"),
        ('root ::= other\nroot2 ::= "a"', "line 1, column 10: the rule 'other' is used and nowhere defined"),
        ('ro ::= "a"', "there is no rule `root`"),
        ("", "there is no rule `root`"),
        ('root ::= "a"\nroot ::= "b"', "line 2, column 1: the rule 'root' is there already"),
        ('root ::= "\\q"', "column 11: \\\\q is no escape"),
        ('root ::= "\\uD800"', "column 11: U\\+D800 is no character"),
        ("root ::= []", "an empty class"),
        ("root ::= [z-a]", "column 11: a range that ends before it begins"),
        ('root ::= "a"{3,2}', "column 13: from 3 to 2 times"),
        ("root ::= <think>", "column 10: expected a literal"),
        ("::= a", "column 1: expected the name of a rule"),
    ],
)
def test_a_wrong_grammar_is_refused_with_line_and_column(grammar, message):
    with pytest.raises(EngineError, match=message):
        VOCABULARY.compile(Grammar.gbnf(grammar))
