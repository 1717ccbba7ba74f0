"""Charts draw whatever a training can write."""

from __future__ import annotations

import math
import re

import pytest

from app.pages.charts import MAX_POINTS, Chart, Line


def corners(chart: str) -> list[tuple[float, float]]:
    (points,) = re.findall(r'points="([^"]*)"', chart)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def chart(*points: tuple[float, float], **options: object) -> str:
    return Chart("Loss", [Line("loss", points)], "step", **options).html()  # type: ignore[arg-type]


def test_lines_go_from_edge_to_edge_between_round_numbers():
    html = chart((0, 0.31), (50, 0.9), (100, 1.38))
    assert corners(html)[0][0] == 0 and corners(html)[-1][0] == 100
    labels = re.findall(r'style="bottom:[\d.]+%">([^<]+)<', html)
    assert labels[0] == "0.25" or float(labels[0]) <= 0.31
    assert float(labels[-1]) >= 1.38 and 3 <= len(labels) <= 7


@pytest.mark.parametrize(
    "points",
    [
        [(1, 2.0)],
        [(1, 2.0), (2, 2.0)],
        [(1, 0.0), (2, 0.0)],
        [(1, math.nan), (2, 1.0), (3, math.inf), (4, -math.inf), (5, 1e300), (6, 3.0)],
        [(1, -5.0), (2, 1e-12)],
        [(1, 1e-9), (2, 2e-9)],
        [(1, 5e-324)],
        [(1, 0.0), (2, 5e-324)],
        [(10**6, 1.0), (10**6 + 1, 2.0)],
    ],
)
def test_any_values_are_drawn_inside(points):
    drawn = corners(chart(*points))
    assert drawn and all(-0.01 <= x <= 100.01 and -0.01 <= y <= 100.01 for x, y in drawn)


def test_nothing_is_drawn_of_nothing():
    assert chart() == "" and chart((1, math.nan)) == ""


def test_a_long_run_is_drawn_with_few_points_and_keeps_its_extremes():
    points = [(step, 1.0 + (step == 777) * 5) for step in range(100_000)]
    drawn = corners(chart(*points))
    assert len(drawn) <= MAX_POINTS + 2
    assert min(y for _, y in drawn) == pytest.approx(0, abs=0.01)  # the one high loss is still seen


def test_words_are_no_html():
    lines = [Line("<v1>", [(1, 1.0)]), Line("<v2>", [(2, 2.0)])]
    html = Chart("<v3>", lines, "<v4>", "<v5>", mark=(1, "<v6>")).html()
    assert not re.findall(r"<v\d>", html)
    assert {*re.findall(r"&lt;v(\d)&gt;", html)} == set("123456")
