"""HTML from small functions. What is not marked as Html is text and is escaped, wherever it comes from."""

import html as standard
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Html(str):
    """Markup: a string that is put into a page as it is."""


def html(value: object) -> Html:
    """Return markup as it is, and anything else as escaped text."""
    return value if isinstance(value, Html) else Html(standard.escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Html:
    """Return the parts as one piece of markup."""
    return Html(between.join(html(part) for part in parts))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: of the element.
        children: markup, or text.
        attributes: ``class_`` stands for ``class``, ``data_run`` for ``data-run``; None and False leave one out, True
            gives one without a value.
    """
    written = "".join(_attribute(key.strip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in ("img", "input"):
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{standard.escape(str(value))}"'


def table(caption: object, head: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object) -> Html:
    """Return a table in a box that scrolls by itself where the window is too narrow.

    Args:
        caption: what the table is of.
        head: names of the columns.
        rows: cells; the first of each names the row.
        attributes: of the table.
    """
    top = tag("tr", *[tag("th", cell, scope="col") for cell in head])
    body = [tag("tr", tag("th", row[0], scope="row"), *[tag("td", cell) for cell in row[1:]]) for row in rows]
    content = (tag("caption", caption), tag("thead", top), tag("tbody", *body))
    return tag(
        "div", tag("table", *content, **attributes), class_="scroll", tabindex="0", role="group", aria_label="Table"
    )


def details(summary: object, *content: object, opened: bool = False) -> Html:
    """Return what is folded away under one line."""
    return tag("details", tag("summary", summary), *content, open=opened)


def section(identity: str, title: str, *content: object) -> Html:
    """Return a section under a heading of the second level."""
    heading = tag("h2", title, id=f"{identity}-title")
    return tag("section", heading, *content, id=identity, aria_labelledby=f"{identity}-title")


def data(identity: str, value: object) -> Html:
    """Return plain values for the page's script; nothing in them can end the element. Not a number becomes null."""
    written = json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return tag("script", Html(written), type="application/json", id=identity)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot(identity: str, figure: Mapping[str, Any], label: str, caption: object) -> Html:
    """Return an interactive figure.

    Args:
        identity: unique in the page.
        figure: plotly's data and layout in plain types. A colour may be one of the page's, such as ``var(--run-0)``.
        label: what a reader who does not see the figure is told.
        caption: below the figure.
    """
    height = figure["layout"]["height"]
    drawing = tag("div", class_="plot", role="img", aria_label=label, style=f"min-height:{height}px")
    return tag("figure", drawing, data(identity, figure), tag("figcaption", caption), data_plot=identity)


def breakable(name: str) -> Html:
    """Return a name that may be broken after its underscores, where else it would be too long for a phone."""
    return Html(html(name).replace("_", "_<wbr>"))


def percent(fraction: float, digits: int = 1) -> str:
    """Return 0.353 as ``35.3``; the unit stands beside it or in the head of the column."""
    return f"{100 * fraction:.{digits}f}"
