"""Follows every link inside the built site: ``python docs/check_links.py docs/_build/html``."""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Anchors(HTMLParser):
    """The links and the ids of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        link = found.get("href") if tag == "a" else found.get("src")
        if link:
            self.links.append(link)


@cache
def anchors(page: Path) -> Anchors:
    return Anchors(page)


def broken_links(site: Path) -> list[str]:
    """Links to files or ids that are not there, with the page they stand on."""
    broken = []
    for page in sorted(site.rglob("*.html")):
        if page.relative_to(site).as_posix() == "_modules/index.html":
            continue  # Sphinx lists a page of the built-ins there that it does not write
        for link in anchors(page).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
            fragment = unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{page.relative_to(site)}: {link}: there is no such file")
            elif fragment and target.suffix == ".html" and fragment not in anchors(target).ids:
                broken.append(f"{page.relative_to(site)}: {link}: there is no such place")
    return broken


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[1]))
    sys.exit("\n".join(found) if found else 0)
