"""How a text is found: its words without their endings, in the language they are in; and runs of letters for the rest.

SQLite's FTS5 cuts on what is no letter and folds accents; endings it does not know, so they are taken off before.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ouvert.documents.error import DocumentError
from ouvert.documents.extra import remedy

WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"[^.!?\n。！？]+(?:[.!?。！？]+(?=\s|$)|\n|$|[.!?。！？])")
# Scripts that write no spaces between words: Han, Kana, Thai, Lao, Khmer, Myanmar.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
# Part numbers, paragraphs of law, versions: letters or signs and digits in one piece.
NUMBERED = re.compile(r"(?=[^\s]*\d)[A-Za-z0-9][A-Za-z0-9]*(?:[-./_:][A-Za-z0-9]+)+|(?=\w*\d)(?=\w*[A-Za-z])\w{3,}")
GRAM = 3  # characters, as SQLite's trigram tokenizer has it

# The commonest words of each language that has a stemmer here: they tell languages apart, and are asked for by nobody.
COMMON = {
    "english": "the of and to a in is that it for was on are as with his they be at one have this from or had by not "
    "but what some we can out other were all there when up use your how said an each she which do their if will way "
    "about many then them would like so these her him has more could no than been who its did does where why",
    "french": "le la les de des du un une et est en que qui dans pour pas sur au aux par avec ce cette ces il elle on "
    "nous vous ils elles ne se sa son ses leur leurs mais ou où donc plus tout tous été être avoir a ont sont était "
    "quel quelle quels quelles comment combien quand pourquoi l d qu n s c j y sans sous lors comme fait après",
    "german": "der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat "
    "dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr "
    "durch man sein wurde wenn was wer wo wann warum welche welcher welches dem im",
    "spanish": "el la los las de del un una y es en que a por con para no se su sus lo al como más pero le ya o este "
    "sí porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante son fue ser "
    "qué cuál cuáles cómo cuánto cuándo dónde quién era ha han",
    "italian": "il lo la i gli le di del della dei delle e è in che a per con non si un una su sono da come più ma al "
    "alla nel nella dal dalla o anche questo questa quale quali quando dove chi cosa perché era stato ha hanno",
    "dutch": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan bij door naar uit over maar "
    "was wordt werd hebben heeft deze die wat wie waar wanneer welke hoe hun kan nog",
    "portuguese": "o a os as de do da dos das um uma e é em no na nos nas que por para com não se ao à mais mas como "
    "ou seu sua foi ser são quando onde quem qual quais porque entre até sem também pelo pela tem",
}  # fmt: skip
COMMON_WORDS = {language: frozenset(words.split()) for language, words in COMMON.items()}
UNKNOWN = ""  # of a text whose language shows in no common word: its words are kept as they are


def language_of(text: str) -> str:
    """The language whose commonest words a text has most of; UNKNOWN where it has none of any. Raises nothing."""
    counts = Counter(WORD.findall(text[:20_000].lower()))
    scores = {language: sum(counts[word] for word in common) for language, common in COMMON_WORDS.items()}
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] else UNKNOWN


@functools.cache
def stemmer(language: str) -> Any:
    try:
        import snowballstemmer
    except ModuleNotFoundError:
        raise DocumentError(f"taking off the endings of words: {remedy('snowballstemmer')}") from None
    return snowballstemmer.stemmer(language)


@functools.lru_cache(maxsize=65536)
def stem(word: str, language: str) -> str:
    """Raises DocumentError where the extra is not installed."""
    return word if language == UNKNOWN else str(stemmer(language).stemWord(word))


def words_of(text: str) -> list[str]:
    """The words, small. Characters that mean the same are one (NFKC), as in questions typed elsewhere."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def stemmed(text: str, language: str) -> str:
    """What the index holds of a text."""
    return " ".join(stem(word, language) for word in words_of(text))


def runs_of(text: str) -> list[str]:
    """What is looked for letter by letter: unspaced scripts, and words with digits and signs in them."""
    plain = unicodedata.normalize("NFKC", text)
    return [*UNSPACED.findall(plain), *NUMBERED.findall(plain)]


def telling_words(text: str) -> list[str]:
    """The words of a text without those that everybody uses; all where there are no others."""
    common = COMMON_WORDS.get(language_of(text), frozenset())
    words = words_of(text)
    return [word for word in words if word not in common] or words


def best_start(text: str, question: str, size: int) -> int:
    """Where `size` characters of a text begin that have most of the telling words of a question: with a sentence or a
    line. The beginning where that is among the best, else the middle one of those."""
    language = language_of(text)
    wanted = {stem(word, language) for word in telling_words(question)}
    starts = [match.start() + len(match[0]) - len(match[0].lstrip()) for match in SENTENCE.finditer(text)]

    def held(start: int) -> int:
        return len(wanted & {stem(word, language) for word in words_of(text[start : start + size])})

    found = {start: held(start) for start in (0, *starts)}
    best = [start for start, words in found.items() if words == max(found.values())]
    return 0 if best[0] == 0 else best[len(best) // 2]


def quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def word_query(question: str, languages: Iterable[str]) -> str:
    """The question for FTS5's table of words: any of its words, without those that everybody uses; "" for none."""
    stems = [stem(word, language) for word in telling_words(question) for language in (languages or {UNKNOWN})]
    return " OR ".join(quoted(each) for each in dict.fromkeys(stems))


def run_query(question: str) -> str:
    """The question for the table of trigrams: any three letters of what runs without spaces, part numbers whole."""
    plain = unicodedata.normalize("NFKC", question)
    grams = [run[n : n + GRAM] for run in UNSPACED.findall(plain) for n in range(len(run) - GRAM + 1)]
    grams += [each for each in NUMBERED.findall(plain) if len(each) >= GRAM]
    return " OR ".join(quoted(each) for each in dict.fromkeys(grams))


def short_runs(question: str) -> list[str]:
    """Unspaced words of one or two characters, too short for trigrams: they are looked for one by one."""
    plain = unicodedata.normalize("NFKC", question)
    return [run for run in dict.fromkeys(UNSPACED.findall(plain)) if len(run) < GRAM]
