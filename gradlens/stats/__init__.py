"""Statistics on plain NumPy arrays: running percentiles, correlations, block bootstrap."""

from gradlens.stats.bootstrap import block_length, bootstrap_interval
from gradlens.stats.correlation import Correlation, correlate, detrend, pearson, spearman
from gradlens.stats.envelope import Envelope, envelope
from gradlens.stats.running_percentile import RunningPercentile, WindowPercentile
from gradlens.stats.smoothing import ema

__all__ = [
    "Correlation",
    "Envelope",
    "RunningPercentile",
    "WindowPercentile",
    "block_length",
    "bootstrap_interval",
    "correlate",
    "detrend",
    "ema",
    "envelope",
    "pearson",
    "spearman",
]
