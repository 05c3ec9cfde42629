"""The report's curves as plotly's plain data; colours and fonts are the page's and follow its theme."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from purer_lightning.report.curves import Curve, smoothed, thinned
from purer_lightning.report.runs import Run

Figure = dict[str, Any]
Trace = dict[str, Any]

COLOURS = 8  # the page has --run-0 to --run-7; further runs begin again and are dashed
POINTS = 1200  # of a curve: more than there are pixels to show them
WINDOWS = 30  # a moving mean is taken over this part of a curve
MARKS = 60  # validations, above which marks and their bars would hide one another
RUG = 300  # firings, above which single strokes would fill the panel: a rate says more
RATE_BINS = 100  # of that rate
MEANINGS = {
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
    traces: list[Trace] = []
    for position, run in enumerate(runs):
        traces += [*_difficulty(run, position), *_accuracies(run, position)]
    way = runs[0].setting("data.way", 5)
    fired, title, rug = _firings(runs)
    top = 0.45 + rug.pop("height")
    layout = {
        "height": 620,
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "xaxis": _updates() | {"anchor": "y3"},
        "yaxis": {"domain": [top + 0.07, 0.96]},
        "yaxis2": rug | {"domain": [0.45, top], "zeroline": False},
        "yaxis3": {"domain": [0, 0.38], "ticksuffix": " %"},
        "annotations": [
            _panel("difficulty: outer loss of the images", 0.96),
            _panel(title, top),
            _panel("accuracy: meta-val (solid), pseudo (dotted)", 0.38),
        ],
        "shapes": [_guessing(way, "y3")],
    }
    return {"data": _named([*fired, *traces], runs), "layout": layout}


def _difficulty(run: Run, position: int) -> list[Trace]:
    curve = run.curves["curriculum/difficulty"]
    raw, mean = thinned(curve, POINTS), _smooth(curve)
    return [
        line_trace(raw, position, hoverinfo="skip", opacity=0.3, line={"width": 1, "color": colour(position)}),
        line_trace(mean, position, name=_called(run, "difficulty"), hovertemplate="%{y:.3f}"),
    ]


def _firings(runs: Sequence[Run]) -> tuple[list[Trace], str, dict[str, Any]]:
    """Return the traces of the firings, the panel's title and its axis: strokes, a row a run, or rates of many."""
    updates = {position: fired for position, run in enumerate(runs) if (fired := firing_updates(run))}
    if any(len(fired) > RUG for fired in updates.values()):
        rates = [_rate(runs[position], position, fired) for position, fired in updates.items()]
        return (
            rates,
            "firings of the gradient switch in 100 updates",
            {"rangemode": "tozero", "nticks": 3, "height": 0.1},
        )
    rows = max(len(updates), 1)
    axis = {"range": [rows - 0.4, -0.6], "showticklabels": False, "showgrid": False, "fixedrange": True}
    strokes = [_strokes(runs[position], position, row, fired) for row, (position, fired) in enumerate(updates.items())]
    title = "the gradient switch fires" if updates else "the gradient switch never fires"
    return strokes, title, axis | {"height": min(0.04 + 0.025 * rows, 0.2)}


def _strokes(run: Run, position: int, row: int, fired: list[int]) -> Trace:
    marker = {"symbol": "line-ns-open", "size": 9, "color": colour(position), "line": {"width": 1.5}}
    trace = line_trace(Curve(fired, [float(row)] * len(fired)), position, name=_called(run, "switch"))
    return trace | {"mode": "markers", "marker": marker, "yaxis": "y2", "hovertemplate": "fired at %{x:,}"}


def _rate(run: Run, position: int, fired: list[int]) -> Trace:
    size = -(-run.updates // RATE_BINS)
    starts = range(0, run.updates, size)
    ends = [min(start + size, run.updates) for start in starts]
    counts = Counter((update - 1) // size for update in fired)
    per_update = [counts[bin_] / (end - start) for bin_, (start, end) in enumerate(zip(starts, ends, strict=True))]
    rates = Curve(ends, [100 * rate for rate in per_update])
    return line_trace(rates, position, name=_called(run, "firings in 100"), yaxis="y2", hovertemplate="%{y:.1f}")


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
        traces.append(line_trace(_percent(pseudo), position, name=_called(run, "pseudo accuracy")) | more)
    if "val/accuracy" in run.curves:
        found = _percent(run.curves["val/accuracy"])
        marks: Trace = {
            "mode": "lines+markers",
            "marker": {"size": 6, "color": colour(position)},
            "error_y": _error(run),
        }
        marks = marks if len(found.updates) <= MARKS else {}
        more = {"yaxis": "y3", "hovertemplate": "%{y:.1f} % at %{x:,}"}  # the nearest is shown, which may be far
        traces.append(line_trace(found, position, name=_called(run, "meta-val accuracy")) | marks | more)
    return traces


def _error(run: Run) -> dict[str, Any]:
    half = _percent(run.curves.get("val/ci95", Curve([], []))).values
    return {"type": "data", "array": half, "thickness": 1, "width": 3}


def inversion_terms(runs: Sequence[Run]) -> dict[str, str]:
    """Return what each term of the inversion means that one of the runs has logged, ours first."""
    logged = {key.removeprefix("inversion/") for run in runs for key in run.curves if key.startswith("inversion/")}
    further = dict.fromkeys(sorted(logged - MEANINGS.keys()), "a further prior of the run")
    return {term: meaning for term, meaning in (MEANINGS | further).items() if term in logged}


def inversion(runs: Sequence[Run], term: str) -> Figure | None:
    """Return one term of the inversion loss over the updates; None where no run has it."""
    key = f"inversion/{term}"
    traces = []
    for position, run in enumerate(runs):
        if key in run.curves:
            raw = thinned(run.curves[key], POINTS)
            name = _called(run, term.replace("_", " "))
            traces.append(line_trace(raw, position, name=name, hovertemplate="%{y:.4g}", line_width=1.6))
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
            trace = line_trace(Curve([], accuracies), position, name=plain(run.name), mode="lines+markers")
            trace |= {"x": [moment.minutes for moment in run.times], "text": [f"{m.update:,}" for m in run.times]}
            bars = {"error_y": _error(run)} if len(_error(run)["array"]) == len(run.times) else {}
            traces.append(trace | bars | {"hovertemplate": "%{y:.1f} % after %{x:.1f} min, %{text} updates"})
    layout = {
        "height": 300,
        "hovermode": "closest",
        "hoverdistance": -1,  # however far the nearest is: there are few of them
        "xaxis": {"title": {"text": "minutes of training"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "accuracy on meta-val"}, "ticksuffix": " %"},
    }
    return {"data": traces, "layout": layout} if traces else None


def _decades(values: Sequence[float]) -> Mapping[str, Any]:
    """Return a logarithmic axis where values span more than one decade, which a linear one would press flat."""
    if values and min(values) > 0 and max(values) > 10 * min(values):
        return {"type": "log", "dtick": 1, "exponentformat": "power"}
    return {"nticks": 6, "exponentformat": "SI"}


def line_trace(curve: Curve, position: int, line_width: float = 2.2, **more: Any) -> Trace:
    """Return a curve in the colour of the run at ``position``, with ``more`` properties of plotly's scatter."""
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
    return plain(f"{run.name}: {what}")


def plain(name: str) -> str:
    """Return a name as plotly, which takes tags in names for markup, shows it letter by letter."""
    return html.escape(name, quote=False)


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
