"""Questions asked of recorded runs: arrays in, frozen results out, a sentence where the data cannot answer."""

from gradlens.analysis.clocks import clocks, reach, span, steps_shown
from gradlens.analysis.noise_scale import NoiseScale, noise_scale
from gradlens.analysis.norm_smoothness import NormSmoothness, Phase, norm_smoothness
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.analysis.summary import Summary, relative, summarize
from gradlens.analysis.thresholds import COUNTERFACTUAL, Thresholds, thresholds
from gradlens.analysis.traces import Detail, Spread, Trace, spread, trace

__all__ = [
    "COUNTERFACTUAL",
    "Detail",
    "NoiseScale",
    "NormSmoothness",
    "Phase",
    "Placebo",
    "Spread",
    "Summary",
    "Thresholds",
    "Trace",
    "clocks",
    "constant_curvature",
    "noise_scale",
    "norm_smoothness",
    "reach",
    "relative",
    "span",
    "spread",
    "steps_shown",
    "summarize",
    "thresholds",
    "trace",
]
