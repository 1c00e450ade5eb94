"""Statistics on plain NumPy arrays: running percentiles, correlations, block bootstrap."""

from gradlens.stats.auc import Auc, Concordance, auc, concordance
from gradlens.stats.bootstrap import block_length, bootstrap_interval
from gradlens.stats.correlation import Correlation, correlate, detrend, pearson, spearman
from gradlens.stats.envelope import Envelope, envelope
from gradlens.stats.running_percentile import RunningPercentile, WindowPercentile
from gradlens.stats.smoothing import ema
from gradlens.stats.spikes import Spikes, find_spikes

__all__ = [
    "Auc",
    "Concordance",
    "Correlation",
    "Envelope",
    "RunningPercentile",
    "Spikes",
    "WindowPercentile",
    "auc",
    "block_length",
    "bootstrap_interval",
    "concordance",
    "correlate",
    "detrend",
    "ema",
    "envelope",
    "find_spikes",
    "pearson",
    "spearman",
]
