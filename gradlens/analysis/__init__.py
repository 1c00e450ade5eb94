"""Questions asked of recorded runs: arrays in, frozen results out, a sentence where the data cannot answer."""

from gradlens.analysis.noise_scale import NoiseScale, noise_scale
from gradlens.analysis.norm_smoothness import NormSmoothness, Phase, norm_smoothness
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.analysis.smoothness_by_group import GroupSmoothness, SmoothnessByGroup, smoothness_by_group
from gradlens.analysis.smoothness_comparison import PlaceboDifference, SmoothnessComparison, compare_smoothness
from gradlens.analysis.step_size_safety import StepSizeSafety, step_size_safety
from gradlens.analysis.summary import Summary, summarize
from gradlens.analysis.thresholds import COUNTERFACTUAL, Thresholds, thresholds

__all__ = [
    "COUNTERFACTUAL",
    "GroupSmoothness",
    "NoiseScale",
    "NormSmoothness",
    "Phase",
    "Placebo",
    "PlaceboDifference",
    "SmoothnessByGroup",
    "SmoothnessComparison",
    "StepSizeSafety",
    "Summary",
    "Thresholds",
    "compare_smoothness",
    "constant_curvature",
    "noise_scale",
    "norm_smoothness",
    "smoothness_by_group",
    "step_size_safety",
    "summarize",
    "thresholds",
]
