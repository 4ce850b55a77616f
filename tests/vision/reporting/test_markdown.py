import pytest

from tests.vision.reporting.tags import Tags
from vision.reporting.markdown import escape_markdown, render_markdown


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b>", "a | b", r"a\|b", "a\\", "`code`", "``", "*a* _b_ **c** ~~d~~", "[a](b)", "![a](b)", "[a]: b",
        "# a", "- a", "+ a", "1. a", "1) a", "> a", "---", "===", "~~~", "```", "&lt;", "&#60;", "<http://a.example>",
        "a & b", "http://a.example", "www.a.example", "$a$", "snake_case_name", "64.5% (FER+), 3.5 of 5; a > b", "-5",
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", ["{}", "- {}", "| a |\n| --- |\n| {} |"], ids=["paragraph", "list", "table"])
def test_escaped_text_is_shown_as_it_is(frame: str, text: str) -> None:
    shown = render_markdown(frame.format(escape_markdown(text)))

    tags = Tags(shown)
    assert set(tags.seen) <= {"p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags.seen.get("td", 1) == 1
    expected = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f">{expected}<" in shown


@pytest.mark.parametrize("text", ["a\nb", "a\r\n\r\nb", "a\u2028b", "a\x00b", "a\t \u202eb", " a b "])
def test_what_cannot_be_printed_becomes_one_space(text: str) -> None:
    assert escape_markdown(text) == "a b"


def test_markup_that_was_not_escaped_becomes_neither_html_nor_a_link() -> None:
    shown = render_markdown("<b>a</b> [b](http://c) ![d](http://e) <http://f>\n\n[g]: http://h\n\n<script>i</script>")

    assert set(Tags(shown).seen) == {"p"}


@pytest.mark.parametrize("text", ["a [b](c)", "]", "![a](b)", "a\\", "<b>", "a | b", "http://a.example", "`c`"])
def test_escaped_text_stays_inside_the_link_whose_text_it_is(text: str) -> None:
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark").render(f"[{escape_markdown(text)}](http://there.example)")

    expected = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown == f'<p><a href="http://there.example">{expected}</a></p>\n'
