"""The page about other people's trainers names what there is; `test_code_blocks` runs it."""

import re

from pages import ROOT, text_of


def test_every_public_name_is_there():
    table = text_of(ROOT / "docs" / "trainers.md").partition("## The public API")[2]
    found = re.findall(r"^\| `(dids[\w.]*)\.(\w+)`", table, re.MULTILINE)
    assert len(found) >= 10
    for module, name in found:
        assert hasattr(__import__(module, fromlist=[name]), name)
