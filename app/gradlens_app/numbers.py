"""Numbers as the pages write them: three significant digits, thousands separated."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

MISSING = "–"


def three(value: float) -> str:
    """Three significant digits.

    >>> three(0.35749), three(1234567.0), three(0.00001234), three(0.0), three(float("nan"))
    ('0.357', '1,230,000', '1.23e-05', '0', '–')
    """
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e9:
        return f"{value:.2e}"
    text = format(Decimal(f"{value:.3g}"), ",f")
    whole = text.lstrip("-").replace(",", "").replace(".", "").lstrip("0")
    missing = 3 - len(whole)
    if missing > 0:
        text += ("" if "." in text else ".") + "0" * missing
    return text


def percent(share: float) -> str:
    """A share in percent, one decimal, half up as the browser rounds; all only where it is all.

    >>> percent(0.0), percent(0.9925), percent(0.9999), percent(1.0), percent(0.0004), percent(float("nan"))
    ('0 %', '99.3 %', '99.9 %', '100 %', '0.04 %', '–')
    """
    if not math.isfinite(share):
        return MISSING
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    if 0 < share < 0.001:
        return f"{share * 100:.2g} %"
    tenths = math.floor(share * 1000 + 0.5)
    return f"{(min(tenths, 999) if share < 1 else tenths) / 10:.1f} %"


def correlation(value: float) -> str:
    """A correlation, two decimals.

    >>> correlation(-0.244), correlation(-0.001), correlation(float("nan"))
    ('−0.24', '0.00', '–')
    """
    return f"{value:z.2f}".replace("-", "−") if math.isfinite(value) else MISSING


def within(text: str, interval: tuple[float, float], write: Callable[[float], str]) -> str:
    """A text and the interval behind it, where there is one.

    >>> within("0.50", (0.25, 0.75), correlation), within("0.50", (float("nan"), 0.0), correlation)
    ('0.50 [0.25, 0.75]', '0.50')
    >>> within("", (float("nan"), float("nan")), correlation)
    '–'
    """
    if math.isnan(interval[0]) or math.isnan(interval[1]):
        return text or MISSING
    return f"{text} [{write(interval[0])}, {write(interval[1])}]".strip()
