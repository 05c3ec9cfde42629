"""The report's sections, in their order, and the base class of further ones."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from purer_lightning.plugs import Registry, subclass_of
from purer_lightning.report.curriculum import inversion, training
from purer_lightning.report.episodes import episodes_section
from purer_lightning.report.images import galleries
from purer_lightning.report.markup import Html
from purer_lightning.report.overview import overview
from purer_lightning.report.results import Result
from purer_lightning.report.runs import Run
from purer_lightning.report.scores import results_section


class Content(NamedTuple):
    """What a report is about.

    Attributes:
        runs: with their settings (``run.setting("data.way")``) and curves (``run.curves["val/accuracy"]``).
        results: those of the runs, and baselines of the same episodes.
        root: the folder of the prepared data sets; None for the runs' own.
        pictures: whether pictures may be shown.
    """

    runs: Sequence[Run]
    results: Sequence[Result]
    root: str | None
    pictures: bool


class Section(ABC):
    """A section of the report.

    A section of your own is a subclass without arguments, named by its path (``purer report RUN --sections
    [package.module.Section]``), or offered by an entry point of the group ``purer_lightning.report_sections``. Make its
    HTML with ``report.markup``, which escapes whatever it is given.
    """

    @abstractmethod
    def render(self, content: Content) -> Html:
        """Return ``markup.section(identity, title, ...)``, or an empty text where there is nothing to show."""


class Overview(Section):
    """What was run, and on what."""

    def render(self, content: Content) -> Html:
        """Return the table of settings."""
        return overview(content.runs)


class Curriculum(Section):
    """Difficulty, firings and accuracies."""

    def render(self, content: Content) -> Html:
        """Return the curves."""
        return training(content.runs)


class Galleries(Section):
    """Pseudo images as they sharpened."""

    def render(self, content: Content) -> Html:
        """Return the galleries, unless pictures are left out."""
        return galleries(content.runs) if content.pictures else Html("")


class Inversion(Section):
    """The terms of the inversion loss."""

    def render(self, content: Content) -> Html:
        """Return a figure a term."""
        return inversion(content.runs)


class Results(Section):
    """Accuracies beside those of the baselines."""

    def render(self, content: Content) -> Html:
        """Return a table and a figure a task."""
        return results_section(content.runs, content.results)


class Episodes(Section):
    """The hardest and the easiest episodes."""

    def render(self, content: Content) -> Html:
        """Return them as pictures."""
        return episodes_section(content.runs, content.results, content.root, pictures=content.pictures)


SECTIONS: Registry[type[Section]] = Registry(
    "sections",
    {
        "overview": Overview,
        "curriculum": Curriculum,
        "galleries": Galleries,
        "inversion": Inversion,
        "results": Results,
        "episodes": Episodes,
    },
    subclass_of(Section),  # type: ignore[type-abstract]  # mypy wants a class that can be made
    group="report_sections",
)
