"""The spread of accuracies over episodes, as a figure."""

from collections.abc import Sequence

from purer_lightning.report.curves import Curve
from purer_lightning.report.figures import Figure, Trace, colour, line_trace, plain

BINS = 25  # over 0 to 100 %


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
        trace = line_trace(curve, position, name=plain(name), line=line, hovertemplate="%{y:.1f} % of the episodes")
        traces.append(
            trace
            | {"x": [edge + 50 / BINS for edge in edges], "fill": "none" if dashed or len(runs) > 1 else "tozeroy"}
        )
    layout = {
        "height": 320,
        "hovermode": "x unified",
        "margin": {"r": 28},  # room for half of "100 %"
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
