"""Line charts as HTML: an SVG that stretches with the page, words beside it that do not, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MAX_POINTS = 400  # drawn of a line
MAX_TIPS = 60  # places that say their values when pointed at
_LIMIT = 1e15  # NaN is not below it
_LEAST = 1e-300  # what differs by less is drawn as equal
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        label: its name, in legend and tips; a line without one is in neither.
        points: x and y, sorted by x; those that are not finite, or huge, are left out.
        colour: number of its colour.
        faint: drawn thin and pale, behind the others.
        dots: with a dot at each point.
    """

    label: str
    points: Sequence[Point]
    colour: int = 0
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over steps.

    Args:
        unit: of y, said below the title.
        write: a value of y in words.
        goals: (colour, y) of dashed lines across.
        mark: an x that is marked, with its name.
        from_zero: whether y begins at 0.
    """

    title: str
    lines: Sequence[Line]
    step: str
    unit: str = ""
    write: Callable[[float], str] = lambda value: f"{value:.3g}"
    goals: Sequence[tuple[int, float]] = ()
    mark: tuple[float, str] | None = None
    from_zero: bool = False
    name: str = ""

    def html(self) -> str:
        """The chart; an empty text where no line has a point."""
        drawn = [(line, [point for point in line.points if abs(point[1]) < _LIMIT]) for line in self.lines]
        points = [point for _, its in drawn for point in its]
        if not points:
            return ""
        xs = _Scale.over([x for x, _ in points], tight=True)
        values = [y for _, y in points] + [y for _, y in self.goals]
        ys = _Scale.over([*values, 0.0] if self.from_zero else values)
        faint_first = sorted(drawn, key=lambda item: not item[0].faint)
        shapes = [_rule(ys.share(tick)) for tick in ys.ticks]
        shapes += [_rule(ys.share(y), f"lt-goal lt-c{colour}") for colour, y in self.goals]
        shapes += [_path(line, its, xs, ys) for line, its in faint_first]
        dots = "".join(
            _dot(line.colour, xs.share(x), ys.share(y)) for line, its in drawn if line.dots for x, y in its
        )
        mark = ""
        if self.mark is not None:
            mark = f'<s style="left:{xs.share(self.mark[0]):.2f}%"><b>{html.escape(self.mark[1])}</b></s>'
        named = [(line, its) for line, its in drawn if line.label and its]
        legend = "".join(_key(line) for line, _ in named)
        last = ", ".join(f"{line.label} {self.write(its[-1][1])}" for line, its in named)
        legend = legend if len(named) > 1 else ""
        said = html.escape(f"{self.title}; {self.step} {points_end(named):,.0f}: {last}")
        up = "".join(f'<span style="bottom:{ys.share(t):.2f}%">{self.write(t)}</span>' for t in ys.ticks)
        along = "".join(f'<span style="left:{xs.share(t):.2f}%">{t:,.0f}</span>' for t in xs.ticks)
        return (
            f'<figure class="lt-chart"{_id(self.name)}><figcaption><b>{html.escape(self.title)}</b>'
            f" <small>{html.escape(self.unit)}</small><ul>{legend}</ul></figcaption>"
            f'<div class="lt-plot" role="img" aria-label="{said}"><div class="lt-ys">{up}</div>'
            f'<div class="lt-area"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
            f"{''.join(shapes)}</svg>{dots}{mark}{self._tips(named, xs)}</div>"
            f'<div class="lt-xs">{along}</div></div></figure>'
        )

    def _tips(self, named: Iterable[tuple[Line, Sequence[Point]]], xs: _Scale) -> str:
        """Strips over the chart, each of which says the lines' values there."""
        by_x: dict[float, list[str]] = {}
        for line, points in named:
            for x, y in points:
                by_x.setdefault(x, []).append(f"{line.label}  {self.write(y)}")
        places = _thin(sorted(by_x), MAX_TIPS)
        strips = []
        for number, x in enumerate(places):
            left = 0.0 if number == 0 else (xs.share(places[number - 1]) + xs.share(x)) / 2
            right = 100.0 if number == len(places) - 1 else (xs.share(x) + xs.share(places[number + 1])) / 2
            at = (xs.share(x) - left) / max(right - left, 1e-9)
            said = html.escape("\n".join([f"{self.step} {x:,.0f}", *by_x[x]]))
            side = " lt-left" if xs.share(x) > 55 else ""
            strips.append(
                f'<i class="lt-tip{side}" style="left:{left:.2f}%;width:{right - left:.2f}%;--at:{at:.3f}" '
                f'data-tip="{said}"></i>'
            )
        return "".join(strips)


def points_end(named: Iterable[tuple[Line, Sequence[Point]]]) -> float:
    """The largest x."""
    return max((its[-1][0] for _, its in named), default=0.0)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    ticks: list[float]

    @classmethod
    def over(cls, values: Sequence[float], tight: bool = False) -> _Scale:
        """From the least to the greatest value; unless `tight`, to round numbers around them."""
        low, high = min(values), max(values)
        if low == high:
            low, high = (
                (low - 1, high + 1) if tight or not low else (low - abs(low) / 2, high + abs(high) / 2)
            )
        if high - low < _LEAST:
            low, high = low - 1, high + 1
        size = 10 ** math.floor(math.log10((high - low) / 4))
        size *= next(step for step in (1, 2, 2.5, 5, 10) if (high - low) / (step * size) <= 5)
        if tight:
            size = max(size, 1)  # steps are whole
            first, last = math.ceil(low / size), math.floor(high / size)
        else:
            first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
            low, high = first * size, last * size
        return cls(low, high, [number * size for number in range(first, last + 1)])

    def share(self, value: float) -> float:
        """Where a value lies, in per cent."""
        return 100 * (value - self.low) / (self.high - self.low)


def _path(line: Line, points: Sequence[Point], xs: _Scale, ys: _Scale) -> str:
    corners = " ".join(f"{xs.share(x):.2f},{100 - ys.share(y):.2f}" for x, y in _outline(points))
    if corners.count(",") == 1:  # a line of its own length would not be seen
        corners += f" {corners}"
    kind = "lt-faint" if line.faint else "lt-line"
    return f'<polyline class="{kind} lt-c{line.colour}" points="{corners}"/>'


def _outline(points: Sequence[Point]) -> list[Point]:
    """So few points that a browser draws them quickly: the least and the greatest of each piece."""
    if len(points) <= MAX_POINTS:
        return list(points)
    size = math.ceil(len(points) / (MAX_POINTS // 2))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        piece = points[start : start + size]
        ends = {min(piece, key=lambda point: point[1]), max(piece, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _thin(values: Sequence[float], most: int) -> list[float]:
    """At most so many, evenly, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(number * (len(values) - 1) / (most - 1))] for number in range(most)]


def _rule(height: float, classes: str = "lt-rule") -> str:
    return f'<line class="{classes}" x1="0" x2="100" y1="{100 - height:.2f}" y2="{100 - height:.2f}"/>'


def _key(line: Line) -> str:
    return f'<li class="lt-c{line.colour}{" lt-pale" if line.faint else ""}">{html.escape(line.label)}</li>'


def _dot(colour: int, x: float, y: float) -> str:
    return f'<em class="lt-c{colour}" style="left:{x:.2f}%;bottom:{y:.2f}%"></em>'


def _id(name: str) -> str:
    return f' id="{name}"' if name else ""
