"""The page's files: what its content security policy asks of them, checked without a browser."""

import re
from html.parser import HTMLParser

from tests.serving.page.stub import PAGE

FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir()) if path.is_file()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.inline: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.inside = tag if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self.inside and data.strip():
            self.inline.append(data)
        self.inside = ""


def read_index() -> _Reader:
    reader = _Reader()
    reader.feed(FILES["index.html"])
    return reader


def test_the_html_has_no_inline_script_or_style() -> None:
    reader = read_index()

    assert not reader.inline
    assert not [each for each in reader.attributes if each[1] == "style" or each[1].startswith("on")]


def test_every_file_that_the_page_names_lies_beside_it() -> None:
    named = [value for tag, name, value in read_index().attributes if name == "src" or (tag, name) == ("link", "href")]
    imported = [name for text in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)]

    assert {*(value.removeprefix("page/") for value in named), *imported} == FILES.keys() - {"index.html"}


def test_no_file_names_another_server() -> None:
    known = {"http://www.w3.org/2000/svg"}  # a name, which is not fetched

    assert {address for text in FILES.values() for address in re.findall(r"https?://[\w./]+", text)} <= known


def test_no_script_makes_markup_or_code_of_text() -> None:
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.style"

    assert not [name for name, text in SCRIPTS.items() if re.search(risky, text)]


def test_each_id_that_a_script_looks_up_is_in_the_html_once() -> None:
    ids = [value for _, name, value in read_index().attributes if name == "id"]
    wanted = {found for text in SCRIPTS.values() for found in re.findall(r'byId\("([\w-]+)"\)', text)}

    assert wanted <= set(ids)
    assert len(ids) == len(set(ids))


def test_no_file_is_longer_than_300_lines_and_no_line_than_120_characters() -> None:
    assert not {name for name, text in FILES.items() if len(text.splitlines()) > 300}
    assert not [(name, line) for name, text in FILES.items() for line in text.splitlines() if len(line) > 120]
