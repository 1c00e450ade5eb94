"""lr times clip coefficient times smoothness, by the optimizer's own limit, and sentences where there is none."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlens import analysis, figures
from gradlens.figures.figure import Points
from gradlens.store import Run

WriteRun = Callable[..., Run]
STEPS = 240


def optimized(run: Run, name: str, **defaults: Any) -> Run:
    return dataclasses.replace(run, environment={"optimizer": {"class": name, "defaults": defaults}})


def written(write_run: WriteRun, **columns: Any) -> Run:
    smoothness = np.where(np.arange(STEPS) % 3 == 0, 30.0, 10.0)  # times lr .1: 3 and 1
    return write_run(steps=STEPS, **{"smoothness": smoothness, "lr": np.full(STEPS, 0.1), **columns})


def test_the_share_above_is_counted_by_phase(write_run: WriteRun) -> None:
    smoothness = np.where(np.arange(STEPS) < 80, 30.0, 10.0)
    smoothness[200:] = np.where(np.arange(40) % 2, 30.0, 10.0)
    found = analysis.step_size_safety(written(write_run, smoothness=smoothness))
    assert found.limit == 2
    assert found.product == pytest.approx(0.1 * smoothness)
    assert found.above == pytest.approx(100 / 240)
    assert found.above_by_phase == pytest.approx((1.0, 0.0, 0.25))
    assert found.above_interval[0] < found.above < found.above_interval[1]
    assert found.n == STEPS
    assert found.status == found.no_line == ""


def test_the_clip_shortens_the_step(write_run: WriteRun) -> None:
    halved = written(write_run, clip={"name": "fixed", "parameters": {}}, clip_coef=np.full(STEPS, 0.5))
    found = analysis.step_size_safety(halved)
    assert found.product.max() == pytest.approx(1.5)
    assert found.above == 0
    assert np.isnan(found.above_interval).all()  # resamples of zeros bound nothing


@pytest.mark.parametrize(
    ("defaults", "limit", "label", "factor"),
    [
        ({"momentum": 0}, 2.0, "2", 1.0),
        ({"momentum": 0.9}, 3.8, "2(1 + β)", 1.0),
        ({"momentum": 0.5, "dampening": 0.5}, 3.0, "2(1 + β)", 0.5),
        ({"momentum": 0.9, "nesterov": True}, 3.8 / 2.8, "2(1 + β)/(1 + 2β)", 1.0),
    ],
)
def test_the_line_is_the_optimizers(
    write_run: WriteRun, defaults: dict[str, Any], limit: float, label: str, factor: float
) -> None:
    found = analysis.step_size_safety(optimized(written(write_run), "SGD", **defaults))
    assert found.limit == pytest.approx(limit)
    assert found.limit_label == label
    assert found.product.max() == pytest.approx(3.0 * factor)


def test_adam_has_no_line(write_run: WriteRun) -> None:
    run = written(write_run)
    for name in ("Adam", "AdamW", "RMSprop", "Adagrad"):
        found = analysis.step_size_safety(optimized(run, name))
        assert found.no_line == (
            f"{name} scales each entry of the step by its own history, so that the limit is of the curvature in those "
            "scaled coordinates, which was not measured: there is no line."
        )
        assert np.isnan([found.limit, found.above, *found.above_by_phase]).all()
    unknown = analysis.step_size_safety(optimized(run, "Shampoo"))
    assert unknown.no_line == "No limit is known for the optimizer Shampoo: there is no line."
    several = dataclasses.replace(run, environment={"optimizer": {"class": "SGD", "defaults": {}, "count": 2}})
    assert "several optimizers" in analysis.step_size_safety(several).no_line
    endless = analysis.step_size_safety(optimized(run, "SGD", momentum=1.0))
    assert endless.no_line == "A momentum of 1 has no limit: it does not forget."
    odd = dataclasses.replace(run, environment={"optimizer": 3})
    assert analysis.step_size_safety(odd).no_line.startswith("No limit is known")


def test_what_is_doubtful_is_said(write_run: WriteRun) -> None:
    run = optimized(written(write_run, **{"lr[1]": np.full(STEPS, 0.4)}), "SGD", weight_decay=0.1)
    found = analysis.step_size_safety(
        dataclasses.replace(run, environment={**run.environment, "smoothness": "consecutive"})
    )
    assert found.product.max() == pytest.approx(12.0)  # the largest of the learning rates
    assert [caveat.split()[0] for caveat in found.caveats] == ["The", "Parameter", "Weight"]


def test_probes_that_blew_up_are_above_and_those_that_stood_still_below(write_run: WriteRun) -> None:
    smoothness = np.full(STEPS, 10.0)
    smoothness[180:] = np.inf
    smoothness[:60] = 0.0
    smoothness[60:64] = np.nan
    found = analysis.step_size_safety(written(write_run, smoothness=smoothness))
    assert (found.n, found.above) == (STEPS - 4, 60 / (STEPS - 4))
    assert found.caveats[:3] == (
        "In 60 of 240 probes the product is infinite: they count as above the limit.",
        "In 60 of 240 probes the product is 0: they count as below the limit.",
        "In 4 of 240 probes the learning rate, the clip coefficient or the smoothness is missing or NaN: they are left "
        "out.",
    )
    assert found.caveats[3].endswith("independent blocks, so its interval is likely too narrow.")
    (panel,) = figures.step_size_safety(found).panels
    drawn = np.concatenate([mark.y for mark in panel.marks if isinstance(mark, Points)])
    assert len(drawn) == 116
    assert np.isfinite(np.log(drawn)).all()


def test_says_why_it_cannot_answer(write_run: WriteRun) -> None:
    none = analysis.step_size_safety(write_run(steps=20, smoothness=[None] * 20))
    assert none.status == "run 'run' has no smoothness probes; record with smoothness=gradlens.every(20)."
    no_rate = analysis.step_size_safety(write_run(steps=20, lr=[None] * 20))
    assert no_rate.status.startswith("run 'run' ")
    broken = analysis.step_size_safety(write_run(steps=20, smoothness=np.full(20, np.nan)))
    assert broken.status == "run 'run' has no probe with a positive learning rate, clip coefficient and smoothness."
    assert broken.n == 0
    one = analysis.step_size_safety(write_run(steps=1, smoothness=np.full(1, 30.0)))
    assert one.above == 1
    assert one.above_by_phase[0] == 1
