"""A learner small enough for tests: two layers of torch with adapters, in which a token sees those before it."""

from collections.abc import Sequence

import numpy as np
import torch

from ouvert.arithmetic import LowRank
from ouvert.packed import Adapter
from ouvert.tuning import Example

WIDTH, VOCABULARY, RANK, SCALE = 12, 17, 3, 2.0


class TinyLearner:
    """`tuning.Learner`, all of it in float32 on one thread."""

    def __init__(self, seed: int = 1):
        random = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=random)

        self.embedding, self.head = draw(VOCABULARY, WIDTH), draw(VOCABULARY, WIDTH)
        self.weights = [draw(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(2)]
        self._parameters = {}
        for n in range(2):
            self._parameters[f"layers.{n}.q.a"] = torch.nn.Parameter(draw(RANK, WIDTH) / WIDTH**0.5)
            self._parameters[f"layers.{n}.q.b"] = torch.nn.Parameter(torch.zeros(WIDTH, RANK))
        self.between = lambda: None
        self.calls: list[int] = []  # tokens of each call of `learn`

    @property
    def parameters(self):
        return self._parameters

    @property
    def adapter(self):
        pair = {name: each.detach().numpy().copy() for name, each in self._parameters.items()}
        return Adapter({
            f"layers.{n}.q": LowRank(pair[f"layers.{n}.q.a"], pair[f"layers.{n}.q.b"], SCALE) for n in range(2)
        })  # fmt: skip

    def _of(self, ids, adapted=True):
        tokens = torch.from_numpy(np.asarray(ids, "i8"))
        x = self.embedding[tokens]
        x = x.cumsum(0) / torch.arange(1, len(ids) + 1)[:, None]  # what came before, and itself
        for n, weight in enumerate(self.weights):
            y = x @ weight.T
            if adapted:
                y = y + SCALE * (x @ self._parameters[f"layers.{n}.q.a"].T) @ self._parameters[f"layers.{n}.q.b"].T
            x = x + torch.tanh(y)
        scores = torch.log_softmax(x @ self.head.T, dim=-1)
        found = scores[:-1].gather(1, tokens[1:, None])[:, 0]
        return torch.cat([torch.zeros(1), found])

    def log_probabilities(self, sequences: Sequence[np.ndarray], *, adapted: bool = True, wanted=None):
        with torch.no_grad():
            return [self._of(ids, adapted).numpy().astype("f8") for ids in sequences]

    def learn(self, sequences, loss, *, wanted=None):
        self.calls.append(sum(map(len, sequences)))
        found = [self._of(ids) for ids in sequences]
        answer = loss([each.detach().numpy().astype("f8") for each in found])
        for each, gradient in zip(found, answer.gradients, strict=True):
            each.backward(torch.from_numpy(np.asarray(gradient, "f4")))
        return answer


def examples(count: int, seed: int = 3, longest: int = 12) -> tuple[Example, ...]:
    """Sequences that count upwards from somewhere; the first tokens are not trained."""
    random, made = np.random.default_rng(seed), []
    for line in range(1, count + 1):
        length = int(random.integers(4, longest + 1))
        ids = ((int(random.integers(VOCABULARY)) + np.arange(length)) % VOCABULARY).astype("i4")
        trained = np.ones(length, "f4")
        trained[: int(random.integers(1, 4))] = 0
        made.append(Example(ids, trained, line))
    return tuple(made)
