"""What an address says, and what it must not."""

from __future__ import annotations

import pytest

from gradlens_app.controls import Choice, Slider, as_text
from gradlens_app.view import View, ViewError


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ("?runs=../x", "runs= expects the keys of runs, twelve hexadecimal digits each, with commas."),
        ("?baseline=x", "baseline= expects the keys of runs"),
        ("?x=lr", "x= expects one of step, epoch, time, samples, tokens."),
        ("?zoom=9..1", "zoom= expects a first and a later last x, as in zoom=200..800."),
        ("?zoom=1..1e999", "zoom= expects a first and a later last x"),
        ("?zoom=nan..1", "zoom= expects a first and a later last x"),
        ("?smooth=51", "smooth= expects a number from 0 to 50."),
        ("?smooth=inf", "smooth= expects a number from 0 to 50."),
        ("?" + "&".join(f"a{i}=1" for i in range(50)), "Expected an address with at most 40 fields"),
    ],
)
def test_a_wrong_address_says_what_was_expected(search: str, sentence: str) -> None:
    with pytest.raises(ViewError) as error:
        View.parse(search)
    assert str(error.value).startswith(sentence)


def test_an_address_holds_every_part_of_the_view() -> None:
    view = View.parse("?runs=0123456789ab,ba9876543210&x=time&zoom=0.5..2e3&smooth=0&log=loss:y,lr:x&group=lr")
    assert view.keys == ("0123456789ab", "ba9876543210")
    assert (view.clock, view.window, view.smoothing, view.group) == ("time", (0.5, 2000.0), 0.0, "lr")
    assert view.flipped == {"loss:y", "lr:x"}


@pytest.mark.parametrize("names", [["loss"], ["a,b", "c%2Cd", "100 %"], ["ä/ö", "x=y&z"], []])
def test_names_survive_the_address(names: list[str]) -> None:
    assert list(View(given={"series": as_text(names)}).words("series")) == names


def test_controls_read_their_field_and_refuse_another() -> None:
    rule = Choice("rule", "rule", (("autoclip", "AutoClip"), ("fixed", "fixed")), default="autoclip")
    assert (rule.read(View()), rule.read(View(given={"rule": "fixed"}))) == ("autoclip", "fixed")
    with pytest.raises(ViewError, match=r"rule= expects one of autoclip, fixed\."):
        rule.read(View(given={"rule": "<script>"}))
    percentile = Slider("p", "percentile", default=10)
    assert (percentile.read(View()), percentile.read(View(given={"p": "2.5"}))) == (10, 2.5)
    with pytest.raises(ViewError, match=r"p= expects a number from 0 to 100\."):
        percentile.read(View(given={"p": "-1"}))
