"""The documentation's pages and the code blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts),
]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n\n?)?"
    r"^(?P<ticks>`{3,})(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=ticks)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
MEASURED = re.compile(r"^<!-- (?P<name>[\w-]+-table) -->$.*?^<!-- /(?P=name) -->$", re.M | re.S)
"""What a run has printed, put there from its result."""


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        language: The word after the opening fence.
        body: What stands between the fences.
        line: Of the page, where the body begins, counted from 1.
        reason: Why it is not run, from the comment before it; None: it is run.
        follows: Whether nothing but white space stands between it and the block before.
    """

    language: str
    body: str
    line: int
    reason: str | None
    follows: bool

    @property
    def file_name(self) -> str | None:
        """The file that the block is, where its first line is a comment that names one."""
        found = re.match(r"# ([\w./-]+\.(?:py|yaml))\n", self.body)
        return found.group(1) if found else None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text_of(page))


def blocks_of(page: Path) -> list[Block]:
    text, end, found = text_of(page), 0, []
    measured = [match.span() for match in MEASURED.finditer(text)]
    for match in FENCE.finditer(text):
        if any(first <= match.start() < last for first, last in measured):
            continue
        found.append(
            Block(
                language=match["language"].strip(),
                body=match["body"],
                line=text.count("\n", 0, match.start("body")) + 1,
                reason=match["reason"],
                follows=bool(found) and not text[end : match.start()].strip(),
            )
        )
        end = match.end()
    return found
