"""The charts' numbers are the run's numbers, also when there are very many domains."""

import pytest
from example_run import TASKS, WITH_LOSS, example_result

from dids.report import RunRecord
from dids.report.charts import MAX_AREAS, MAX_SOURCES, loss_charts, mixture_chart
from dids.report.groups import source_groups
from dids.report.palette import HUES
from dids.report.tables import MAX_HEAT_ROWS, heat_map, stage_times


def wide_run(num_sources, domains_each):
    names = {f"s{i}/{j}": f"s{i}" for i in range(num_sources) for j in range(domains_each)}
    share = 1 / len(names)
    return RunRecord.from_dict(
        {
            **example_result(),
            "domains": {
                name: {"samples": 10, "tokens": 100, "source_counts": {source: 10}}
                for name, source in names.items()
            },
            "mixture": [
                {"round": i, "step": i, "tokens": i, "probability": dict.fromkeys(names, share)}
                for i in range(3)
            ],
            "impact": [
                {"round": 1, "step": 1, "cosine": {n: dict.fromkeys(TASKS, 0.1) for n in names}}
            ],
        }
    )


def column_sums(chart):
    return [sum(column) for column in zip(*(a["shares"] for a in chart["areas"]), strict=True)]


@pytest.mark.parametrize(("num_sources", "each"), [(3, 4), (10, 100), (200, 5)])
def test_the_areas_fill_the_chart_however_many_domains_there_are(num_sources, each):
    run = wide_run(num_sources, each)
    chart = mixture_chart(run, source_groups(run))
    assert column_sums(chart) == pytest.approx([1.0] * 3)
    assert len(chart["areas"]) <= max(MAX_AREAS, MAX_SOURCES)


def test_an_area_holds_its_domains_shares():
    run = RunRecord.from_dict(example_result())
    chart = mixture_chart(run, source_groups(run))
    assert {area["name"]: area["shares"] for area in chart["areas"]} == {
        name: [mixture.probability[name] for mixture in run.mixture] for name in run.domains
    }


def test_the_sources_that_moved_the_most_have_a_colour():
    run = RunRecord.from_dict(example_result())
    groups = source_groups(run)
    coloured = [abs(g.last - g.first) for g in groups if g.is_emphasised]
    grey = [abs(g.last - g.first) for g in groups if not g.is_emphasised]
    assert len(coloured) == len(HUES)
    assert min(coloured) >= max(grey)
    assert len({domain.colour for g in groups if g.is_emphasised for domain in g.domains}) == sum(
        len(g.domains) for g in groups if g.is_emphasised
    )


def test_losses_stand_beside_the_controls():
    run = RunRecord.from_dict(example_result())
    charts = loss_charts(run)
    assert [chart["task"] for chart in charts] == WITH_LOSS
    assert charts[0]["run"] == [list(point) for point in run.tasks["gsm8k"].validation_history]
    assert len(charts[0]["control"]) == len(charts[0]["run"])


def test_the_heat_map_shows_the_last_measured_round():
    run = RunRecord.from_dict(example_result())
    heat = heat_map(run, source_groups(run))
    assert heat.round == run.impact[-1].round
    assert len(heat.rows) == 24
    cells = {
        (row.domain, t): c for row in heat.rows for t, c in zip(heat.tasks, row.cells, strict=True)
    }
    assert cells["gsm8k/0", "piqa"].value == run.impact[-1].cosine["gsm8k/0"]["piqa"]
    assert max(abs(cell.strength) for cell in cells.values()) == 1.0


def test_a_very_long_heat_map_says_what_it_hides():
    run = wide_run(20, 10)
    heat = heat_map(run, source_groups(run))
    assert len(heat.rows) == MAX_HEAT_ROWS
    assert heat.num_hidden == 200 - MAX_HEAT_ROWS


def test_the_longest_stage_fills_its_bar():
    run = RunRecord.from_dict(example_result())
    assert max(stage.fraction for stage in stage_times(run)) == 1.0
