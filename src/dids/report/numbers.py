"""Numbers as people read them: few digits, a unit, a true minus sign."""

import math

MINUS = "\N{MINUS SIGN}"
FIXED = "\N{NO-BREAK SPACE}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
NONE = "\N{EN DASH}"


def count_text(value: float | None) -> str:
    """A count with thousands separated, or with a unit above ten thousand.

    Example:
        >>> [count_text(value) for value in (0, 812, 9_876, 45_230, 2_000_000, 3.1e9)]
        ['0', '812', '9,876', '45.2\u202fk', '2.00\u202fM', '3.10\u202fG']
    """
    if value is None or not math.isfinite(value):
        return NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and abs(value) >= 1e4:
            return f"{_three_digits(value / size)}{NARROW}{unit}"
    return _signed(f"{value:,.0f}")


def loss_text(value: float | None) -> str:
    """A loss in nats, to three decimals.

    Example:
        >>> loss_text(3.14159), loss_text(None), loss_text(-0.0001)
        ('3.142', '\u2013', '0.000')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return _signed(f"{value:.3f}")


def impact_text(value: float | None) -> str:
    """A cosine in a narrow cell: two decimals, no leading zero.

    Example:
        >>> impact_text(0.4612), impact_text(-0.0012), impact_text(1.0), impact_text(None)
        ('.46', '.00', '1.00', '')
    """
    if value is None or not math.isfinite(value):
        return ""
    text = _signed(f"{value:.2f}")
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def impact_with_error(value: float, error: float | None) -> str:
    """A cosine and its standard error, in one piece that no line break divides.

    Example:
        >>> impact_with_error(-0.3, 0.08).split(), impact_with_error(0.3, None)
        (['−.30', '±', '.08'], '.30')
    """
    text = impact_text(value)
    return text if error is None else f"{text}{FIXED}±{FIXED}{impact_text(error)}"


def percent_text(fraction: float | None, *, signed: bool = False, digits: int = 1) -> str:
    """A fraction in percent.

    Example:
        >>> percent_text(0.0416), percent_text(-0.033, signed=True), percent_text(0.02, signed=True)
        ('4.2\u202f%', '\u22123.3\u202f%', '+2.0\u202f%')
    """
    if fraction is None or not math.isfinite(fraction):
        return NONE
    text = _signed(f"{100 * fraction:+.{digits}f}" if signed else f"{100 * fraction:.{digits}f}")
    return f"{text}{NARROW}%"


def duration_text(seconds: float | None) -> str:
    """A time span.

    Example:
        >>> duration_text(0.42), duration_text(48), duration_text(252), duration_text(7_620)
        ('0.4\u202fs', '48\u202fs', '4\u202fmin 12\u202fs', '2\u202fh 7\u202fmin')
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60}{NARROW}min"


def plural(number: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "task"), plural(0, "task"), plural(2, "pass", "passes")
        ('1 task', '0 tasks', '2 passes')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _three_digits(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return _signed(f"{value:.{digits}f}")


def _signed(text: str) -> str:
    if text.startswith("-"):
        is_zero = not any(digit in "123456789" for digit in text)
        return text[1:] if is_zero else MINUS + text[1:]
    if text.startswith("+") and not any(digit in "123456789" for digit in text):
        return text[1:]
    return text
