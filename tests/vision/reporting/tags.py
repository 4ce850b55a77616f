"""Tags: which elements a page has, and whether they are closed."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Notes the elements of a page, and whether each is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.open: list[str] = []
        self.well_formed = True
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value or "" for name, value in attributes if name in {"href", "src", "action", "srcset"}]
        if tag not in {"meta", "br", "hr", "img", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.well_formed &= bool(self.open) and self.open.pop() == tag
