"""Numbers, scales, number lines, histograms, bars, and the colours they are drawn in."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.nodes import leaf
from tests.report.parsing import parse
from tests.report.samples import verdict
from tinyalign.common.errors import InputError
from tinyalign.report.details import details_figures, figure_keys
from tinyalign.report.figures import MOST_BARS, bars, histogram
from tinyalign.report.number_line import estimate_words, figure, finding, requirement, scale_of
from tinyalign.report.numbers import number, together
from tinyalign.report.reading import Result, read_verdict
from tinyalign.report.scale import Scale
from tinyalign.report.style import DARK, LIGHT, PAIRS

_FINITE = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-9)


def result(**fields: Any) -> Result:
    """A leaf's result as the report reads it."""
    made = verdict()
    made["tree"]["children"] = [leaf("x", "a claim", **fields)]
    found = read_verdict(made).leaves[0].result
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0199, "nats", "0.0199"), (1.0, "nats", "1"), (-1.5, "", "\N{MINUS SIGN}1.5"),
        (3000.0, "", "3,000"),
        (123456.7, "", "123,457"), (0.00000123, "", "1.23e\N{MINUS SIGN}06"), (0.0, "", "0"),
        (0.95, "share", "95%"), (0.9997, "share of prompts", "99.97%"), (1.0, "rate", "100%"),
        (0.00002, "rate", "0.002%"), (0.0, "rate", "0%"), (None, "", "?"),
        (-0.0013, "share", "\N{MINUS SIGN}0.1%"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float | None, unit: str, shown: str) -> None:
    assert number(value, unit) == shown


@given(st.lists(_FINITE.map(lambda value: round(value, 3)), min_size=1, max_size=5))
def test_different_numbers_look_different(values: list[float]) -> None:
    by_look = dict(zip(together(values), values, strict=True))
    near = any(a != b and abs(a - b) < 1e-5 * max(map(abs, values)) for a in values for b in values)
    assert near or len(by_look) == len(set(values))


def test_numbers_told_together_have_the_same_decimals() -> None:
    assert together([-0.2076, -0.4, -0.00587, 0.5], "nats") == [
        "\N{MINUS SIGN}0.208", "\N{MINUS SIGN}0.4", "\N{MINUS SIGN}0.006", "0.5",
    ]  # fmt: skip
    assert together([0.000684, 0.0000183, 0.02]) == ["0.00068", "0.00002", "0.02"]
    assert together([-0.0, 0.028], "share") == ["0%", "2.8%"]
    assert together([None, float("inf"), 1.0]) == ["?", "∞", "1"]


def test_an_exact_count_has_no_interval() -> None:
    exact = result(estimate=0.5, low=0.5, high=0.5, margin=0.9, direction=">=", unit="share of all prompts")
    assert finding(exact) == "50% of all prompts · needs ≥ 90% · n = 361"


def test_a_long_unit_stays_out_of_the_drawing() -> None:
    long = "rise of the share of violating decisions"
    shown = result(estimate=0.01, low=-0.02, high=0.03, margin=0.05, direction="<=", unit=long)
    page = parse(figure(shown) or "")
    assert all(len(one.text) < 30 for one in page.named("text"))
    assert long in (page.elements[0].attributes["aria-label"] or "")


def test_an_estimate_that_misses_its_margin_by_little_is_not_rounded_onto_it() -> None:
    close = result(estimate=0.01, low=-1.0, high=0.020004, margin=0.02, direction="<=", unit="nats")
    assert "0.020004" in estimate_words(close) and requirement(close) == "≤ 0.02 nats"


@given(_FINITE, st.floats(1e-3, 1e6), _FINITE)
def test_a_scale_keeps_its_values_inside(low: float, span: float, value: float) -> None:
    scale = Scale(low, low + span, 10.0, 350.0)
    assert 10.0 <= scale.at(value) <= 350.0
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 12
    assert all(a < b for a, b in pairwise(ticks))


@pytest.mark.parametrize("direction", ["<=", ">="])
def test_the_shaded_side_is_where_the_claim_holds(direction: str) -> None:
    shown = result(estimate=0.5, low=0.4, high=0.6, margin=0.45, direction=direction, unit="nats")
    page = parse(figure(shown) or "")
    (shade,) = page.classed("holds")
    start = float(shade.attributes["x"] or "")
    end = start + float(shade.attributes["width"] or "")
    (dot,) = page.classed("dot")
    (margin,) = page.classed("margin")
    inside = start <= float(dot.attributes["cx"] or "") <= end
    assert inside == (direction == ">=")
    assert float(margin.attributes["x1"] or "") == pytest.approx(
        end if direction == "<=" else start, abs=0.02
    )


