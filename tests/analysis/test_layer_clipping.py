"""A layer at a time is all layers at once."""

from collections.abc import Callable

import numpy as np
import pytest

from gradlens import analysis, clipping
from gradlens.store import Run

WriteLayers = Callable[..., Run]
NAMES = ("encoder.weight", "encoder.bias", "head.weight")


def norms(steps: int = 300) -> np.ndarray:
    logs = np.random.default_rng(0).standard_normal((3, steps))
    return np.exp(logs * np.array([[0.1], [0.5], [1.0]])).astype(np.float32)


@pytest.mark.parametrize("rule", [clipping.fixed(1.5), clipping.autoclip(20), clipping.zclip(warmup=5)])
def test_layers_are_replayed_as_per_parameter_replays_them(write_layers: WriteLayers, rule: clipping.ClipRule) -> None:
    values = norms()
    run = write_layers(dict(zip(NAMES, values, strict=True)))
    dense = clipping.replay(clipping.per_parameter(rule), values.T.astype(np.float64))
    for given in (rule, clipping.per_parameter(rule)):
        found = analysis.layer_clipping(run, given)
        assert found.names == NAMES
        assert found.rate == pytest.approx(dense.clipped.mean(axis=0))
        assert found.mean_coefficient == pytest.approx(dense.coefficients.mean(axis=0))
        assert found.threshold == pytest.approx(dense.thresholds[-1])
        assert found.rate_by_phase[:, 1] == pytest.approx(dense.clipped[100:200].mean(axis=0))
        assert found.median_norm == pytest.approx(np.median(values, axis=1))


def test_groups_have_the_norm_of_their_parameters_together(write_layers: WriteLayers) -> None:
    """The root of the sum of squares; the sum of norms, which is wrong, is clipped more often."""
    values = norms()
    run = write_layers(dict(zip(NAMES, values, strict=True)))
    rule = clipping.per_group(clipping.fixed(1.8), {"encoder": "encoder.*", "head": "head.*", "none": "decoder.*"})
    found = analysis.layer_clipping(run, rule)
    together = np.sqrt((values[:2].astype(np.float64) ** 2).sum(axis=0))
    assert found.names == ("encoder", "head")
    assert found.rate[0] == (together > 1.8).mean()
    assert found.rate[0] < (values[:2].sum(axis=0) > 1.8).mean()
    assert found.median_norm[0] == pytest.approx(np.median(together))


def test_missing_and_odd_norms_are_counted_not_clipped(write_layers: WriteLayers) -> None:
    values = norms(30).astype(np.float64)
    values[2, :10] = np.nan
    values[2, 10] = np.inf
    found = analysis.layer_clipping(
        write_layers(dict(zip(NAMES, values, strict=True))), clipping.fixed(0.0), include=("*.weight",)
    )
    assert found.names == ("encoder.weight", "head.weight")
    assert found.rate.tolist() == [1.0, 1.0]
    assert found.nonfinite.tolist() == [0, 11]
    assert found.n.tolist() == [30, 30]


def test_what_cannot_be_replayed_by_layer_is_refused(write_layers: WriteLayers) -> None:
    run = write_layers(dict(zip(NAMES, norms(20), strict=True)))
    with pytest.raises(ValueError, match=r"^layers are replayed one by one: give a rule that acts on the global norm"):
        analysis.layer_clipping(run, clipping.adagc())
    none = analysis.layer_clipping(run, clipping.fixed(1.0), include="decoder.*")
    assert none.status == (
        "run 'run' has no gradient norms of the parameters asked for; it has encoder.weight, encoder.bias, head.weight."
    )
    assert none.rate_by_phase.shape == (0, 3)
    empty = analysis.layer_clipping(write_layers({}, loss=[1.0] * 5), clipping.fixed(1.0))
    assert empty.status == "run 'run' names no parameters; record them with norms=gradlens.every(1)."


def test_of_many_layers_so_many_are_asked_from_the_first_to_the_last(write_layers: WriteLayers) -> None:
    run = write_layers({f"layer{place}": np.full(5, 1.0 + place) for place in range(9)})
    found = analysis.layer_clipping(run, clipping.fixed(5.5), most=3)
    assert found.names == ("layer0", "layer4", "layer8")
    assert found.asked == 9
    assert found.rate.tolist() == [0, 0, 1]
