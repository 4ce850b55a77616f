"""Pages: the templates, and how they become HTML or Markdown in which no value is markup."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context, select_autoescape
from jinja2.nodes import EvalContext

from vision.reporting.markdown import escape_markdown

TEMPLATES = Path(__file__).parent / "templates"


@pass_eval_context
def _escape_outside_html(context: EvalContext, value: object) -> object:
    """Escape what a Markdown template prints; Jinja itself escapes what an HTML template prints."""
    return value if context.autoescape else escape_markdown(value)


def _show_picture(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=select_autoescape(["html.j2"]),
    finalize=_escape_outside_html,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {"picture": _show_picture, "percent": "{:.2%}".format, "count": "{:,}".format}


def render_page(template: str, **values: Any) -> str:
    """Fill a template of `templates`: every value is escaped for HTML or for Markdown, as the template's name says."""
    return ENVIRONMENT.get_template(template).render(**values)
