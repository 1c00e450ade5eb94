r"""How large a step a quadratic stands: the limit of lr times curvature.

For plain gradient descent :math:`\theta \leftarrow \theta - \eta \lambda \theta` the limit of :math:`\eta\lambda` is 2;
with heavy-ball momentum :math:`\beta` it is :math:`2 (1 + \beta)`, with Nesterov's it is
:math:`2 (1 + \beta) / (1 + 2 \beta)`. Beyond it the iteration grows along that direction. Each is where an eigenvalue
of the iteration's matrix reaches -1.

References:
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    Cohen, Kaur, Li, Kolter and Talwalkar, "Gradient descent on neural networks typically occurs at the edge of
    stability", ICLR 2021, arXiv 2103.00065.
"""

from __future__ import annotations


def stability_limit(momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """The largest stable lr times curvature of gradient descent on a quadratic.

    Args:
        momentum: beta in [0, 1).
        nesterov: whether the momentum is Nesterov's, as in ``torch.optim.SGD(nesterov=True)``.

    Raises:
        ValueError: if the momentum is outside [0, 1).

    >>> stability_limit(), stability_limit(0.9), round(stability_limit(0.9, nesterov=True), 3)
    (2.0, 3.8, 1.357)
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1; got {momentum!r}.")
    return 2 * (1 + momentum) / (1 + 2 * momentum if nesterov else 1)
