"""Whether a text goes round in circles: the same words again and again until something stops it."""

LONGEST = 60  # words of one round
ROUNDS = 3  # at the end of a text, as many make a loop
LEAST_WORDS = 12  # that the rounds together have: "no, no, no" is none


def loops(text: str) -> bool:
    """Whether the text ends in one passage said at least three times over. Raises nothing.

    The last round may be cut off in the middle, as by a limit of tokens. Words are what stands between spaces; a
    passage is compared without its capitals and numbers, so that "1. Go on. 2. Go on. 3. Go on." is one.
    """
    words = ["".join(each for each in word.casefold() if each.isalpha()) for word in text.split()]
    words = [word for word in words if word]
    return goes_round(words) or goes_round(words[:-1])  # the last word may be a part of one


def goes_round(words: list[str]) -> bool:
    """Whether they end in rounds of the same words."""
    for length in range(1, min(LONGEST, len(words) // ROUNDS) + 1):
        if run_of(words, length) + length >= max(ROUNDS * length, LEAST_WORDS):
            return True
    return False


def run_of(words: list[str], length: int) -> int:
    """How many words, counted from the end, are the one that stands `length` words before them."""
    count = 0
    while count + length < len(words) and words[-1 - count] == words[-1 - count - length]:
        count += 1
    return count
