"""The report's curves as plotly's plain data; colours and fonts are the page's and follow its theme."""

from collections.abc import Mapping, Sequence
from typing import Any

from purer_lightning.report.curves import Curve, smoothed, thinned
from purer_lightning.report.runs import Run

Figure = dict[str, Any]
Trace = dict[str, Any]

COLOURS = 8  # the page has --run-0 to --run-7; further runs begin again and are dashed
POINTS = 1200  # of a curve: more than there are pixels to show them
WINDOWS = 30  # a moving mean is taken over this part of a curve
BINS = 25  # of the histogram over 0 to 100 %
INVERSION_TERMS = {
    "total": "all terms, weighted",
    "class": "cross-entropy of the teachers",
    "feature": "distance to BatchNorm's statistics",
    "total_variation": "differences between neighbouring pixels",
    "l2": "length of the pixels' vector",
}


def run_class(run: int) -> str:
    """Return the class of the page's style that has a run's colour."""
    return f"run-{run % COLOURS}"


def colour(run: int) -> str:
    """Return the page's colour of a run."""
    return f"var(--{run_class(run)})"


def curriculum(runs: Sequence[Run]) -> Figure:
    """Return difficulty, the switch's firings and the accuracies above one axis of updates."""
    fires = [position for position, run in enumerate(runs) if firing_updates(run)]
    traces = [_firings(runs[position], position, row, len(fires)) for row, position in enumerate(fires)]
    for position, run in enumerate(runs):
        traces += [*_difficulty(run, position), *_accuracies(run, position)]
    way = runs[0].setting("data.way", 5)
    rows = max(len(fires), 1)
    top = 0.45 + min(0.04 + 0.025 * rows, 0.2)
    layout = {
        "height": 620,
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "xaxis": _updates() | {"anchor": "y3"},
        "yaxis": {"domain": [top + 0.07, 0.96]},
        "yaxis2": {
            "domain": [0.45, top],
            "range": [rows - 0.4, -0.6],
            "showticklabels": False,
            "showgrid": False,
            "fixedrange": True,
            "zeroline": False,
        },
        "yaxis3": {"domain": [0, 0.38], "ticksuffix": " %"},
        "annotations": [
            _panel("difficulty: outer loss of the images", 0.96),
            _panel("the gradient switch fires" if fires else "the gradient switch never fires", top),
            _panel("accuracy: meta-val (marks), pseudo (dotted)", 0.38),
        ],
        "shapes": [_guessing(way, "y3")],
    }
    return {"data": _named(traces, runs), "layout": layout}


def _difficulty(run: Run, position: int) -> list[Trace]:
    curve = run.curves["curriculum/difficulty"]
    raw, mean = thinned(curve, POINTS), _smooth(curve)
    return [
        _line(raw, position, hoverinfo="skip", opacity=0.3, line={"width": 1, "color": colour(position)}),
        _line(mean, position, name=_called(run, "difficulty"), hovertemplate="%{y:.3f}"),
    ]


def _firings(run: Run, position: int, row: int, rows: int) -> Trace:
    updates = firing_updates(run)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": updates,
        "y": [row] * len(updates),
        "yaxis": "y2",
        "name": _called(run, "switch"),
        "hovertemplate": "fired at %{x:,}",
        "marker": {
            "symbol": "line-ns-open",
            "size": 14 if rows == 1 else 9,
            "color": colour(position),
            "line": {"width": 1.5},
        },
        "meta": {"run": position},
    }


def firing_updates(run: Run) -> list[int]:
    """Return the updates by which the count of firings had grown: all of them where every update was logged."""
    curve = run.curves.get("curriculum/firings", Curve([], []))
    counts = [0.0, *curve.values]
    return [update for update, before, now in zip(curve.updates, counts, counts[1:], strict=False) if now > before]


def _accuracies(run: Run, position: int) -> list[Trace]:
    traces = []
    if "train/accuracy" in run.curves:
        pseudo = _smooth(run.curves["train/accuracy"])
        dotted = {"width": 1.5, "dash": "dot", "color": colour(position)}
        more = {"yaxis": "y3", "line": dotted, "opacity": 0.8, "hovertemplate": "%{y:.1f} %"}
        traces.append(_line(_percent(pseudo), position, name=_called(run, "pseudo accuracy")) | more)
    if "val/accuracy" in run.curves:
        found = _percent(run.curves["val/accuracy"])
        marks = {"mode": "lines+markers", "marker": {"size": 6, "color": colour(position)}, "error_y": _error(run)}
        more = {"yaxis": "y3", "hovertemplate": "%{y:.1f} % at %{x:,}"}  # the nearest is shown, which may be far
        traces.append(_line(found, position, name=_called(run, "meta-val accuracy")) | marks | more)
    return traces


def _error(run: Run) -> dict[str, Any]:
    half = _percent(run.curves.get("val/ci95", Curve([], []))).values
    return {"type": "data", "array": half, "thickness": 1, "width": 3}


