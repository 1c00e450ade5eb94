"""Statistics on plain NumPy arrays: running percentiles, correlations, block bootstrap."""

from gradlens.stats.auc import Auc, Concordance, auc, concordance
from gradlens.stats.block_length import block_length
from gradlens.stats.bootstrap import bootstrap_interval
from gradlens.stats.correlation import Correlation, correlate, detrend, pearson, spearman
from gradlens.stats.correlation_difference import CorrelationDifference, correlation_difference
from gradlens.stats.envelope import Envelope, envelope
from gradlens.stats.line_fit import LineFit
from gradlens.stats.matched_median import MatchedMedians, matched_medians
from gradlens.stats.nonnegative_line import nonnegative_line
from gradlens.stats.power_line import power_line
from gradlens.stats.quantile_line import quantile_line
from gradlens.stats.running_percentile import RunningPercentile, WindowPercentile
from gradlens.stats.smoothing import ema
from gradlens.stats.spikes import Spikes, find_spikes
from gradlens.stats.stability_limit import stability_limit

__all__ = [
    "Auc",
    "Concordance",
    "Correlation",
    "CorrelationDifference",
    "Envelope",
    "LineFit",
    "MatchedMedians",
    "RunningPercentile",
    "Spikes",
    "WindowPercentile",
    "auc",
    "block_length",
    "bootstrap_interval",
    "concordance",
    "correlate",
    "correlation_difference",
    "detrend",
    "ema",
    "envelope",
    "find_spikes",
    "matched_medians",
    "nonnegative_line",
    "pearson",
    "power_line",
    "quantile_line",
    "spearman",
    "stability_limit",
]
