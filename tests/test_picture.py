"""The tutorial's picture: every domain's share in every round, to scale."""

import importlib.util
import xml.etree.ElementTree as ElementTree

import pytest
from pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bars_are_as_high_as_shares(picture):
    shares = [{"a<b": 0.25, "c": 0.75}, {"a<b": 0.5, "c": 0.5}]
    root = ElementTree.fromstring(
        picture.mixture_svg({"mixture": [{"probability": share} for share in shares]})
    )
    bars = [each for each in root.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    full = picture.HEIGHT - picture.TOP - picture.BOTTOM
    heights = [float(bar.get("height")) / full for bar in bars]
    assert heights == pytest.approx([0.25, 0.75, 0.5, 0.5], abs=1e-3)
    assert bars[0].find(f"{SVG}title").text == "a<b, round 1: 25.0%"
    labels = [each.text for each in root.iter(f"{SVG}text")]
    assert {"a<b 50%", "c 50%", "1", "2"} <= set(labels)


def test_more_domains_than_colours_are_all_drawn(picture):
    names = [f"d{number}" for number in range(2 * len(picture.COLOURS) + 1)]
    share = dict.fromkeys(names, 1 / len(names))
    svg = picture.mixture_svg({"mixture": [{"probability": share}]})
    assert all(f">{name}, round 1" in svg for name in names)
