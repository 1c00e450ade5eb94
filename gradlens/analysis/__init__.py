"""Questions asked of recorded runs: arrays in, frozen results out, a sentence where the data cannot answer."""

from gradlens.analysis.micro_batch_bias import MicroBatchBias, micro_batch_bias
from gradlens.analysis.noise_scale import NoiseScale, noise_scale
from gradlens.analysis.norm_smoothness import NormSmoothness, Phase, norm_smoothness
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.analysis.strategies import StrategyComparison, compare_strategies
from gradlens.analysis.summary import Summary, summarize
from gradlens.analysis.sweet_spot import HitRate, SweetSpot, hit_rate, predict_sweet_spot
from gradlens.analysis.thresholds import COUNTERFACTUAL, Thresholds, thresholds

__all__ = [
    "COUNTERFACTUAL",
    "HitRate",
    "MicroBatchBias",
    "NoiseScale",
    "NormSmoothness",
    "Phase",
    "Placebo",
    "StrategyComparison",
    "Summary",
    "SweetSpot",
    "Thresholds",
    "compare_strategies",
    "constant_curvature",
    "hit_rate",
    "micro_batch_bias",
    "noise_scale",
    "norm_smoothness",
    "predict_sweet_spot",
    "summarize",
    "thresholds",
]
