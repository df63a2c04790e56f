"""What was changed by hand stands in the page, in order, and nothing of it is taken for HTML."""

from dataclasses import replace

from example_run import example_result

from dids.report.page import report_html
from dids.report.record import RunRecord
from dids.report.steering import steering_section


def steered():
    run = RunRecord.from_dict(example_result())
    change = {"field": "mixture.floor", "before": 0.25, "after": None}
    steering = {
        "changes": [{"round": 2, "step": 9, "tokens": 123_456, "changes": [change]}],
        "refused": [{"round": 1, "sentence": "steering.yaml, line 3: <b> is no field."}],
    }
    regrouped = {"from": ["web"], "into": ["web/0", "web/1"]}
    joined = {"from": [], "into": ["news"]}
    told = {"round": 3, "step": 12, "tokens": 200_000, "changes": [regrouped, joined]}
    return replace(run, steering=steering, regroupings=(told,))


def test_changes_refusals_and_regroupings_stand_in_their_order():
    section = str(steering_section(steered()))
    places = [
        section.index(text)
        for text in (
            "Refused: steering.yaml, line 3: &lt;b&gt; is no field.",
            "<code>mixture.floor</code>: 0.25 → <b>none</b>",
            "<code>web</code> became <code>web/0</code>, <code>web/1</code>",
            "<code>news</code> joined the run",
        )
    ]
    assert places == sorted(places)


def test_the_page_leads_to_it_where_there_is_something_to_see():
    assert 'href="#steering"' in report_html(steered())
    unsteered = report_html(RunRecord.from_dict(example_result()))
    assert "#steering" not in unsteered
    assert 'id="steering"' not in unsteered
