"""Every family's graph: frequencies, batches, cut sequences; and on tiny checkpoints where every weight and setting
matters, a planted mistake is noticed. tests/operations/test_goldens.py holds the same checkpoints to transformers."""

from dataclasses import replace

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.arithmetic import Rope
from ouvert.weights import open_checkpoint

# The tolerance of tests/operations/test_goldens.py.
FLOAT32 = 8e-6
# float64 leaves only its own rounding.
FLOAT64 = 1e-13


def load(golden, ops, file="model.safetensors"):
    with open_checkpoint(golden.folder / file) as checkpoint:
        return models.load(checkpoint, ops)


def logits(model, ops, ids, pieces):
    """Logits of every token, given the sequence in pieces of that many tokens."""
    cache, rows, start = ops.new_cache(model.memories), [], 0
    for length in pieces:
        rows.append(model.forward(ops.begin([(cache, ids[start : start + length])], "all"), ops))
        start += length
    assert start == len(ids) == cache.length
    return np.concatenate(rows)


def assert_same(ours, theirs, tolerance):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_frequencies_are_those_of_transformers_but_for_the_last_bits(golden):
    """transformers raises to powers in float32, we in float64; it may be off by a few units in the last place."""
    parameters = load(golden, arithmetic.Ops()).parameters
    if not len(golden.inverse_frequencies):
        assert not hasattr(parameters, "rope")
        return
    ours = parameters.rope.inverse_frequencies
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, golden.inverse_frequencies, rtol=4e-7, atol=0)


def test_sequences_in_one_batch_do_not_see_each_other(golden):
    ops = arithmetic.Ops(np.float64)
    model = load(golden, ops)
    alone = logits(model, ops, golden.ids, [21])
    backwards = logits(model, ops, golden.ids[::-1], [21])
    one, other = ops.new_cache(model.memories), ops.new_cache(model.memories)
    model.forward(ops.begin([(one, golden.ids[:9])], "none"), ops)
    work = [(other, golden.ids[::-1][:20]), (one, golden.ids[9:])]
    both = model.forward(ops.begin(work, "all"), ops)
    assert_same(both, np.concatenate([backwards[:20], alone[9:]]), FLOAT64)
    last = model.forward(ops.begin([(other, golden.ids[::-1][20:])]), ops)
    assert_same(last, backwards[20:], FLOAT64)


def test_a_truncated_sequence_goes_on_as_if_the_rest_had_not_been(golden):
    ops = arithmetic.Ops(np.float64)
    model = load(golden, ops)
    cache = ops.new_cache(model.memories)
    model.forward(ops.begin([(cache, [*golden.ids[:10], 1, 2, 3])]), ops)
    cache.truncate(10)
    left = cache.length
    assert left == (0 if isinstance(model.memories[0], models.StateMemory) else 10)  # a state was not kept there
    rest = model.forward(ops.begin([(cache, golden.ids[left:])], "all"), ops)
    assert_same(rest, logits(model, ops, golden.ids, [21])[left:], FLOAT64)


class RotatesBackwards(arithmetic.Ops):
    """Backwards throughout would change nothing but the sign of every distance: turning only the queries does."""

    def rotate(self, x, positions, rope):
        return super().rotate(x, -positions if x.shape[1] > 3 else positions, rope)


class RotatesNeighbours(arithmetic.Ops):
    def rotate(self, x, positions, rope):
        pairs = np.arange(x.shape[-1]).reshape(-1, 2).T.ravel()
        return super().rotate(x[..., pairs], positions, rope)[..., np.argsort(pairs)]


class DecodesOnePositionLate(arithmetic.Ops):
    def begin(self, work, wanted="last"):
        batch = super().begin(work, wanted)
        return replace(batch, positions=batch.positions + (work[0][0].length > 0))


class ForgetsHowRopeIsStretched(arithmetic.Ops):
    def rotate(self, x, positions, rope):
        plain = 10000.0 ** -(np.arange(0, x.shape[-1], 2, np.float32) / x.shape[-1])
        return super().rotate(x, positions, Rope(plain.astype(np.float32)))


class ForgetsMagnitude(arithmetic.Ops):
    def rotate(self, x, positions, rope):
        return super().rotate(x, positions, replace(rope, magnitude=1.0))


