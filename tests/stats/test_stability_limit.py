"""Each limit is where the optimizer itself, run on a quadratic, stops to converge."""

import numpy as np
import pytest

from gradlens.stats import stability_limit


def grows(product: float, momentum: float, *, nesterov: bool) -> bool:
    """Whether torch's SGD, written out, diverges on lr times curvature of this product."""
    theta, velocity = 1.0, 0.0
    for _ in range(4000):
        velocity = momentum * velocity + theta
        theta -= product * ((theta + momentum * velocity) if nesterov else velocity)
        if abs(theta) > 1e6:
            return True
    return False


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_limit_parts_convergence_from_divergence(momentum: float, *, nesterov: bool) -> None:
    limit = stability_limit(momentum, nesterov=nesterov)
    assert not grows(0.99 * limit, momentum, nesterov=nesterov)
    assert grows(1.01 * limit, momentum, nesterov=nesterov)


def test_known_values() -> None:
    assert stability_limit() == 2
    assert stability_limit(0.9) == pytest.approx(3.8)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, np.nan])
def test_refuses_a_momentum_that_does_not_forget(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum must be at least 0 and below 1; got"):
        stability_limit(momentum)
