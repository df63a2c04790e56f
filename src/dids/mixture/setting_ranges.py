"""Ranges that settings of policies must lie in; a `ValueError` names the setting and its range."""


def check_positive(**settings: float) -> None:
    """Refuse a setting that is not above 0.

    Example:
        >>> check_positive(speed=0.5, budget=1.0)
        >>> check_positive(speed=0.0)
        Traceback (most recent call last):
        ...
        ValueError: speed must be above 0, but it is 0.0.
    """
    for name, value in settings.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be above 0, but it is {value}.")


def check_not_negative(**settings: float) -> None:
    """Refuse a setting that is not 0 or more."""
    for name, value in settings.items():
        if not value >= 0.0:
            raise ValueError(f"{name} must be 0 or more, but it is {value}.")


def check_below_one(**settings: float) -> None:
    """Refuse a setting, such as the weight of what came before, that is not from 0 to below 1."""
    for name, value in settings.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must be from 0 to below 1, but it is {value}.")


def check_share(**settings: float) -> None:
    """Refuse a setting that is not from 0 to 1."""
    for name, value in settings.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be from 0 to 1, but it is {value}.")