class ForgetsScale(arithmetic.Ops):
    def attend(self, q, k, v, cache, *, scale, **rest):
        return super().attend(q, k, v, cache, scale=1.0, **rest)


class ForgetsWindow(arithmetic.Ops):
    def attend(self, q, k, v, cache, *, window, **rest):
        return super().attend(q, k, v, cache, window=None, **rest)


class WindowOneTooWide(arithmetic.Ops):
    def attend(self, q, k, v, cache, *, window, **rest):
        return super().attend(q, k, v, cache, window=window and window + 1, **rest)


class SharesKeysCrosswise(arithmetic.Ops):
    """Query head h looks at key head h mod kv_heads instead of h // group."""

    def attend(self, q, k, v, cache, **rest):
        order = np.arange(q.shape[1]).reshape(-1, k.shape[1]).T.ravel()
        mixed = super().attend(q[:, order], k, v, cache, **rest).reshape(q.shape)
        return mixed[:, np.argsort(order)].reshape(len(q), -1)


class ForgetsEps(arithmetic.Ops):
    def rms_norm(self, x, weight, eps, groups=1):
        return super().rms_norm(x, weight, 0.0, groups)


class ForgetsBias(arithmetic.Ops):
    def linear(self, x, weight, bias=None):
        return super().linear(x, weight)


class ForgetsHeadNorms(arithmetic.Ops):
    def rms_norm(self, x, weight, eps):
        return x if x.ndim == 3 else super().rms_norm(x, weight, eps)


class ForgetsSinks(arithmetic.Ops):
    def attend(self, q, k, v, cache, *, sinks=None, **rest):
        return super().attend(q, k, v, cache, sinks=None, **rest)


class ForgetsTheGatesLimit(arithmetic.Ops):
    def mix_experts(self, x, experts, chosen, expert_weights):
        return super().mix_experts(x, replace(experts, limit=1e9), chosen, expert_weights)


class ForgetsTheGatesAlpha(arithmetic.Ops):
    def mix_experts(self, x, experts, chosen, expert_weights):
        return super().mix_experts(x, replace(experts, alpha=1.0), chosen, expert_weights)


class TakesGateForUp(arithmetic.Ops):
    def mix_experts(self, x, experts, chosen, expert_weights):
        return super().mix_experts(x, replace(experts, gate=experts.up, up=experts.gate), chosen, expert_weights)


class SharesAmongAllExperts(arithmetic.Ops):
    def route_top_k(self, scores, top_k, **how):
        chosen, _ = super().route_top_k(scores, top_k)
        return chosen, np.take_along_axis(arithmetic.softmax(scores), chosen, axis=-1)


class KeepsOneExpert(arithmetic.Ops):
    def route_top_k(self, scores, top_k, **how):
        return super().route_top_k(scores, 1, **how)


class GivesTheBestExpertTheLeastWeight(arithmetic.Ops):
    """Weights in an order of their own: they are those of the chosen experts, but not of the same ones."""

    def route_top_k(self, scores, top_k, **how):
        chosen, expert_weights = super().route_top_k(scores, top_k, **how)
        return chosen, expert_weights[:, ::-1]


class MixesExpertsEvenly(arithmetic.Ops):
    def route_top_k(self, scores, top_k, **how):
        chosen, expert_weights = super().route_top_k(scores, top_k, **how)
        return chosen, np.full_like(expert_weights, expert_weights.sum() / expert_weights.size)


class CountsExpertsFromOne(arithmetic.Ops):
    def mix_experts(self, x, experts, chosen, expert_weights):
        return super().mix_experts(x, experts, (chosen + 1) % len(experts.gate), expert_weights)


class NormalisesExpertsTheOtherWay(arithmetic.Ops):
    def route_top_k(self, scores, top_k, *, normalised):
        return super().route_top_k(scores, top_k, normalised=not normalised)


class TakesScoresForWeights(arithmetic.Ops):
    """The experts' sigmoids, as DeepSeek has them."""

    def route_top_k(self, scores, top_k, **how):
        chosen, _ = super().route_top_k(scores, top_k, **how)
        return chosen, 1 / (1 + np.exp(-np.take_along_axis(scores, chosen, axis=-1)))


class ForgetsTheConvolutionsBias(arithmetic.Ops):
    def convolve(self, x, weight, bias, cache):
        return super().convolve(x, weight, 0 * bias, cache)


