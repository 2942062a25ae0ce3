"""The report as text: one body, printed as Markdown and as one HTML page that needs nothing besides itself.

`templates/body.j2` says what stands where and knows no markup. `markdown_parts.j2` and `html_parts.j2` print what it
asks for, and each escapes whatever came from outside. `figure_cells` and `figure_words` turn figures into words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cxr.evaluate.report import figure_cells, figure_words
from cxr.images.png import data_uri
from cxr.metrics.result import JsonObject
from cxr.request.notices import SYNTHETIC_NOTICE


def render(
    kind: str, report: JsonObject, plots: Mapping[str, bytes], pictures: Mapping[str, bytes], body: str = "body.j2"
) -> str:
    """Print a report or a comparison.

    Args:
        kind: "markdown", which links to ``plots/NAME.svg`` and ``pictures/NAME.png``; or "html", which holds them.
        report: plain values, as in `report.json`.
        plots: name -> SVG.
        pictures: name -> PNG.
        body: the template that says what stands where.
    """
    page = (
        _environment(kind)
        .get_template(f"{kind}.j2")
        .render(
            report=report, plots=plots, pictures=pictures, parts=f"{kind}_parts.j2", body=body, notice=SYNTHETIC_NOTICE
        )
    )
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def render_page(template: str, **values: object) -> str:
    """Print a template that is an HTML page by itself; what is put in is escaped."""
    return _environment("html").get_template(template).render(**values)


@cache
def _environment(kind: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("cxr.evaluate.report"),
        autoescape=kind == "html",  # noqa: S701  Markdown is escaped by its own filter
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = _public(figure_cells) | _public(figure_words)
    markup = {each.__name__: each for each in (flow, escape_markdown, inline_svg, data_uri)}
    environment.filters |= words | markup
    environment.globals |= words
    return environment


def _public(module: ModuleType) -> dict[str, object]:
    """The functions and classes that a module itself defines for others."""
    own = {name: each for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__}
    return {name: each for name, each in own.items() if not name.startswith("_")}


def flow(text: str) -> str:
    """One line of text from lines of a template; markup stays markup."""
    return type(text)(re.sub(r" (?=[,.;:)])", "", re.sub(r"\s+", " ", text)).strip())


def escape_markdown(text: object) -> str:
    """Text that Markdown prints as it is, also inside a table."""
    escaped = re.sub(r"([\\`*|])", r"\\\1", re.sub(r"\s+", " ", str(text)))
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)  # inside words they are harmless
    return escaped.replace("](", "]\\(").replace("<", "&lt;")


def inline_svg(svg: bytes, name: str, alt: str) -> Markup:
    """A plot for the inside of a page.

    Args:
        svg: from `cxr.evaluate.report.plots`.
        name: goes before its ids, which would otherwise meet those of other plots.
        alt: what a screen reader says.
    """
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1))  # noqa: S704  our own plot
