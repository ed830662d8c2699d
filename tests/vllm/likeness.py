"""How a vLLM's numbers are held to ours."""

import ouvert
from ouvert.engine import Sampling, open_engine

PROMPTS = ([5, 60, 7, 8], list(b"Once upon a time"), list(range(100, 160)))
# vLLM has its logits in BF16: at 8 to 16, where the likeliest of these models lie, they are 1/16 apart, and what comes
# before them is rounded to as many bits. Ours are float32 on the same weights. Of 192 tokens the farthest were 0.25
# apart, those of another prompt are 1 and more.
TOLERANCE = 0.35


def compare(served, key):
    """Greedy answers token for token, as far as our own logits say which is the likeliest by more than rounding takes;
    and log-probabilities of every token. Returns how many tokens had to be the same."""
    engine = ouvert.vllm(served.url, key=key)
    own = open_engine(served.folder, exact=True, precision="stored").engine
    sure = 0
    with ouvert.load(served.folder, elsewhere=engine, receipts=False) as theirs:
        for prompt in PROMPTS:
            written = list(theirs.engine.generate(prompt, Sampling(temperature=0, max_tokens=32, logprobs=2)))
            assert len(written) == 32
            ids = [*prompt, *(token.id for token in written)]
            for token, ours in zip(written, own.score(ids, 2)[-32:], strict=True):
                assert abs(token.logprob - ours.logprob) < TOLERANCE
                (likeliest, first), (_, second) = ours.top
                if first - second > TOLERANCE:
                    sure += 1
                    assert token.id == likeliest
            other = own.score([*prompt[:-1], prompt[-1] + 1, *ids[len(prompt) :]])[-32:]
            assert max(abs(token.logprob - each.logprob) for token, each in zip(written, other, strict=True)) > 1
            scored = zip(theirs.score(ids), own.score(ids), strict=True)
            apart = [abs(there.logprob - here.logprob) for there, here in scored]
            assert sum(apart) / len(apart) < TOLERANCE / 2
            # Where two scores of a router are nearly alike, BF16 chooses another expert: 4 tokens of 91 so far.
            assert sum(each > TOLERANCE for each in apart) <= len(apart) / 10
    own.close()
    return sure
