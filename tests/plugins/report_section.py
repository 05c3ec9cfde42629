"""How long each run took, and how many updates it made in a minute."""

from purer_lightning.report.markup import Html, section, table
from purer_lightning.report.sections import Content, Section


class Pace(Section):
    """A table with a row a run."""

    def render(self, content: Content) -> Html:
        """Return the table, or nothing where no run has been timed."""
        rows = []
        for run in content.runs:
            if run.times:
                updates, minutes = run.times[-1].update, run.times[-1].minutes
                rows.append([run.name, f"{updates:,}", f"{minutes:.1f}", f"{updates / minutes:.0f}"])
        if not rows:
            return Html("")
        return section("pace", "Pace", table("Updates and minutes", ["run", "updates", "minutes", "a minute"], rows))
