"""``steering.yaml`` as a run writes it: the present values, and what one may say in their place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dids.atomic import write_text
from dids.config.steering import Steering

_HEAD = """\
# Steers this run while it goes on. Edit and save: the file is checked at once and holds from the
# next round on. A slip is refused with one line, and the run goes on as before. A field that is
# left out has its default, not the config's value. What can be said here, with examples:
# the page "Steering" of the documentation.
"""
_MIXTURE = """
mixture:
  # Least share of every domain, as a fraction of 1/number of domains.
  floor: {floor}
  # Of each domain that a name fits (* for anything): floor, cap, pin (both at once) and prior.
  #   "web/*": {{floor: 0.02, cap: 0.3}}
  domains: {domains}
  # Of the sum of several domains and sources.
  #   code: {{domains: ["python/*"], sources: [c], floor: 0.2, cap: 0.4}}
  groups: {groups}
"""


def write_steering(path: Path, steering: Steering, size_by_domain: Mapping[str, int]) -> None:
    """Write the file for people to edit.

    Args:
        path: Where to.
        steering: The present values.
        size_by_domain: Samples of each domain, whose names the file lists.
    """
    write_text(path, steering_text(steering, size_by_domain))


def steering_text(steering: Steering, size_by_domain: Mapping[str, int]) -> str:
    """The file's text: YAML with comments."""
    values = steering.to_json()
    mixture = values["mixture"]
    parts = [
        _HEAD,
        _MIXTURE.format(
            floor=_inline(mixture["floor"]),
            domains=_block(mixture["domains"], "    "),
            groups=_block(mixture["groups"], "    "),
        ),
        "\ndata:\n  # Of a source, whatever its domains: floor, cap, pin and prior.\n",
        f"  sources: {_block(values['data']['sources'], '    ')}\n",
        "\n# How much each task counts, relative to the others.\n",
        f"tasks: {_block(values['tasks'], '  ')}\n",
        "\n# The domains, with their samples:\n",
        *(f"#   {name}  {size:,}\n" for name, size in size_by_domain.items()),
    ]
    return "".join(parts)


def _block(values: Mapping[str, Any], indent: str) -> str:
    if not values:
        return "{}"
    lines = (f"{indent}{_inline(name)}: {_inline(value)}" for name, value in values.items())
    return "\n" + "\n".join(lines)


def _inline(value: Any) -> str:  # noqa: ANN401
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True,
                          width=10**6)  # fmt: skip
    return text.removesuffix("...\n").strip()
