"""A small line chart as SVG, without a plotting library; readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 40
# Okabe and Ito's palette, told apart by colour-blind readers too; dashes and marks tell the rest.
COLOURS = ("#8a8a8a", "#e69f00", "#56a8e0", "#d1466b", "#009e73")
DASHES = ("2 4", "7 4", "", "", "10 3 2 3")
STYLE = """
svg { background: #ffffff; --ink: #1f2328; --line: #d5d9de; }
@media (prefers-color-scheme: dark) {
  svg { background: #14171a; --ink: #e6e8ea; --line: #3a4046; }
}
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.title { font-size: 13px; font-weight: 600; }
.grid { stroke: var(--line); stroke-width: 1; }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: its curves as (name, [(x, y), ...]); values are written in `percent`, or drawn on
    a `log` axis of powers of ten (they must be above 0)."""

    title: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    percent: bool = False
    log: bool = False


def draw(title: str, x_label: str, panels: Sequence[Panel]) -> str:
    """The panels in two columns under one title with one legend.

    Raises:
        ValueError: a panel has no points.
    """
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + 64
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{STYLE}</style>',
        f'<text x="{LEFT}" y="24" class="title">{escape(title)}</text>',
        _legend([name for name, _ in panels[0].lines]),
    ]
    for number, panel in enumerate(panels):
        x, y = number % columns * WIDTH, number // columns * HEIGHT + 64
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel, x_label)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _legend(names: Sequence[str]) -> str:
    parts, x = [], LEFT
    for number, name in enumerate(names):
        parts.append(f'<path d="M{x} 44h26" {_stroke(number)}/>')
        parts.append(f'<text x="{x + 32}" y="48">{escape(name)}</text>')
        x += 52 + 7 * len(name)
    return "".join(parts)


def _panel(panel: Panel, x_label: str) -> str:
    xs = sorted({x for _, points in panel.lines for x, _ in points})
    ys = [y for _, points in panel.lines for _, y in points]
    if not xs:
        raise ValueError(f"nothing to draw in {panel.title!r}")
    ticks = _powers(ys) if panel.log else _ticks(max(ys))
    scale = math.log10 if panel.log else float
    low, high = scale(ticks[0]), scale(ticks[-1])
    left, right = xs[0], xs[-1] if len(xs) > 1 else xs[0] + 1

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        up = (scale(y) - low) / (high - low)
        return round(across, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<text x="{LEFT}" y="20" class="title">{escape(panel.title)}</text>']
    for tick in ticks:
        y = at(left, tick)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        text = f"{tick:.0%}" if panel.percent else f"{tick:g}"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>')
    for x in xs:
        place = at(x, ticks[0])[0]
        text = f'y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{x:g}'
        parts.append(f'<text x="{place}" {text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    for number, (_, points) in enumerate(panel.lines):
        places = [at(x, y) for x, y in points]
        curve = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{curve}" {_stroke(number)}/>')
        colour = COLOURS[number % len(COLOURS)]
        parts.extend(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
    return "".join(parts)


def _stroke(number: int) -> str:
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    return f'class="curve" stroke="{colour}" stroke-dasharray="{dash or "none"}"'


def _ticks(most: float) -> list[float]:
    """About five round values from 0 to at least `most`."""
    rough = (most or 1) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(step * n, 10) for n in range(max(1, math.ceil(most / step - 1e-9)) + 1)]


def _powers(values: Sequence[float]) -> list[float]:
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    return [10.0**n for n in range(low, high + 1)]
