"""Questions asked of recorded runs: arrays in, frozen results out, a sentence where the data cannot answer."""

from gradlens.analysis.noise_scale import NoiseScale, noise_scale
from gradlens.analysis.norm_smoothness import NormSmoothness, Phase, norm_smoothness
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.analysis.summary import Summary, summarize
from gradlens.analysis.thresholds import COUNTERFACTUAL, Thresholds, thresholds

__all__ = [
    "COUNTERFACTUAL",
    "NoiseScale",
    "NormSmoothness",
    "Phase",
    "Placebo",
    "Summary",
    "Thresholds",
    "constant_curvature",
    "noise_scale",
    "norm_smoothness",
    "summarize",
    "thresholds",
]
