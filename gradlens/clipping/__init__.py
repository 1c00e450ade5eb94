"""Clip rules as values: the same rule drives a training and is replayed over recorded norms."""

from gradlens.clipping.adagc import adagc
from gradlens.clipping.agc import agc
from gradlens.clipping.autoclip import autoclip
from gradlens.clipping.chain import chain
from gradlens.clipping.fixed import fixed
from gradlens.clipping.match_step import match_step
from gradlens.clipping.members import over_parameters
from gradlens.clipping.micro_batch import micro_batch
from gradlens.clipping.normalize import normalize
from gradlens.clipping.per_group import per_group
from gradlens.clipping.per_parameter import per_parameter
from gradlens.clipping.per_sample import per_sample
from gradlens.clipping.replay import NOT_DETERMINED, Replay, replay
from gradlens.clipping.rescale import rescale
from gradlens.clipping.rule import Clip, ClipRule, Measured
from gradlens.clipping.soft import soft
from gradlens.clipping.spec import describe, from_spec, one_rule
from gradlens.clipping.value import value
from gradlens.clipping.zclip import zclip

__all__ = [
    "NOT_DETERMINED",
    "Clip",
    "ClipRule",
    "Measured",
    "Replay",
    "adagc",
    "agc",
    "autoclip",
    "chain",
    "describe",
    "fixed",
    "from_spec",
    "match_step",
    "micro_batch",
    "normalize",
    "one_rule",
    "over_parameters",
    "per_group",
    "per_parameter",
    "per_sample",
    "replay",
    "rescale",
    "soft",
    "value",
    "zclip",
]