def test_an_interval_that_is_open_far_out_runs_off_the_edge() -> None:
    shown = result(estimate=0.004, low=-1.0, high=0.007, margin=0.02, direction="<=", unit="nats")
    scale = scale_of(shown, 0.0, 100.0)
    assert not scale.holds(-1.0) and all(scale.holds(value) for value in (0.004, 0.007, 0.02))
    ends = [one for one in parse(figure(shown) or "").classed("interval") if one.name == "path"]
    assert ["L" in (one.attributes["d"] or "") for one in ends] == [True, False]


def test_a_number_line_says_its_numbers() -> None:
    shown = result(estimate=0.977, low=0.961, high=1.0, margin=0.95, direction=">=", unit="share of prompts")
    (drawing, *_) = parse(figure(shown) or "").elements
    label = drawing.attributes["aria-label"] or ""
    assert label.startswith("97.7% [96.1%, 100%] of prompts; needs ≥ 95% of prompts")
    assert finding(shown) == "97.7% [96.1%, 100%] of prompts · needs ≥ 95% · n = 361"


def test_a_check_without_numbers_has_no_number_line() -> None:
    assert figure(result()) is None
    assert finding(result(n=4)) == "n = 4"


def test_a_histogram_draws_one_row_a_series_and_no_block_for_an_empty_bin() -> None:
    drawn = histogram({"edges": [-1, 0, 1, 2], "counts": {"before": [1, 0, 4], "after": [0, 0, 0]}}, "", "x")
    page = parse(drawn)
    assert [one.text for one in page.classed("series")] == ["before", "after"]
    (blocks,) = page.classed("bar")
    path = blocks.attributes["d"] or ""
    assert path.count("M") == 2
    heights = [float(part.split("V")[0].split(" ")[1]) - float(part.split("V")[1].split("H")[0])
               for part in path.split("M")[1:]]  # fmt: skip
    assert heights[1] == pytest.approx(4 * heights[0], rel=0.02)
    assert len(page.classed("zero")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        [1, 2], {"edges": [0, 1]}, {"edges": [1, 0], "counts": {"a": [1]}},
        {"edges": [0, 1], "counts": {"a": [1, 2]}}, {"edges": [0, 1], "counts": {"a": ["1"]}},
        {"edges": [0, 1], "counts": {}}, {"edges": "01", "counts": {"a": [1]}},
    ],
)  # fmt: skip
def test_a_malformed_histogram_is_named(wrong: object) -> None:
    with pytest.raises(InputError, match=r"leaf 'a', details\.histogram cannot be drawn"):
        details_figures({"histogram": wrong}, "", "leaf 'a', details")


def test_bars_start_at_zero_and_say_what_they_leave_out() -> None:
    page = parse(bars({"up": 2.0, "down": -1.0}, "nats", "x"))
    first, second = page.classed("bar")
    assert float(first.attributes["width"] or "") == pytest.approx(
        2 * float(second.attributes["width"] or ""), abs=0.03
    )
    zero = float(first.attributes["x"] or "")
    assert float(second.attributes["x"] or "") + float(second.attributes["width"] or "") == pytest.approx(
        zero, abs=0.02
    )
    many = parse(bars({f"set {at}": float(at) for at in range(MOST_BARS + 7)}, "", "x"))
    assert len(many.classed("bar")) == MOST_BARS and "and 7 more" in many.elements[0].text
    with pytest.raises(InputError, match="bars need a mapping"):
        bars({"a": "b"}, "", "x")


def test_figures_come_in_the_order_of_the_details_with_their_captions() -> None:
    values = {"edges": [0, 1], "counts": {"a": [1]}, "title": "Effect"}
    details = {"n": 3, "by_slot_bars": {"names": 1.0}, "histogram": values, "short": [1.0, 2.0]}
    assert [caption for caption, _ in details_figures(details, "", "x")] == ["By slot", "Effect"]
    assert figure_keys(details) == ["by_slot_bars", "histogram"]


def test_single_values_are_drawn_before_and_after_on_one_axis() -> None:
    after, before = [float(at) for at in range(48)], [0.0] * 24 + [47.0] * 24
    details = {"preference_nats": after, "preference_nats_before": before}
    ((caption, drawn),) = details_figures(details, "share", "x")
    assert caption == "Preference, nats" and figure_keys(details) == list(details)
    page = parse(drawn)
    assert [one.text for one in page.classed("series")] == ["before", "after"]
    blocks = [(one.attributes["d"] or "").count("M") for one in page.classed("bar")]
    assert blocks == [2, 24]
    assert "nats" in (page.elements[0].attributes["aria-label"] or "")


def test_equal_values_can_be_drawn() -> None:
    assert len(details_figures({"values": [0.5] * 20}, "", "x")) == 1


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_every_ink_is_readable_on_its_ground(palette: dict[str, str], ink: str, ground: str) -> None:
    lighter, darker = sorted((_luminance(palette[ink]), _luminance(palette[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