def inversion(runs: Sequence[Run], term: str) -> Figure | None:
    """Return one term of the inversion loss over the updates; None where no run has it."""
    key = f"inversion/{term}"
    traces = []
    for position, run in enumerate(runs):
        if key in run.curves:
            raw = thinned(run.curves[key], POINTS)
            traces.append(_line(raw, position, name=_called(run, term), hovertemplate="%{y:.4g}", line_width=1.6))
    values = [value for trace in traces for value in trace["y"]]
    layout = {
        "height": 260,
        "hovermode": "x unified",
        "xaxis": _updates(),
        "yaxis": _decades(values),
    }
    return {"data": _named(traces, runs), "layout": layout} if traces else None


def against_time(runs: Sequence[Run]) -> Figure | None:
    """Return the accuracy on meta-val against the minutes of training; None where no run kept them."""
    traces = []
    for position, run in enumerate(runs):
        if run.times:
            accuracies = [100 * moment.accuracy for moment in run.times]
            trace = _line(Curve([], accuracies), position, name=run.name, mode="lines+markers")
            trace |= {"x": [moment.minutes for moment in run.times], "text": [f"{m.update:,}" for m in run.times]}
            bars = {"error_y": _error(run)} if len(_error(run)["array"]) == len(run.times) else {}
            traces.append(trace | bars | {"hovertemplate": "%{y:.1f} % after %{x:.1f} min, %{text} updates"})
    layout = {
        "height": 300,
        "hovermode": "closest",
        "xaxis": {"title": {"text": "minutes of training"}, "rangemode": "tozero"},
        "yaxis": {"ticksuffix": " %"},
    }
    return {"data": traces, "layout": layout} if traces else None


def distribution(by_name: Sequence[tuple[str, int, bool, Sequence[float]]]) -> Figure:
    """Return the share of episodes by accuracy.

    Args:
        by_name: name, the run's position, whether to dash, and accuracies in 0 to 1.
    """
    traces: list[Trace] = []
    runs = {position for _, position, _, _ in by_name}
    edges = [100 * edge / BINS for edge in range(BINS)]
    for name, position, dashed, accuracies in by_name:
        counts = histogram(accuracies)
        line = {"shape": "hvh", "width": 2, "color": colour(position), "dash": "dot" if dashed else "solid"}
        curve = Curve([], [100 * count / len(accuracies) for count in counts])
        trace = _line(curve, position, name=name, line=line, hovertemplate="%{y:.1f} % of the episodes")
        traces.append(
            trace
            | {"x": [edge + 50 / BINS for edge in edges], "fill": "none" if dashed or len(runs) > 1 else "tozeroy"}
        )
    layout = {
        "height": 320,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": "accuracy in an episode"}, "ticksuffix": " %", "range": [0, 100], "dtick": 20},
        "yaxis": {"ticksuffix": " %", "rangemode": "tozero", "title": {"text": "of the episodes"}},
    }
    return {"data": traces, "layout": layout}


def histogram(accuracies: Sequence[float]) -> list[int]:
    """Count accuracies, 0 to 1, in ``BINS`` bins; a bin has its lower edge, the last one both."""
    counts = [0] * BINS
    for accuracy in accuracies:
        counts[min(int(accuracy * BINS + 1e-6), BINS - 1)] += 1  # 0.6 in float32 is a little more, or less
    return counts


def _decades(values: Sequence[float]) -> Mapping[str, Any]:
    """Return a logarithmic axis where values span more than one decade, which a linear one would press flat."""
    if values and min(values) > 0 and max(values) > 10 * min(values):
        return {"type": "log", "dtick": 1, "exponentformat": "power"}
    return {"nticks": 6, "exponentformat": "SI"}


def _line(curve: Curve, position: int, line_width: float = 2.2, **more: Any) -> Trace:
    line = {"width": line_width, "color": colour(position), "dash": "solid" if position < COLOURS else "dash"}
    own = {"type": "scatter", "mode": "lines", "x": curve.updates, "y": curve.values, "line": line}
    return own | {"meta": {"run": position}} | more


def _smooth(curve: Curve) -> Curve:
    points = thinned(curve, POINTS)
    return smoothed(points, max(1, len(points.updates) // WINDOWS))


def _percent(curve: Curve) -> Curve:
    return Curve(curve.updates, [100 * value for value in curve.values])


def _named(traces: list[Trace], runs: Sequence[Run]) -> list[Trace]:
    """Leave the run's name out of its curves' where there is only one."""
    if len(runs) > 1:
        return traces
    return [trace | {"name": trace.get("name", "").removeprefix(_called(runs[0], ""))} for trace in traces]


def _called(run: Run, what: str) -> str:
    return f"{run.name}: {what}"


def _updates() -> dict[str, Any]:
    return {"title": {"text": "meta-update"}, "unifiedhovertitle": {"text": "update %{x:,}"}}


def _panel(text: str, y: float) -> Mapping[str, Any]:
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"color": "var(--muted)"}, **place}


def _guessing(way: int, axis: str) -> Mapping[str, Any]:
    y = 100 / way
    line = {"color": "var(--muted)", "width": 1, "dash": "dash"}
    label = {"text": "guessing", "textposition": "start", "font": {"color": "var(--muted)", "size": 11}}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": y, "y1": y} | {
        "line": line,
        "label": label,
    }
