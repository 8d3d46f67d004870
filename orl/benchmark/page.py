"""HTML built so that text from files stays text, and the frame of a page that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from orl.files import packaged

EMPTY_ELEMENTS = ("br", "img", "meta", "line", "path", "rect")


class Html(str):
    """Marks text that is HTML already; every other text is escaped where it enters an element."""

    __slots__ = ()


def element(name: str, /, *content: Any, **attributes: Any) -> Html:
    """Return an element.

    Parameters
    ----------
    content : Html, text, number, None, or a sequence of these
    attributes : name -> value
        `class_` means class, `data_pick` data-pick; True: without a value; None and False: left out.

    Examples
    --------
    >>> element("p", "a < b ", element("b", "c"), class_="note")
    '<p class="note">a &lt; b <b>c</b></p>'
    """
    told = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in EMPTY_ELEMENTS:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{_text(content)}</{name}>")


def _text(content: Any) -> str:
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return escape(content)
    if isinstance(content, Iterable):
        return "".join(map(_text, content))
    return "" if content is None else escape(str(content))


def table(
    caption: str,
    columns: Mapping[str, Sequence[Any]],
    numeric: Iterable[str] = (),
    picked: Iterable[str] = (),
    is_plain: bool = False,
) -> Html:
    """Return a table that page.js makes sortable, filterable and paged; its first column heads the rows.

    Parameters
    ----------
    caption : str
    columns : header -> entries
    numeric : headers
        Sorted by the number that an entry begins with.
    picked : headers
        Offered as a choice of values.
    is_plain : bool
        Whether it stays as it is.
    """
    numeric, picked = set(numeric), set(picked)
    heads = [
        element("th", name, scope="col", class_="n" if name in numeric else None, data_pick=name in picked)
        for name in columns
    ]
    classes = ["n" if name in numeric else None for name in columns]
    rows = [
        element(
            "tr",
            [
                element("td", entry, class_=kind) if index else element("th", entry, scope="row")
                for index, (entry, kind) in enumerate(zip(entries, classes, strict=True))
            ],
        )
        for entries in zip(*columns.values(), strict=True)
    ]
    parts = element("thead", element("tr", heads)), element("tbody", Html("\n".join(rows)))
    whole = element("table", element("caption", caption), parts)
    inner = element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return element("div", inner, class_="table" if is_plain else "table live")


def page(title: str, intro: Sequence[Any], sections: Sequence[tuple[str, Sequence[Any]]]) -> str:
    """Return a whole page; its policy forbids every load, and every script but its own.

    Parameters
    ----------
    title : str
    intro : sequence of Html
    sections : sequence of (heading, content)
        Listed at the top.
    """
    script, style = _part("page.js"), _part("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style)),
    )
    links = [element("li", element("a", heading, href=f"#s{index}")) for index, (heading, _) in enumerate(sections)]
    body = element(
        "body",
        element("a", "To the content", href="#s0", class_="skip"),
        element("button", "Dark", id="theme", type="button", hidden=True),
        element(
            "main",
            element("h1", title),
            intro,
            element("nav", element("ul", links), aria_label="Contents"),
            [
                element("section", element("h2", heading, id=f"s{index}"), content, aria_labelledby=f"s{index}")
                for index, (heading, content) in enumerate(sections)
            ],
        ),
        element("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _part(name: str) -> str:
    return (packaged("orl.benchmark") / name).read_text(encoding="utf-8")