class TurnsTheConvolutionRound(arithmetic.Ops):
    def convolve(self, x, weight, bias, cache):
        return super().convolve(x, weight[:, ::-1], bias, cache)


class ForgetsWhatWasConvolved(arithmetic.Ops):
    def convolve(self, x, weight, bias, cache):
        for state, _ in cache.parts:
            state.now.inputs[:] = 0
        return super().convolve(x, weight, bias, cache)


class ForgetsTheState(arithmetic.Ops):
    def selective_scan(self, x, dt, A, B, C, D, cache):
        for state, _ in cache.parts:
            state.now.state[:] = 0
        return super().selective_scan(x, dt, A, B, C, D, cache)


class ForgetsD(arithmetic.Ops):
    def selective_scan(self, x, dt, A, B, C, D, cache):
        return super().selective_scan(x, dt, A, B, C, 0 * D, cache)


class TakesDtAsItIs(arithmetic.Ops):
    def selective_scan(self, x, dt, A, B, C, D, cache):
        return super().selective_scan(x, np.log(np.expm1(np.abs(dt))), A, B, C, D, cache)


class TakesTheLogarithmForA(arithmetic.Ops):
    def selective_scan(self, x, dt, A, B, C, D, cache):
        return super().selective_scan(x, dt, -np.abs(np.log(-A)), B, C, D, cache)


class TakesBForC(arithmetic.Ops):
    def selective_scan(self, x, dt, A, B, C, D, cache):
        return super().selective_scan(x, dt, A, C, B, D, cache)


class ScansMamba2(arithmetic.Ops):
    def ssd_scan(self, xBC, dt, A, D, cache, *, limits):
        channels, states = cache.parts[0][0].now.state.shape[::-1]
        given = {"xBC": xBC, "dt": dt, "A": A, "D": D, "limits": limits}
        return super().ssd_scan(cache=cache, **(given | self.instead(channels, states, **given)))


class ForgetsTheStateOfHeads(ScansMamba2):
    def ssd_scan(self, xBC, dt, A, D, cache, *, limits):
        for state, _ in cache.parts:
            state.now.state[:] = 0
        return super(ScansMamba2, self).ssd_scan(xBC, dt, A, D, cache, limits=limits)


class ForgetsDOfHeads(ScansMamba2):
    def instead(self, channels, states, D, **rest):
        return {"D": 0 * D}


class TakesDtOfHeadsAsItIs(ScansMamba2):
    def instead(self, channels, states, dt, **rest):
        return {"dt": np.log(np.expm1(np.abs(dt)))}


class ForgetsTheBoundsOfDt(ScansMamba2):
    def instead(self, channels, states, **rest):
        return {"limits": (0.0, np.inf)}


class TakesTheLogarithmForAOfHeads(ScansMamba2):
    def instead(self, channels, states, A, **rest):
        return {"A": -np.abs(np.log(-A))}


