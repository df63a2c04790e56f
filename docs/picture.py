"""Draws the mixture of a run as an SVG: ``python docs/picture.py RUN_FOLDER FILE``."""

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, TOP, LEFT, RIGHT, BOTTOM = 720, 320, 34, 44, 120, 34
COLOURS = ("#3b6fb6", "#e08a3c", "#4a9d6e", "#b5495b", "#8266b0", "#8a6d4f", "#c77ab0", "#7d8794",
           "#a8a63a", "#3fa7b5")  # fmt: skip


def mixture_svg(result: dict[str, Any]) -> str:
    """Stacked bars, one a round; every domain is named at its part of the last one."""
    rounds = [entry["probability"] for entry in result["mixture"]]
    names = sorted(rounds[0])
    step = (WIDTH - LEFT - RIGHT) / len(rounds)
    height = HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        "<title>Share of every domain in each round</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>',
    ]
    for number, share in enumerate(rounds):
        x, below, label = LEFT + number * step, 0.0, float(HEIGHT)
        for name, colour in zip(names, COLOURS * len(names), strict=False):
            y, size = TOP + height * (1 - below - share[name]), height * share[name]
            below += share[name]
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{size:.1f}" '
                f'fill="{colour}"><title>{escape(name)}, round {number + 1}: {share[name]:.1%}'
                "</title></rect>"
            )
            if number == len(rounds) - 1:
                label = min(y + size / 2 + 4, label - 13)  # names of thin bars do not touch
                parts.append(
                    f'<text x="{x + step + 6:.1f}" y="{label:.1f}">'
                    f"{escape(name)} {share[name]:.0%}</text>"
                )
        parts.append(
            f'<text x="{x + step / 2 - 1:.1f}" y="{HEIGHT - 16}" text-anchor="middle">'
            f"{number + 1}</text>"
        )
    parts += [
        f'<text x="{LEFT - 6}" y="{TOP + height * (1 - part) + 4:.0f}" text-anchor="end">'
        f"{part:.0%}</text>"
        for part in (0.0, 0.5, 1.0)
    ]
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 3}" fill="#555">round</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    found = json.loads((Path(sys.argv[1]) / "result.json").read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(mixture_svg(found), encoding="utf-8")
