"""A hook of mkdocs: equations become MathML when the pages are built, so that a reader's browser fetches no script."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

# As pymdownx.arithmatex writes them: \(...\) within a line, \[...\] on lines of its own.
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Return a page's HTML with MathML in place of LaTeX."""
    return EQUATION.sub(_to_mathml, content)


def _to_mathml(found: re.Match[str]) -> str:
    latex = html.unescape(found[3]).strip()
    if found[2] == "(":
        return str(convert(latex, display="inline"))
    # On a phone a long equation scrolls by itself, not the page with it.
    return f'<div style="overflow-x: auto; overflow-y: hidden">{convert(latex, display="block")}</div>'
