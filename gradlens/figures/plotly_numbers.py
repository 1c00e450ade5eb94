"""Numbers and colours as Plotly reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.figures.palette import colour

Trace = dict[str, Any]
Floats = NDArray[np.float64]


def packed(values: Floats) -> dict[str, str]:
    """Numbers as Plotly reads them fastest: base64 of float32, or of float64 where steps would lose digits.

    Args:
        values: (n,) or (rows, columns).

    >>> packed(np.array([1.0]))
    {'dtype': 'f4', 'bdata': 'AACAPw=='}
    """
    finite = np.abs(values[np.isfinite(values)])
    kind = "f8" if float(finite.max(initial=0.0)) >= 2**24 else "f4"
    shape = {"shape": ", ".join(map(str, values.shape))} if values.ndim > 1 else {}
    return {"dtype": kind, "bdata": base64.b64encode(values.astype("<" + kind).tobytes()).decode(), **shape}


def faded(role: str, amount: float, theme: str) -> str:
    """A colour that lets through what lies beneath.

    >>> faded("clipped", 0.2, "light")
    'rgba(200, 32, 47, 0.2)'
    """
    red, green, blue = bytes.fromhex(colour(role, theme)[1:])
    return f"rgba({red}, {green}, {blue}, {amount:g})"
