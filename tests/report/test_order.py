"""Where a policy measured whether the order of domains matters, the page shows it as a matrix."""

import pytest
from example_run import example_result

from dids.report import RunRecord
from dids.report.groups import source_groups
from dids.report.order import MAX_DOMAINS, order_map
from dids.report.page import report_html


def run_with_brackets():
    result = example_result()
    entry = result["mixture"][-1]
    names = list(entry["probability"])
    entry["explanation"]["brackets"] = [
        [(j - i) * 1e-5 for j in range(len(names))] for i in range(len(names))
    ]
    return RunRecord.from_dict(result), names


def test_cells_are_parts_of_the_largest_in_the_order_of_the_page():
    run, names = run_with_brackets()
    found = order_map(run, source_groups(run))
    assert found.round == run.mixture[-1].round
    assert sorted(found.domains) == sorted(names)[:MAX_DOMAINS]
    place = {name: number for number, name in enumerate(names)}
    largest = len(names) - 1
    for row in found.rows:
        for column, cell in zip(found.domains, row.cells, strict=True):
            expected = (place[column] - place[row.domain]) / largest
            assert cell.value == pytest.approx(expected)
    page = report_html(run)
    assert 'id="order"' in page
    assert f"{found.rows[0].domain} before {found.domains[1]}: " in page


def test_a_run_without_brackets_has_no_such_section():
    run = RunRecord.from_dict(example_result())
    assert order_map(run, source_groups(run)) is None
    assert 'id="order"' not in report_html(run)


def test_brackets_of_other_domains_are_not_shown():
    result = example_result()
    result["mixture"][-1]["explanation"]["brackets"] = [[0.0]]
    run = RunRecord.from_dict(result)
    assert order_map(run, source_groups(run)) is None
