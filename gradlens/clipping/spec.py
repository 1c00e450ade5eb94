"""Clip rules as a run stores them: back to a rule, or into words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gradlens.clipping.adagc import adagc
from gradlens.clipping.agc import agc
from gradlens.clipping.autoclip import autoclip
from gradlens.clipping.chain import chain
from gradlens.clipping.fixed import fixed
from gradlens.clipping.match_step import match_step
from gradlens.clipping.micro_batch import micro_batch
from gradlens.clipping.normalize import normalize
from gradlens.clipping.per_group import per_group
from gradlens.clipping.per_parameter import per_parameter
from gradlens.clipping.per_sample import per_sample
from gradlens.clipping.rescale import rescale
from gradlens.clipping.rule import ClipRule
from gradlens.clipping.soft import soft
from gradlens.clipping.value import value
from gradlens.clipping.zclip import zclip

FACTORIES: Final[dict[str, Callable[..., ClipRule]]] = {
    factory.__name__: factory
    for factory in (
        adagc, agc, autoclip, chain, fixed, match_step, micro_batch, normalize, per_group, per_parameter, per_sample,
        rescale, soft, value, zclip,
    )
}  # fmt: skip
"""Every rule there is, by the name that a run stores."""

_WORDS = {
    "adagc": "AdaGC",
    "agc": "AGC",
    "autoclip": "AutoClip",
    "fixed": "fixed norm",
    "micro_batch": "micro-batch clipping",
    "normalize": "normalised gradient",
    "per_sample": "per-sample clipping",
    "rescale": "gradient scaling",
    "soft": "soft clipping",
    "value": "by value",
    "zclip": "ZClip",
}
_LETTERS = {"percentile": "p", "max_norm": "c", "z_threshold": "z", "warmup": "warm-up"}


def describe(spec: Mapping[str, Any] | None) -> str:
    """A run's ``clip`` entry in words, for tables and legends; any rule, also one of a newer version.

    >>> describe({"name": "autoclip", "parameters": {"percentile": 10.0, "window": None}}), describe(None)
    ('AutoClip, p = 10', 'no clipping')
    >>> describe(chain(per_parameter(zclip(max_norm=None)), fixed(1.0)).spec())
    'ZClip, alpha = 0.97, z = 2.5, warm-up = 25, eps = 1e-06, per parameter, then fixed norm, c = 1'
    """
    if spec is None:
        return "no clipping"
    name, given = str(spec.get("name")), spec.get("parameters")
    parts = [describe(part) for part in spec.get("rules") or ()]
    parameters = given if isinstance(given, Mapping) else {}
    groups = parameters.get("groups")
    if name == "chain" and parts:
        return ", then ".join(parts)
    if name == "match_step" and parts:
        return f"step length of [{parts[0]}]"
    if name == "per_parameter" and parts:
        return f"{parts[0]}, per parameter"
    if name == "per_group" and parts and isinstance(groups, Mapping):
        return f"{parts[0]}, per group ({', '.join(map(str, groups))})"
    words = [_in_words(key, given) for key, given in parameters.items() if given is not None and given is not False]
    return ", ".join([_WORDS.get(name, name), *parts, *words])


def _in_words(key: str, given: object) -> str:
    if given is True:
        return key.replace("_", " ")
    short = f"{given:g}" if isinstance(given, (int, float)) else str(given)
    return f"{_LETTERS.get(key, key)} = {short}"


def from_spec(spec: Mapping[str, Any]) -> ClipRule:
    """The rule that a run's ``clip`` entry describes.

    Raises:
        ValueError: if the entry names no rule of this version, or its parameters do not fit.

    >>> from_spec({"name": "autoclip", "parameters": {"percentile": 10.0}})
    autoclip(percentile=10.0)
    """
    name, parameters, parts = spec.get("name"), spec.get("parameters", {}), spec.get("rules", [])
    if not isinstance(name, str) or name not in FACTORIES or not isinstance(parameters, Mapping):
        raise ValueError(f"expected one of the clip rules {', '.join(sorted(FACTORIES))}; got {name!r}.")
    rules = [from_spec(part) for part in parts]
    try:
        return FACTORIES[name](*rules, **parameters)
    except TypeError as error:
        raise ValueError(f"the clip rule {name} does not take these parameters: {dict(parameters)}.") from error


def one_rule(percentile: float | None = None, max_norm: float | None = None, z_score: float | None = None) -> ClipRule:
    """The rule that one number stands for: AutoClip at a percentile, a fixed norm, or ZClip without a cap.

    Raises:
        ValueError: for none or several of them.

    >>> one_rule(percentile=10)
    autoclip(percentile=10.0)
    """
    makers: tuple[Callable[[float], ClipRule], ...] = (autoclip, fixed, zclip_alone)
    numbers = (percentile, max_norm, z_score)
    given = [(make, number) for make, number in zip(makers, numbers, strict=True) if number is not None]
    if len(given) != 1:
        raise ValueError(
            "one rule is replayed: give percentile (AutoClip), max_norm (a fixed norm) or z_score (ZClip); "
            f"got {len(given)} of them."
        )
    make, number = given[0]
    return make(number)


def zclip_alone(z_threshold: float) -> ClipRule:
    """ZClip without a cap: it clips spikes alone."""
    return zclip(z_threshold=z_threshold, max_norm=None)