class TakesBForCOfGroups(ScansMamba2):
    def instead(self, channels, states, xBC, **rest):
        x, B, C = np.split(xBC, [channels, (channels + xBC.shape[1]) // 2], axis=1)
        return {"xBC": np.concatenate([x, C, B], axis=1)}


class SharesGroupsCrosswise(ScansMamba2):
    """The groups of B and C in the order of the heads' numbers, not of neighbouring heads."""

    def instead(self, channels, states, xBC, **rest):
        x, of_groups = xBC[:, :channels], xBC[:, channels:].reshape(len(xBC), 2, -1, states)
        return {"xBC": np.concatenate([x, of_groups[:, :, ::-1].reshape(len(xBC), -1)], axis=1)}


class NormsAllGroupsAsOne(arithmetic.Ops):
    def rms_norm(self, x, weight, eps, groups=1):
        return super().rms_norm(x, weight, eps)


class NormsBeforeTheGate(arithmetic.Ops):
    def swiglu(self, gate, up):
        self.gate = gate
        return up

    def rms_norm(self, x, weight, eps, groups=None):
        normed = super().rms_norm(x, weight, eps, groups or 1)
        return normed if groups is None else super().swiglu(self.gate, normed)


class ForgetsTheMixersNorms(arithmetic.Ops):
    """dt, B and C of FalconMamba."""

    def rms_norm(self, x, weight, eps):
        return x if x.shape[1] < 10 else super().rms_norm(x, weight, eps)


class TakesOneEpsForAllNorms(arithmetic.Ops):
    def rms_norm(self, x, weight, eps):
        return super().rms_norm(x, weight, 1e-2)


class RotatesNeighboursOfLatents(arithmetic.Ops):
    """Files have the numbers that turn together side by side; turning j with j + half all the same is a mistake."""

    def rotate(self, x, positions, rope):
        pairs = np.arange(x.shape[-1]).reshape(2, -1).T.ravel()
        return super().rotate(x[..., pairs], positions, rope)[..., np.argsort(pairs)]


class ForgetsWhatYarnPutsOnTheScale(arithmetic.Ops):
    def attend_latent(self, q, latents, cache, *, scale):
        return super().attend_latent(q, latents, cache, scale=13**-0.5)


class TakesValuesFromTheEndOfLatents(arithmetic.Ops):
    def attend_latent(self, q, latents, cache, *, scale):
        turned = np.roll(latents, 1, axis=1), np.roll(q, 1, axis=2)
        return super().attend_latent(turned[1], turned[0], cache, scale=scale)


class PutsPositionsFirst(arithmetic.Ops):
    def join(self, a, b, heads):
        return super().join(b, a, heads) if heads > 1 else super().join(a, b, heads)


class SharesLikeGptOss(arithmetic.Ops):
    def route_top_k_of_groups(self, scores, correction, top_k, groups, top_k_groups, *, normalised, factor):
        chosen, _ = super().route_top_k_of_groups(
            scores, correction, top_k, groups, top_k_groups, normalised=normalised, factor=factor
        )
        return super().route_top_k(scores, top_k, chosen)


class Router(arithmetic.Ops):
    def route_top_k_of_groups(self, scores, correction, top_k, groups, top_k_groups, *, normalised, factor):
        given = {"correction": correction, "groups": groups, "top_k_groups": top_k_groups, "normalised": normalised}
        given = given | {"factor": factor} | self.instead(correction, normalised)
        return super().route_top_k_of_groups(scores, top_k=top_k, **given)


class ForgetsTheCorrection(Router):
    def instead(self, correction, normalised):
        return {"correction": 0 * correction}


class ForgetsGroups(Router):
    def instead(self, correction, normalised):
        return {"groups": 1, "top_k_groups": 1}


class ForgetsTheFactor(Router):
    def instead(self, correction, normalised):
        return {"factor": 1.0}


class NormalisesTheOtherWay(Router):
    def instead(self, correction, normalised):
        return {"normalised": not normalised}


GPT_OSS = ("gpt_oss", "gpt_oss-mxfp4")
DEEPSEEK = ("deepseek_v3", "deepseek_v3-plain")
FALCON_MAMBA = ("falcon_mamba", "falcon_mamba-narrow")
MAMBA = ("mamba", "mamba-auto", *FALCON_MAMBA)
MAMBA2 = ("mamba2", "mamba2-biased")
MIXTRAL = ("mixtral", "mixtral-window")
QWEN3_MOE = ("qwen3_moe", "qwen3_moe-normalised")
ALL = (
    "llama",
    "llama-stretched",
    "llama-yarn",
    "mistral",
    "qwen2",
    "qwen2-window",
    "qwen3",
    *GPT_OSS,
    *MIXTRAL,
    *QWEN3_MOE,
)
MISTAKES = [
    (RotatesBackwards, ALL),
    (RotatesNeighbours, ALL),
    (DecodesOnePositionLate, ALL),
    (ForgetsHowRopeIsStretched, ("llama-stretched", "llama-yarn", "qwen2-window", "qwen3_moe", *GPT_OSS, *MIXTRAL)),
    (ForgetsMagnitude, ("llama-yarn", "qwen3_moe", *GPT_OSS)),
    (ForgetsScale, ALL),
    (ForgetsWindow, ("mistral", "qwen3_moe", "mixtral-window", "qwen2-window", *GPT_OSS)),
    (WindowOneTooWide, ("mistral", "qwen3_moe", "mixtral-window", "qwen2-window", *GPT_OSS)),
    (SharesKeysCrosswise, ("llama", "mistral", "mixtral", "qwen2", *GPT_OSS)),
    (ForgetsEps, (*ALL, *MAMBA, *MAMBA2)),
    (ForgetsBias, ("qwen2", "qwen2-window", *GPT_OSS, *MAMBA, *MAMBA2)),
    (ForgetsHeadNorms, ("qwen3", *QWEN3_MOE)),
    (ForgetsSinks, GPT_OSS),
    (ForgetsTheGatesLimit, GPT_OSS),
    (ForgetsTheGatesAlpha, GPT_OSS),
    (TakesGateForUp, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (SharesAmongAllExperts, (*GPT_OSS, *MIXTRAL, "qwen3_moe-normalised")),
    (KeepsOneExpert, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (GivesTheBestExpertTheLeastWeight, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (MixesExpertsEvenly, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (NormalisesExpertsTheOtherWay, QWEN3_MOE),
    (TakesScoresForWeights, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (CountsExpertsFromOne, (*GPT_OSS, *MIXTRAL, *QWEN3_MOE)),
    (DecodesOnePositionLate, DEEPSEEK),
    (ForgetsEps, DEEPSEEK),
    (ForgetsHowRopeIsStretched, ("deepseek_v3",)),
    (ForgetsMagnitude, ("deepseek_v3",)),
    (RotatesNeighboursOfLatents, DEEPSEEK),
    (ForgetsWhatYarnPutsOnTheScale, ("deepseek_v3",)),
    (TakesValuesFromTheEndOfLatents, DEEPSEEK),
    (PutsPositionsFirst, DEEPSEEK),
    (SharesLikeGptOss, DEEPSEEK),
    (ForgetsTheCorrection, DEEPSEEK),
    (ForgetsGroups, ("deepseek_v3",)),
    (ForgetsTheFactor, DEEPSEEK),
    (NormalisesTheOtherWay, DEEPSEEK),
    (ForgetsTheConvolutionsBias, (*MAMBA, "mamba2")),
    (TurnsTheConvolutionRound, (*MAMBA, *MAMBA2)),
    (ForgetsWhatWasConvolved, (*MAMBA, *MAMBA2)),
    (ForgetsTheState, MAMBA),
    (ForgetsD, MAMBA),
    (TakesDtAsItIs, MAMBA),
    (TakesTheLogarithmForA, MAMBA),
    (TakesBForC, MAMBA),
    (ForgetsTheStateOfHeads, MAMBA2),
    (ForgetsDOfHeads, MAMBA2),
    (TakesDtOfHeadsAsItIs, MAMBA2),
    (ForgetsTheBoundsOfDt, ("mamba2-biased",)),
    (TakesTheLogarithmForAOfHeads, MAMBA2),
    (TakesBForCOfGroups, MAMBA2),
    (SharesGroupsCrosswise, ("mamba2",)),
    (NormsAllGroupsAsOne, ("mamba2",)),
    (NormsBeforeTheGate, MAMBA2),
    (ForgetsTheMixersNorms, FALCON_MAMBA),
    (TakesOneEpsForAllNorms, ("falcon_mamba-narrow",)),
]


@pytest.mark.parametrize(
    ("mistake", "name"), [(mistake, name) for mistake, names in MISTAKES for name in names], ids=lambda each: str(each)
)
def test_a_planted_mistake_is_noticed(mistake, name, golden_of):
    golden, ops = golden_of(name), mistake()
    with pytest.raises(AssertionError):
        assert_same(logits(load(golden, ops), ops, golden.ids, [12, 9]), golden.float32, 10 * FLOAT32)


def test_rows_of_gguf_left_as_they_are_would_be_noticed(golden_of, monkeypatch):
    golden, ops = golden_of("llama"), arithmetic.Ops()
    monkeypatch.setattr("ouvert.models.parameters.Parameter.encoded", lambda parameter: parameter.source.tensor)
    with pytest.raises(AssertionError):
        assert_same(logits(load(golden, ops, "model.gguf"), ops, golden.ids, [21]), golden.float32, 10 * FLOAT32)


def test_only_wanted_logits_are_computed(golden):
    ops = arithmetic.Ops()
    model = load(golden, ops)
    batch = ops.begin([(ops.new_cache(model.memories), golden.ids)], "last")
    assert_same(model.forward(batch, ops), golden.float32[-1:], FLOAT32)
    batch = ops.begin([(ops.new_cache(model.memories), golden.ids)], "none")
    assert model.forward(batch, ops).shape == (0, 64)
