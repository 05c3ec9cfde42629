"""The figures' data, held against plotly's own description of what is valid."""

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
import pytest

from purer_lightning.report import figures, spread
from purer_lightning.report.curves import Curve
from purer_lightning.report.runs import Run, read_run


@pytest.fixture(scope="module")
def read(finished_run: Path) -> Run:
    return read_run(finished_run)


def all_figures(runs: list[Run]) -> list[dict[str, Any]]:
    drawn = [figures.curriculum(runs), figures.against_time(runs), spread.distribution([("a", 0, True, [0.2, 1.0])])]
    return [
        figure for figure in [*drawn, *(figures.inversion(runs, t) for t in figures.inversion_terms(runs))] if figure
    ]


def test_plotly_knows_every_property(read: Run) -> None:
    drawn = all_figures([read, read])
    assert len(drawn) == 3 + len(figures.MEANINGS)
    for figure in drawn:
        go.Figure(json.loads(json.dumps(figure)))  # raises ValueError for a property or value that plotly lacks


def test_a_runs_name_is_never_markup_to_plotly(read: Run) -> None:
    runs = [read._replace(name="<a href='https://x.y'>r</a>"), read._replace(name="a&b")]
    named = spread.distribution([(run.name, position, False, [0.5]) for position, run in enumerate(runs)])
    for figure in (figures.curriculum(runs), figures.against_time(runs), figures.inversion(runs, "class"), named):
        assert figure is not None
        names = [trace["name"] for trace in figure["data"] if "name" in trace]
        assert not any("<" in name for name in names)
        assert any(name.startswith("a&amp;b") for name in names)
    alone = {trace.get("name") for trace in figures.curriculum(runs[:1])["data"]}
    assert alone >= {"difficulty", "meta-val accuracy"}


def test_firings_are_where_their_count_grows_also_where_not_every_update_is_logged(read: Run) -> None:
    sparse = {"curriculum/firings": Curve([10, 20, 30, 40], [0, 2, 2, 3])}
    assert figures.firing_updates(read._replace(curves=sparse)) == [20, 40]
    switch = read.curves["curriculum/switch"]
    adversarial = [update for update, on in zip(switch.updates, switch.values, strict=True) if on]
    assert adversarial  # an update is adversarial after the one in which the switch has fired
    assert [update for update in figures.firing_updates(read) if update < 12] == [update - 1 for update in adversarial]


def test_a_histogram_counts_each_episode_in_the_bin_of_its_accuracy() -> None:
    counts = spread.histogram([0.0, 0.6000000238418579, 0.8799999952316284, 0.99, 1.0, 1.0])
    assert sum(counts) == 6
    assert (counts[0], counts[15], counts[22], counts[24]) == (1, 1, 1, 3)


def test_an_axis_is_logarithmic_only_where_values_span_a_decade(read: Run) -> None:
    def axis(values: list[float]) -> str:
        run = read._replace(curves={"inversion/total": Curve([1, 2], values)})
        figure = figures.inversion([run], "total")
        assert figure is not None
        return str(figure["layout"]["yaxis"].get("type"))

    assert axis([1, 100]) == "log"
    assert axis([50, 100]) == axis([-1, 100]) == "None"


def test_a_run_whose_images_stand_still_has_no_figure_of_the_inversion(read: Run) -> None:
    still = read._replace(curves={"curriculum/difficulty": read.curves["curriculum/difficulty"]})
    assert figures.inversion([still], "total") is None


def test_many_firings_are_shown_as_a_rate(read: Run) -> None:
    updates = list(range(1, 4001))
    counts = Curve(updates, [float(max(update - 2000, 0)) for update in updates])
    run = read._replace(curves={**read.curves, "curriculum/firings": counts})
    figure = figures.curriculum([run, read])
    go.Figure(json.loads(json.dumps(figure)))
    (rate, _) = [trace for trace in figure["data"] if trace.get("yaxis") == "y2"]
    assert rate["y"] == [0.0] * 50 + [100.0] * 50
    assert rate["x"][-1] == 4000


def test_a_figure_of_sixty_thousand_updates_stays_small(read: Run) -> None:
    updates = list(range(1, 60_001))
    curves = {key: Curve(updates, [float(update) for update in updates]) for key in read.curves}
    figure = figures.curriculum([read._replace(curves=curves)])
    assert max(len(trace["x"]) for trace in figure["data"] if "meta-val" not in trace["name"]) <= figures.POINTS
