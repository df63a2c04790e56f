"""How the run was steered while it went on: edits of ``steering.yaml``, other domains."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from dids.report.numbers import count_text
from dids.report.record import RunRecord

_SECTION = Markup(
    """<section id="steering">
  <h2>Steering</h2>
  <p class="lede">What was changed by hand while the run went on, and from when it held.</p>
  <table class="tasks">
    <thead>
      <tr><th scope="col">Round</th><th scope="col">Tokens</th><th scope="col">What</th></tr>
    </thead>
    <tbody>
{}
    </tbody>
  </table>
</section>"""
)
_ROW = Markup('      <tr><th scope="row">{}</th><td>{}</td><td class="text">{}</td></tr>')


def steering_section(run: RunRecord) -> Markup:
    """The section as HTML, its rows in the order in which things happened.

    Args:
        run: The record.

    Returns:
        Nothing where nobody steered.
    """
    rows = sorted(_rows(run), key=lambda row: row[0])
    if not rows:
        return Markup("")
    shown = (
        _ROW.format(number, "–" if tokens is None else count_text(tokens), what)
        for number, tokens, what in rows
    )
    return _SECTION.format(Markup("\n").join(shown))


def _rows(run: RunRecord) -> Iterator[tuple[int, int | None, Markup]]:
    for entry in run.steering.get("changes", ()):
        for change in entry["changes"]:
            yield entry["round"], entry["tokens"], _change(change)
    for entry in run.steering.get("refused", ()):
        yield entry["round"], None, Markup("Refused: {}").format(entry["sentence"])
    for entry in run.regroupings:
        for change in entry["changes"]:
            yield entry["round"], entry["tokens"], _regrouping(change)


def _change(change: Mapping[str, Any]) -> Markup:
    text = Markup("<code>{}</code>: {} → <b>{}</b>")
    return text.format(change["field"], *(_value(change[side]) for side in ("before", "after")))


def _regrouping(change: Mapping[str, Any]) -> Markup:
    before, now = (Markup(", ").join(_name(n) for n in change[side]) for side in ("from", "into"))
    if not change["from"]:
        return Markup("{} joined the run").format(now)
    return Markup("{} became {}").format(before, now)


def _name(name: str) -> Markup:
    return Markup("<code>{}</code>").format(name)


def _value(value: Any) -> str:  # noqa: ANN401 (whatever a config may say)
    return "none" if value is None else str(value)
