"""Questions asked of recorded runs: arrays in, frozen results out, a sentence where the data cannot answer."""

from gradlens.analysis.clocks import clocks, reach, span, steps_shown
from gradlens.analysis.domain_detections import DomainDetection, DomainDetections, domain_detections
from gradlens.analysis.dragger_profile import Detection, DraggerProfile, dragger_profile
from gradlens.analysis.hit_rate import HitRate, hit_rate
from gradlens.analysis.landscape import Landscape, landscape
from gradlens.analysis.layer_clipping import LayerClipping, layer_clipping
from gradlens.analysis.layer_growth import Growth, layer_growth
from gradlens.analysis.layer_profile import LayerProfile, layer_profile
from gradlens.analysis.micro_batch_bias import MicroBatchBias, micro_batch_bias
from gradlens.analysis.noise_scale import NoiseScale, noise_scale
from gradlens.analysis.norm_smoothness import NormSmoothness, Phase, norm_smoothness
from gradlens.analysis.over import Outcome, over
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.analysis.prediction_check import check_predictions, prediction_at, prediction_pairs
from gradlens.analysis.recorded_micro_batches import (
    RecordedMicroBatches,
    frozen_estimates,
    recorded_micro_batches,
    what_to_record,
)
from gradlens.analysis.rule_sweep import parameter_of, sweep_rule
from gradlens.analysis.smoothness_by_group import GroupSmoothness, SmoothnessByGroup, smoothness_by_group
from gradlens.analysis.smoothness_comparison import PlaceboDifference, SmoothnessComparison, compare_smoothness
from gradlens.analysis.smoothness_verdict import difference_verdict, matched_verdict, smoothness_verdict
from gradlens.analysis.stability import SpikeSeries, Stability, stability
from gradlens.analysis.step_size_safety import StepSizeSafety, step_size_safety
from gradlens.analysis.strategies import StrategyComparison, compare_strategies
from gradlens.analysis.summary import Summary, relative, summarize
from gradlens.analysis.sweet_spot import SweetSpot, predict_sweet_spot
from gradlens.analysis.threshold_advice import ThresholdAdvice, recommend_thresholds
from gradlens.analysis.threshold_sweep import ThresholdSweep, threshold_sweep
from gradlens.analysis.thresholds import (
    COUNTERFACTUAL,
    PHASES,
    Thresholds,
    norm_span,
    thirds,
    thresholds,
    widest,
    without_norms,
)
from gradlens.analysis.traces import Detail, Spread, Trace, spread, trace
from gradlens.analysis.trainings import held_out_metrics, largest_task, of_one_task, swept_rates, training

__all__ = [
    "COUNTERFACTUAL",
    "PHASES",
    "Detail",
    "Detection",
    "DomainDetection",
    "DomainDetections",
    "DraggerProfile",
    "GroupSmoothness",
    "Growth",
    "HitRate",
    "Landscape",
    "LayerClipping",
    "LayerProfile",
    "MicroBatchBias",
    "NoiseScale",
    "NormSmoothness",
    "Outcome",
    "Phase",
    "Placebo",
    "PlaceboDifference",
    "RecordedMicroBatches",
    "SmoothnessByGroup",
    "SmoothnessComparison",
    "SpikeSeries",
    "Spread",
    "Stability",
    "StepSizeSafety",
    "StrategyComparison",
    "Summary",
    "SweetSpot",
    "ThresholdAdvice",
    "ThresholdSweep",
    "Thresholds",
    "Trace",
    "check_predictions",
    "clocks",
    "compare_smoothness",
    "compare_strategies",
    "constant_curvature",
    "difference_verdict",
    "domain_detections",
    "dragger_profile",
    "frozen_estimates",
    "held_out_metrics",
    "hit_rate",
    "landscape",
    "largest_task",
    "layer_clipping",
    "layer_growth",
    "layer_profile",
    "matched_verdict",
    "micro_batch_bias",
    "noise_scale",
    "norm_smoothness",
    "norm_span",
    "of_one_task",
    "over",
    "parameter_of",
    "predict_sweet_spot",
    "prediction_at",
    "prediction_pairs",
    "reach",
    "recommend_thresholds",
    "recorded_micro_batches",
    "relative",
    "smoothness_by_group",
    "smoothness_verdict",
    "span",
    "spread",
    "stability",
    "step_size_safety",
    "steps_shown",
    "summarize",
    "sweep_rule",
    "swept_rates",
    "thirds",
    "threshold_sweep",
    "thresholds",
    "trace",
    "training",
    "what_to_record",
    "widest",
    "without_norms",
]
