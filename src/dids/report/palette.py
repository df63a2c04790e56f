"""Colours of the mixture: one hue a source, one lightness a domain, grey for what hardly moved.

More than eight hues cannot be told apart, so only the sources that moved the most get one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HUES = (255.0, 50.0, 155.0, 310.0, 95.0, 20.0, 200.0, 345.0)
# degrees in OKLCH: blue, orange, green, purple, yellow, red, teal, pink


@dataclass(frozen=True)
class Colour:
    """One colour for light and one for dark surroundings, as ``#rrggbb``."""

    light: str
    dark: str


def domain_colours(hue_index: int | None, num_domains: int) -> list[Colour]:
    """The colours of one source's domains, from strong to pale.

    Args:
        hue_index: Which of ``HUES``; None for grey.
        num_domains: How many colours.

    Returns:
        The colours in the order of the domains.

    Example:
        >>> domain_colours(None, 1)[0].light
        '#c4c4c4'
    """
    chroma = 0.0 if hue_index is None else 0.12
    hue = 0.0 if hue_index is None else HUES[hue_index % len(HUES)]
    light, dark = (0.82, 0.42) if hue_index is None else (0.66, 0.66)
    spread = 0.06 if hue_index is None else 0.14
    colours = []
    for index in range(num_domains):
        shift = spread * index / max(num_domains - 1, 1)
        away = 1.0 - 0.45 * shift / spread
        colours.append(
            Colour(
                oklch_hex(light + shift, chroma * away, hue),
                oklch_hex(dark - shift, chroma * away, hue),
            )
        )
    return colours


def emphasised(change_by_source: Sequence[tuple[str, float]], limit: int = len(HUES)) -> list[str]:
    """The sources that moved the most, the most first.

    Args:
        change_by_source: Pairs of source and change of its share; the sign does not matter.
        limit: How many at most.

    Returns:
        Their names.
    """
    ranked = sorted(change_by_source, key=lambda pair: (-abs(pair[1]), pair[0]))
    return [name for name, _ in ranked[:limit]]


def oklch_hex(lightness: float, chroma: float, hue: float) -> str:
    """An OKLCH colour as ``#rrggbb``, clipped into sRGB (Ottosson 2020).

    Args:
        lightness: From 0 (black) to 1 (white).
        chroma: From 0 (grey) to about 0.3.
        hue: In degrees.

    Returns:
        The colour.

    Example:
        >>> oklch_hex(1.0, 0.0, 0.0), oklch_hex(0.0, 0.0, 0.0), oklch_hex(0.628, 0.2577, 29.23)
        ('#ffffff', '#000000', '#ff0000')
    """
    a = chroma * math.cos(math.radians(hue))
    b = chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(max(x, 0.0), 1.0))):02x}" for x in linear)


def _gamma(linear: float) -> float:
    if linear <= 0.0031308:
        return 12.92 * linear
    return float(1.055 * linear ** (1 / 2.4) - 0.055)
