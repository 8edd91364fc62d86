"""Charts as inline SVG: small, self-contained, readable without colour."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["call_graph", "curves", "scatter"]

WIDTH: Final = 860
HEIGHT: Final = 260
LEFT: Final = 56
BOTTOM: Final = 34
TOP: Final = 14
RIGHT: Final = 14


def curves(prediction: Mapping[str, Any], observed: Sequence[tuple[float, float]]) -> str:
    """Users let down a second: doing nothing and the change with their bands (10th to 90th percentile), and
    what production really did, on one axis. `observed`: (seconds after the change began, users/s)."""
    times = [float(t) for t in prediction["times_s"]]
    if not times:
        return '<p class="quiet">No prediction: it was not rehearsed.</p>'
    tops = [*prediction["nothing_high_rps"], *prediction["change_high_rps"], *(value for _, value in observed)]
    scale = _Scale(times[0], times[-1], 0.0, _nice(max([*tops, 1.0])))
    parts = [
        scale.axes("seconds after the change began", "users let down per second"),
        scale.band(times, prediction["nothing_low_rps"], prediction["nothing_high_rps"], "nothing"),
        scale.band(times, prediction["change_low_rps"], prediction["change_high_rps"], "change"),
        scale.line(list(zip(times, prediction["nothing_rps"], strict=True)), "nothing"),
        scale.line(list(zip(times, prediction["change_rps"], strict=True)), "change"),
    ]
    if observed:
        parts.append(scale.line([p for p in observed if times[0] <= p[0] <= times[-1]], "observed"))
    legend = "".join(
        f'<g transform="translate({LEFT + 16 + 220 * i},{TOP + 10})"><line x2="26" class="{name}"/>'
        f'<text x="32" y="4">{text}</text></g>'
        for i, (name, text) in enumerate(
            (
                ("nothing", "doing nothing (predicted)"),
                ("change", "with the change (predicted)"),
                ("observed", "production"),
            )
        )
        if name != "observed" or observed
    )
    return _svg("".join(parts) + legend, WIDTH, HEIGHT, "Users let down: predicted and observed")


def call_graph(graph: Mapping[str, Any], harmed: Mapping[str, float], helped: Mapping[str, float]) -> str:
    """The incident's services and their neighbours, callers above callees. Sizes and words say who gained or
    lost (failed requests); colours only repeat it."""
    services, edges = list(graph["services"]), [tuple(edge) for edge in graph["edges"]]
    if not services:
        return '<p class="quiet">No services.</p>'
    depth = _layers(services, edges)
    rows: dict[int, list[str]] = {}
    for service in services:
        rows.setdefault(depth[service], []).append(service)
    place: dict[str, tuple[float, float]] = {}
    for row, names in rows.items():
        for i, name in enumerate(sorted(names)):
            place[name] = (WIDTH * (i + 0.5) / len(names), 36 + 78 * row)
    height = 78 * (max(rows) + 1) + 10
    lines = "".join(
        f'<line x1="{place[a][0]:.0f}" y1="{place[a][1] + 16:.0f}" '
        f'x2="{place[b][0]:.0f}" y2="{place[b][1] - 16:.0f}" class="edge"/>'
        for a, b in edges
        if a in place and b in place
    )
    nodes = []
    for name in services:
        x, y = place[name]
        kind = "harmed" if name in harmed else "helped" if name in helped else "hit" if name in graph["hit"] else "near"
        figure = harmed.get(name, helped.get(name))
        note = "" if figure is None else f"{'+' if name in harmed else '−'}{figure:.0f} failed"
        nodes.append(
            f'<g class="{kind}"><rect x="{x - 58:.0f}" y="{y - 16:.0f}" width="116" height="32" rx="6"/>'
            f'<text x="{x:.0f}" y="{y - 1:.0f}" text-anchor="middle">{html.escape(name.split("/")[-1][:16])}</text>'
            f'<text x="{x:.0f}" y="{y + 12:.0f}" text-anchor="middle" class="small">{html.escape(note)}</text></g>'
        )
    return _svg(lines + "".join(nodes), WIDTH, height, "Call graph around the incident")


def scatter(points: Sequence[tuple[float, float, str]], x_label: str, y_label: str) -> str:
    """Labelled points; x from 0, y from 0 to 1."""
    if not points:
        return ""
    scale = _Scale(0.0, _nice(max(max(x for x, _, _ in points), 1.0)), 0.0, 1.0)
    dots = "".join(
        f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="5" class="dot"/>'
        f'<text x="{scale.x(x) + 8:.1f}" y="{scale.y(y) + 4:.1f}">{html.escape(name)}</text>'
        for x, y, name in points
    )
    return _svg(scale.axes(x_label, y_label) + dots, WIDTH, HEIGHT, f"{y_label} against {x_label}")


class _Scale:
    """Data to pixels."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float) -> None:
        self._x0, self._x1, self._y0, self._y1 = x0, max(x1, x0 + 1e-9), y0, max(y1, y0 + 1e-9)

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self._x0) / (self._x1 - self._x0)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - self._y0) / (self._y1 - self._y0)

    def line(self, points: Sequence[tuple[float, float]], name: str) -> str:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{path}" class="{name}"/>' if path else ""

    def band(self, times: Sequence[float], low: Sequence[float], high: Sequence[float], name: str) -> str:
        forth = [f"{self.x(t):.1f},{self.y(v):.1f}" for t, v in zip(times, high, strict=True)]
        back = [f"{self.x(t):.1f},{self.y(v):.1f}" for t, v in zip(reversed(times), reversed(low), strict=True)]
        return f'<polygon points="{" ".join(forth + back)}" class="band {name}"/>'

    def axes(self, x_label: str, y_label: str) -> str:
        ticks = []
        for y in _round_figures(self._y0, self._y1):
            ticks.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(y):.1f}" y2="{self.y(y):.1f}" class="grid"/>'
                f'<text x="{LEFT - 6}" y="{self.y(y) + 4:.1f}" text-anchor="end">{y:g}</text>'
            )
        for x in _round_figures(self._x0, self._x1):
            ticks.append(f'<text x="{self.x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
        ticks.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">{html.escape(x_label)}</text>')
        turned = f"translate(12,{HEIGHT / 2}) rotate(-90)"
        ticks.append(f'<text transform="{turned}" text-anchor="middle">{html.escape(y_label)}</text>')
        return "".join(ticks)


def _layers(services: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way down from a service without callers; bounded, so a circle does no harm."""
    depth = dict.fromkeys(services, 0)
    for _ in range(min(len(services), 8)):
        for caller, callee in edges:
            if caller in depth and callee in depth and caller != callee:
                depth[callee] = min(max(depth[callee], depth[caller] + 1), 8)
    return depth


def _round_figures(low: float, high: float) -> list[float]:
    """Some five figures from `low` to `high` that one can read at a glance."""
    step = _nice((high - low) / 5.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value - 1e-12)


def _svg(body: str, width: float, height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{html.escape(title)}">'
        f"<title>{html.escape(title)}</title>{body}</svg>"
    )
