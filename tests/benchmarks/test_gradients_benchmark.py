"""The benchmark of gradients runs, and its yardsticks are right: a tiny model, one round."""

import json

import pytest
import torch

from benchmarks.gradients.__main__ import chosen_rows, measured_rows, parsed
from benchmarks.gradients.aims import aims_of
from benchmarks.gradients.exact_gradients import gradient_grams
from benchmarks.gradients.measured import Measured
from benchmarks.gradients.own_rows import OWN_ROWS
from benchmarks.gradients.peak_memory import note_memory
from benchmarks.gradients.rivals import RIVAL_ROWS
from benchmarks.gradients.rivals.naive_loop import NAIVE_FISHER
from benchmarks.gradients.row import PLAIN, Row
from benchmarks.gradients.rows import ROWS
from benchmarks.gradients.subject import SubjectSettings, load_subject, subject_folder
from benchmarks.gradients.table import as_json, inserted, markdown
from benchmarks.gradients.timing import alternated

SETTINGS = SubjectSettings(
    "tiny", num_tokens=16, batch_size=3, training_steps=2, parts=("reference", "tables")
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = subject_folder(SETTINGS, tmp_path_factory.mktemp("work"))
    return load_subject(folder, 6)


@pytest.fixture(scope="module")
def results(subject):
    rows = [*OWN_ROWS, *(row for row in RIVAL_ROWS if row.name == NAIVE_FISHER)]
    return measured_rows(rows, subject, 1, 60.0)


def test_every_row_of_ours_is_measured(results):
    for result in results:
        assert result.problem is None, result.row.name
        assert result.ratio > 0, result.row.name
        if result.row.kind == "features":
            assert result.num_dims == result.row.dim
            assert -1.0 <= result.correlation <= 1.0
        if result.row.kind == "fisher":
            assert result.relative_error < 1e-5


def test_the_table_and_its_json_have_every_row(results):
    aims = aims_of(results, "7m", {64: 100.0, 512: 101.0})
    text = markdown(results, aims, {"threads": 1}, 48)
    found = json.loads(json.dumps(as_json(results, aims, {"threads": 1}, 48)))
    for result in results:
        assert f"| {result.row.name} |" in text
    assert [row["name"] for row in found["rows"]] == [result.row.name for result in results]
    assert "flat in the number of samples: eight times as many, at most 1.05 | 1.010 | yes" in text


def test_a_table_goes_between_its_markers_and_nowhere_else():
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\nkept\n<!-- /y -->\n"
    assert inserted(page, "x", "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="<!-- z -->"):
        inserted(page, "z", "new\n")


def test_grams_are_those_of_whole_gradients_in_float64(subject):
    model = subject.model_copy().double()
    rows = []
    for batch in subject.batches:
        for ids_t in batch["input_ids"]:
            log_probability_tv = model(input_ids=ids_t[None]).logits[0].log_softmax(-1)
            loss = -log_probability_tv[:-1].gather(1, ids_t[1:, None]).mean()
            rows.append(torch.autograd.grad(loss, tuple(model.parameters())))
    names = [name for name, _ in model.named_parameters()]
    kept = {
        "all": names,
        "linear": [name for name in names if name.endswith("proj.weight")],
    }
    grams = gradient_grams(subject, max_bytes=4 * 6 * 3000)  # several groups of parameters
    for which, chosen in kept.items():
        flat_np = torch.stack(
            [
                torch.cat([g.flatten() for n, g in zip(names, row, strict=True) if n in chosen])
                for row in rows
            ]
        )
        torch.testing.assert_close(grams[which], flat_np @ flat_np.T, rtol=1e-4, atol=1e-5)


def test_a_missing_library_is_a_row_that_says_so(subject):
    def prepared(subject):
        raise ModuleNotFoundError("No module named 'nowhere'")

    rows = [OWN_ROWS[0], Row("elsewhere", "features", prepared)]
    results, steps = alternated(rows, subject, 1, 60.0)
    assert results[1].problem == "not installed: No module named 'nowhere'"
    assert "| elsewhere | not installed: No module named 'nowhere' |" in markdown(
        results, [], {}, 48
    )
    assert list(steps) == [PLAIN]


def test_a_row_that_cannot_run_twice_is_measured_once(subject):
    results, _ = alternated(OWN_ROWS[:1], subject, 5, 1e-9)
    assert len(results[0].seconds) == 1


def test_what_was_timed_before_ctrl_c_is_told(subject, capsys):
    calls = []

    def step(batch):
        calls.append(torch.ones(100, 100) @ torch.ones(100, 100))
        if len(calls) == stops_at:
            raise KeyboardInterrupt

    row = Row(PLAIN, "pass", lambda _: step)
    stops_at = 8  # warmed up in one call, a round is a row between two baselines
    results, _ = alternated([row], subject, 5, 60.0)
    assert len(results[0].ratios) == 2
    assert "stopped: 2 of 5 rounds are told of" in capsys.readouterr().err
    calls.clear()
    stops_at = 3
    with pytest.raises(KeyboardInterrupt):
        alternated([row], subject, 5, 60.0)


def test_memory_is_that_of_the_rows_own_process(subject):
    # ru_maxrss starts at what the parent had: a parent of 600 MB more showed in every row.
    held = torch.ones(150_000_000)
    results = [Measured(OWN_ROWS[0])]
    note_memory(results, subject)
    assert 0 < results[0].loaded_mb <= results[0].peak_mb
    assert results[0].peak_mb < 1.5 * results[0].loaded_mb
    assert len(held)


def made_up(name, ratio, correlation, dims, *, is_ours):
    row = Row(name, "features", lambda subject: lambda batch: None, is_ours=is_ours)
    return Measured(row, ratios=[ratio], correlation=correlation, num_dims=dims)


@pytest.mark.parametrize(
    ("ratio", "correlation", "dims", "is_met"),
    [
        (0.80, 0.97, 1050, False),  # cheaper and better
        (0.80, 0.90, 1050, True),  # cheaper, worse
        (0.95, 0.99, 1050, True),  # dearer, better
        (0.88, 0.97, 4000, True),  # against the row of 4,096, which is better
    ],
)
def test_a_rival_both_cheaper_and_better_is_named(ratio, correlation, dims, is_met):
    results = [
        made_up("DIDS one-sided, 1,024", 0.9, 0.95, 1024, is_ours=True),
        made_up("DIDS one-sided, 4,096", 0.9, 0.98, 4096, is_ours=True),
        made_up("rival", ratio, correlation, dims, is_ours=False),
    ]
    aim = next(aim for aim in aims_of(results, "7m", {}) if "no other library" in aim.text)
    assert aim.is_met is is_met
    assert is_met or aim.measured == "rival"


def test_rows_are_chosen_with_their_baselines():
    arguments = parsed(["--only", "*domains' gradients*", "--without", "bergson*"])
    chosen = chosen_rows(ROWS, arguments.only, arguments.without)
    assert [row.kind for row in chosen] == ["pass", "training", "training"]


def test_names_of_rows_are_unique():
    assert len({row.name for row in ROWS}) == len(ROWS)
