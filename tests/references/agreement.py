"""How far two programs agree on a real model: greedy answers token by token, and perplexity on a page of English.

A program is a function `step(ids) -> float32 (tokens, vocabulary)` that takes the tokens that come next in its
sequence and returns the logits after each of them. Any engine of ours and llama.cpp can be put in that form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Step = Callable[[Sequence[int]], np.ndarray]


def chat(question: str) -> str:
    """The turn format of SmolLM2-Instruct (ChatML)."""
    return (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )


PROMPTS = (
    chat("What is 2+2?"),
    chat("What is the capital of France?"),
    chat("Write a haiku about the sea."),
    chat("Explain in two sentences why the sky is blue."),
    chat("Name three uses of a paper clip."),
    chat("Translate 'good morning' into Spanish."),
    "Once upon a time, in a village at the foot of a mountain, there lived",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics are",
    "1, 2, 4, 8, 16, 32,",
)

# The opening of Charles Darwin's On the Origin of Species (1859), in the public domain.
PAGE = """When on board H.M.S. 'Beagle,' as naturalist, I was much struck with certain facts in the distribution of \
the inhabitants of South America, and in the geological relations of the present to the past inhabitants of that \
continent. These facts seemed to me to throw some light on the origin of species—that mystery of mysteries, as it has \
been called by one of our greatest philosophers. On my return home, it occurred to me, in 1837, that something might \
perhaps be made out on this question by patiently accumulating and reflecting on all sorts of facts which could \
possibly have any bearing on it. After five years' work I allowed myself to speculate on the subject, and drew up some \
short notes; these I enlarged in 1844 into a sketch of the conclusions, which then seemed to me probable: from that \
period to the present day I have steadily pursued the same object. I hope that I may be excused for entering on these \
personal details, as I give them to show that I have not been hasty in coming to a decision.

My work is now nearly finished; but as it will take me two or three more years to complete it, and as my health is far \
from strong, I have been urged to publish this Abstract. I have more especially been induced to do this, as Mr. \
Wallace, who is now studying the natural history of the Malay archipelago, has arrived at almost exactly the same \
general conclusions that I have on the origin of species. Last year he sent to me a memoir on this subject, with a \
request that I would forward it to Sir Charles Lyell, who sent it to the Linnean Society, and it is published in the \
third volume of the Journal of that Society. Sir C. Lyell and Dr. Hooker, who both knew of my work—the latter having \
read my sketch of 1844—honoured me by thinking it advisable to publish, with Mr. Wallace's excellent memoir, some \
brief extracts from my manuscripts.

This Abstract, which I now publish, must necessarily be imperfect. I cannot here give references and authorities for \
my several statements; and I must trust to the reader reposing some confidence in my accuracy. No doubt errors will \
have crept in, though I hope I have always been cautious in trusting to good authorities alone. I can here give only \
the general conclusions at which I have arrived, with a few facts in illustration, but which, I hope, in most cases \
will suffice. No one can feel more sensible than I do of the necessity of hereafter publishing in detail all the \
facts, with references, on which my conclusions have been grounded; and I hope in a future work to do this. For I am \
well aware that scarcely a single point is discussed in this volume on which facts cannot be adduced, often apparently \
leading to conclusions directly opposite to those at which I have arrived. A fair result can be obtained only by fully \
stating and balancing the facts and arguments on both sides of each question; and this cannot possibly be here done.
"""

TEXTS = {"page": PAGE, "licence": (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")}
TEXT_TOKENS = 700  # of each text at most


@dataclass(frozen=True)
class Comparison:
    """Two greedy answers to one prompt. Gaps are differences of logits, in nats, at the first token that differs."""

    same: int  # tokens before the first difference
    ours: int | None = None  # the token each chose there
    theirs: int | None = None
    gap_in_ours: float = 0.0  # how far our choice is above theirs, by our logits
    gap_in_theirs: float = 0.0  # how far their choice is above ours, by their logits

    @property
    def gap(self) -> float:
        """How clear the choice was to the program to which it was less clear."""
        return min(self.gap_in_ours, self.gap_in_theirs)


Answer = tuple[list[int], np.ndarray]  # tokens, and for each the logits (vocabulary,) it was chosen by
Guess = Callable[[Sequence[int], int], list[int]]


def greedy(step: Step, prompt: Sequence[int], tokens: int) -> Answer:
    """The likeliest continuation. The program must be at the start of a sequence."""
    rows = [step(prompt)[-1]]
    chosen = [int(rows[0].argmax())]
    while len(chosen) < tokens:
        rows.append(step(chosen[-1:])[-1])
        chosen.append(int(rows[-1].argmax()))
    return chosen, np.array(rows)


def greedy_by_guesses(start: Callable[[], Step], prompt: Sequence[int], tokens: int, guess: Guess) -> Answer:
    """The same of a program that reads faster than it writes: guessed tokens are read at once, and kept up to the
    first that is not the likeliest, which is put right. `guess(ids, tokens)` says how `ids` may go on."""
    chosen: list[int] = []
    kept: list[np.ndarray] = []
    while len(chosen) < tokens:
        guessed = guess([*prompt, *chosen], tokens - len(chosen))
        rows = start()([*prompt, *chosen, *guessed[:-1]])[-len(guessed) :]
        best = rows.argmax(axis=-1)
        right = int((best == guessed).cumprod().sum())
        chosen += best[: right + 1].tolist()
        kept += list(rows[: right + 1])
    return chosen, np.array(kept)


def compare(ours: Answer, theirs: Answer) -> Comparison:
    """Where two greedy answers to one prompt first differ, and how clear the choice was."""
    for n, (a, b) in enumerate(zip(ours[0], theirs[0], strict=True)):
        if a != b:
            return Comparison(n, a, b, float(ours[1][n, a] - ours[1][n, b]), float(theirs[1][n, b] - theirs[1][n, a]))
    return Comparison(len(ours[0]))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def surprises(logits: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(tokens - 1,): negative log-probability of each token but the first. logits (tokens, vocabulary) of all."""
    return -np.take_along_axis(log_softmax(logits[:-1]), np.asarray(ids)[1:, None], axis=-1)[:, 0]


def perplexity(logits: np.ndarray, ids: Sequence[int]) -> float:
    """exp of the mean of them."""
    return float(np.exp(surprises(logits, ids).mean()))


def divergence(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(tokens,): KL(reference || other) of the next token, in nats, from logits (tokens, vocabulary)."""
    found = []
    for rows in range(0, len(reference), 64):
        wanted, given = log_softmax(reference[rows : rows + 64]), log_softmax(other[rows : rows + 64])
        found.append((np.exp(wanted) * (wanted - given)).sum(axis=-1))
    return np.concatenate(found)
