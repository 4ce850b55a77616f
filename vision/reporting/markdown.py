"""Markdown: text that is shown as it is, and Markdown as HTML."""

import re

from markdown_it import MarkdownIt

INLINE = re.compile(r"[\\`*_\[\]|~$]|:(?=//)|(?<=\bwww)\.")  # emphasis, code, links, cells, formulas, addresses
BLOCK = re.compile(r"^([#>+=-]|\d{1,9}(?=[.)](\s|$)))")  # headings, quotes, lists, rules
ENTITY = re.compile(r"&(?=#?\w+;)")


def escape_markdown(value: object) -> str:
    """Return text that Markdown shows as it is: no markup, links or HTML.

    It may stand in a paragraph, a list, a table's cell or a link's text. White space and characters that cannot be
    printed become single spaces.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    text = ENTITY.sub("&amp;", text)
    text = INLINE.sub(r"\\\g<0>", text).replace("<", "&lt;")
    return BLOCK.sub(lambda found: f"\\{found[0]}" if not found[0].isdigit() else f"{found[0]}\\", text)


def render_markdown(text: str) -> str:
    """Return CommonMark with tables as HTML; HTML in it is shown as text, and links and images stay text too."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    return str(parser.disable(["link", "image", "autolink", "reference"]).render(text))
