"""The plan before the bill: its formulas by value, its promises on a run of seconds."""

import gzip
import json
import os
import random
import signal
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tiny_run import write_config, write_jsonl

from dids import cli
from dids.config import load_config
from dids.data.record_fields import record_from_fields
from dids.data.records import Message, Origin, Record
from dids.data.sources import SourceFiles
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.run.plan import feature_stages, slices, training_stages
from dids.run.plan.calibration import Rehearsed
from dids.run.plan.estimate import Known, StageEstimate, Totals
from dids.run.plan.made_up_domains import Clustering, ClusteringPrice, dealt_domains
from dids.run.plan.pace import Pace
from dids.run.plan.processes import busiest_share, longest_s, without_shards_of_others
from dids.run.plan.run_plan import run_plan
from dids.run.plan.stage_clock import Bar, StageClock
from dids.run.plan.table import print_plan
from dids.run.plan.task_stages import LmEvalPrice, evaluating_s
from dids.run.plan.text_price import TextPrice
from dids.run.plan.volumes import share_read, volumes
from dids.run.stages import STAGES
from dids.training.checkpoints import write_state


class Silent(StageClock):
    """Progress that nobody sees."""


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Calibrations of a moment, whose temporary folders the test can see."""
    monkeypatch.setattr(training_stages, "TRAINING_S", 0.1)
    monkeypatch.setattr(feature_stages, "FEATURES_S", 0.1)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def planned(tmp_path, **changes):
    return run_plan(load_config(write_config(tmp_path, **changes)), Silent())


# -- formulas


def test_a_pace_is_read_off_steps_and_ends_of_rounds():
    # 9 steps in 3 rounds: 2 s each, 5 s more behind the third and the sixth; 7 s before the first
    # mark and 4 s behind the last.
    times, at = [], 7.0
    for step in range(9):
        times.append(at)
        at += 2.0 + (5.0 if step in (2, 5) else 0.0)
    bar = Bar("training", 0.0, [(time, 1 / 9) for time in times], times[-1] + 4.0)
    pace = Pace.of(bar, 3, times[-1] + 4.0)
    assert (pace.step_s, pace.round_s) == pytest.approx((2.0, 5.0))
    assert pace.rest_s == pytest.approx(7.0 + 4.0 - 2.0)
    assert pace.time_s(9, 3) == pytest.approx(times[-1] + 4.0)
    assert pace.time_s(90, 30) == pytest.approx(9.0 + 180.0 + 29 * 5.0)


def test_a_single_step_is_a_pace_too():
    assert Pace.of(Bar("", 0.0, [(3.0, 1.0)], 4.0), 1, 4.0) == Pace(3.0, 0.0, 1.0, 1)


def test_laps_at_whose_end_something_was_done_leave_out_what_came_before_them():
    # A model is loaded for 2 s, then two tests of 3 and 4 s with half a second between them.
    bar = Bar("testing", 1.0, [(3.0, 0), (6.0, 1), (6.5, 0), (10.5, 1)], 11.0)
    assert bar.done_laps_s == [3.0, 4.0]
    assert bar.all_laps_s == [2.0, 3.0, 0.5, 4.0]


def test_clustering_costs_by_passes_and_products():
    clustering = Clustering((100_000, 10_000), (10, 1))
    assert clustering.num_samples == 110_000
    assert clustering.passes() == 110_000 + 50_000
    whole = 100_000 * 10 + 20 * 2560 * 10 + 320 * 10 * 4 + 10_000 + 20 * 256 + 32 * 2
    sizes = (round(100_000 * 5 / 11), round(10_000 * 5 / 11))
    again = sizes[0] * 10 + 20 * 2560 * 10 + 320 * 10 * 4 + sizes[1] + 20 * 256 + 32 * 2
    assert clustering.products() == whole + again
    price = ClusteringPrice(num_samples=1, fixed_s=1.0, pass_s=1e-3, product_s=1e-6)
    expected = 1.0 + 160.0 + 1e-6 * (whole + again)
    assert price.time_s(clustering) == pytest.approx(expected)


def test_lm_eval_has_a_price_for_importing_models_and_items():
    price = LmEvalPrice.of(first_s=20.0, few_s=8.0, many_s=11.0, few=10, many=40)
    assert (price.import_s, price.model_s, price.item_s) == pytest.approx((12.0, 7.0, 0.1))
    assert price.time_s(2, 500) == pytest.approx(12.0 + 2 * (7.0 + 50.0))


def test_placing_by_text_has_a_price_for_vectors_learning_and_solving():
    price = TextPrice(
        memory_s=90.0, vector_s=0.5, product_s=0.1, known_s=2.0, other_s=3.0, solve_s=7.0
    )
    assert price.placing_s(num_groups=3, num_known=10, num_others=4) == 21.0 + 20.0 + 12.0
    # 300 samples have 2 centres: 64 train them for 20 rounds, all are assigned, the start is 256.
    products = 300 * 2 + 20 * 64 * 2 + 64 * 2 * 2
    assert price.drawing_s([300]) == pytest.approx(90.0 + 0.5 * 364 + 0.1 * products)


def test_totals_add_times_and_disk_and_take_the_highest_memory():
    def stage(time_s, memory, disk, is_measured):
        numbers = [Known(value, is_measured) for value in (time_s, memory, 0.0, disk)]
        return StageEstimate("x", *numbers, "")

    totals = Totals.of([stage(1.0, 50, 7, True), stage(2.5, 40, 8, False)])
    assert totals.time_s == Known(3.5, is_measured=False)
    assert totals.memory_bytes == Known(50, is_measured=True)
    assert totals.disk_bytes.value == 15


def test_dealt_domains_are_as_many_as_asked_for_and_stay_in_their_source():
    source_n = np.repeat([0, 1, 2], [400, 100, 4])
    domains = dealt_domains(source_n, ["a", "b", "c"], 8)
    assert len(domains) == 8
    assert (domains.source_counts_ks > 0).sum(1).tolist() == [1] * 8
    assert domains.source_counts_ks.sum(0).tolist() == [400, 100, 4]
    spread = [np.ptp(domains.size_k[domains.source_counts_ks[:, s] > 0]) for s in range(3)]
    assert max(spread) <= 1


# -- reading a part


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_the_share_of_a_file_that_was_read_is_known(tmp_path, ending):
    generator = random.Random(0)
    records = [{"text": f"{generator.random()} words {i}"} for i in range(2000)]
    octets = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        packed = {"gz": gzip.compress, "zst": zstandard.compress}.get(ending[6:], bytes)
        path.write_bytes(packed(octets))
    source = SourceFiles("a", (str(path),))
    assert share_read(source, Origin(str(path), 500)) == pytest.approx(0.25, rel=0.02)
    assert share_read(source, Origin(str(path), 2000)) == pytest.approx(1.0, rel=0.02)


def test_the_part_of_an_archive_that_looks_far_back_is_known(tmp_path):
    far = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=far).compressobj()
    octets = "".join(f"{json.dumps({'text': 'word'})}\n" for _ in range(2000)).encode()
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(packer.compress(octets) + packer.flush())
    last = Origin(str(path), 500)
    assert share_read(SourceFiles("a", (str(path),)), last) == pytest.approx(0.25, rel=0.02)


def test_what_there_was_no_time_to_read_is_carried_on_by_bytes(tmp_path):
    for number in range(3):
        write_jsonl(tmp_path / f"{number}.jsonl", [{"text": "word " * 20}] * 3000)
    source = SourceFiles("a", (str(tmp_path / "*.jsonl"),))
    (whole,) = volumes([source], seed=0)
    assert (whole.records, whole.share) == (9000, 1.0)
    (part,) = volumes([source], seed=0, seconds=0.0)
    assert part.share < 1.0
    assert part.records == pytest.approx(9000, rel=0.05)
    assert part.characters == pytest.approx(whole.characters, rel=0.05)


@pytest.mark.parametrize(
    "record",
    [
        Record(Origin("a", 1), text="ä text"),
        Record(Origin("a", 1), prompt="2+2=", completion="4", choices=("3", "4"), answer=1),
        Record(Origin("a", 1), messages=(Message("user", "?"), Message("assistant", "!"))),
    ],
)
def test_a_record_goes_through_a_slice_unchanged(record):
    fields = json.loads(slices._line(record))
    assert record_from_fields(fields, record.origin, "task") == record


# -- the plan of a run of seconds


def test_a_calibrated_plan_has_positive_numbers_that_add_up_and_leaves_nothing(tmp_path):
    before = {path.name for path in tmp_path.iterdir()}
    plan = planned(tmp_path)
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left == {"config.yaml", *(p.name for p in tmp_path.glob("*.jsonl"))}
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [stage.stage for stage in plan.stages] == [name for name in STAGES if name != "search"]
    for stage in plan.stages:
        assert stage.time_s.value > 0
        assert stage.memory_bytes.value > 1e8
        assert stage.disk_bytes.value > 0
        assert stage.how
    totals = Totals.of(list(plan.stages))
    assert totals.time_s.value == pytest.approx(sum(each.time_s.value for each in plan.stages))
    features = next(stage for stage in plan.stages if stage.stage == "features")
    assert features.disk_bytes == Known(plan.counts.feature_bytes, is_measured=True)
    # Without a calibration lengths are estimated otherwise, from the same records.
    counted = run_plan(load_config(tmp_path / "config.yaml"), Silent(), calibrate=False).counts
    assert plan.counts.num_features == counted.num_features
    for one, other in zip(plan.counts.sources, counted.sources, strict=True):
        assert one.num_samples == other.num_samples
        assert one.num_tokens == pytest.approx(other.num_tokens, rel=0.02)


def test_an_interrupted_calibration_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(work):
        assert list((tmp_path / "temporary").glob("dids-plan-*/run"))
        raise KeyboardInterrupt

    monkeypatch.setitem(STAGES, "impact", interrupted)
    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_a_dry_run_that_is_terminated_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def terminated(work):
        assert list((tmp_path / "temporary").glob("dids-plan-*/run"))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(STAGES, "impact", terminated)
    monkeypatch.setattr("sys.argv", ["dids", "run", str(write_config(tmp_path)), "--dry-run"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"domains": {"number": "sources"}, "control": None},
        {"domains": {"number": "auto", "within": "all"}, "features": {"dim": 64, "share": 0.5}},
        {"proxy": {"warmup_steps": 0}, "impact": {"overhead": 0.2, "validation_samples": 4}},
        {"mixture": {"policy": "doremi", "rounds": 2}},
        {"mixture": {"policy": "osmosis", "rounds": 2}},
        {"mixture": {"policy": "regmix", "rounds": 2, "settings": {"num_trials": 4}}},
        {"budget": {"tokens": 40}, "mixture": {"rounds": 1}},
        {"tasks": {"halved": "${HALVED}"}, "control": None},
    ],
)
def test_every_kind_of_run_can_be_planned(tmp_path, monkeypatch, changes):
    monkeypatch.setenv("HALVED", str(tmp_path / "sums-validation.jsonl"))
    plan = planned(tmp_path, **changes)
    stages = {stage.stage: stage for stage in plan.stages}
    assert ("features" in stages) == (changes.get("domains", {}).get("number") != "sources")
    assert ("control" in stages) == ("control" not in changes)
    trials = {"doremi": 2, "regmix": 4}.get(changes.get("mixture", {}).get("policy"))
    assert ("search" in stages) == (trials is not None)
    assert trials is None or stages["search"].how.endswith(f"of {trials} trials")
    assert all(stage.time_s.value > 0 for stage in plan.stages)


def test_a_finished_stage_is_said_to_be_done(tmp_path, capsys):
    config = load_config(write_config(tmp_path))
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").mark_done("check", elapsed_s=12.0)
    print_plan(config, run_plan(config, Silent()))
    row = next(line for line in capsys.readouterr().out.splitlines() if " check" in line)
    assert "12.0 s" in row
    assert "done already" in row


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"domains": {"number": 9999, "within": "all"}}, "domains.number is 9999"),
        ({"model": {"config": {"model_type": "llamma"}}}, "no model type 'llamma'"),
        ({"mixture": {"policy": "dids", "settings": {"emma": 1}}}, "no such setting"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        planned(tmp_path, **changes)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_a_bad_record_is_said_with_its_place(tmp_path):
    config = write_config(tmp_path)
    with (tmp_path / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"txet": "x"}\n')
    with pytest.raises(InputError, match=r"sums.jsonl, line 61"):
        run_plan(load_config(config), Silent())


def test_the_flag_without_a_dry_run_is_refused(tmp_path, monkeypatch, capsys):
    config = str(write_config(tmp_path))
    monkeypatch.setattr("sys.argv", ["dids", "run", config, "--no-calibration"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "--no-calibration goes with --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# -- the plan for several processes


def test_what_the_busiest_of_several_processes_does():
    assert longest_s([3.0, 1.0, 1.0, 2.0], 1) == 7.0
    assert longest_s([3.0, 1.0, 1.0, 2.0], 2) == 4.0  # 3, then nothing; 1, 1 and 2
    assert longest_s([3.0, 1.0], 4) == 3.0
    assert [busiest_share(7, number) for number in (1, 2, 7, 8)] == [1.0, 4 / 7, 1 / 7, 1 / 7]
    assert busiest_share(0, 2) == 1.0
    # Two models, one after the other: 4, 2 and 1 s of their tasks, then twice as much.
    slices_s = [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0]]
    assert [evaluating_s(slices_s, [4.0, 1.0, 1.0], number) for number in (1, 2, 3)] == [21, 12, 12]


def test_what_is_sharded_is_divided_and_the_rest_is_not(tmp_path):
    for number, size in (("4", 100), ("8", 1000)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"0" * size)
        (folder / "optimizer.pt").write_bytes(b"0" * 2 * size)
        (folder / "rng_state.pth").write_bytes(b"0" * 7)
        write_state(folder, {})
    (tmp_path / "checkpoint-4" / "more").write_bytes(b"")
    took = Rehearsed(1.0, 90, 10_000, 5, (), (), 1.0)
    # Of the newest: 1,000 of weights, as many of gradients, 2,000 of the optimizer.
    shared = without_shards_of_others(took, tmp_path, 4)
    assert (shared.device_bytes, shared.memory_bytes) == (10_000 - 3000, 90)
    assert without_shards_of_others(took, tmp_path, 1) == took
    on_cpu = Rehearsed(1.0, 90, 0, 5, (), (), 1.0)
    assert without_shards_of_others(on_cpu, tmp_path, 4) == on_cpu


@pytest.mark.parametrize(
    "changes", [{}, {"training": {"per_device_train_batch_size": 4, "fsdp": True}}]
)
def test_a_process_of_several_rehearses_its_share(tmp_path, monkeypatch, changes, capsys):
    rehearsed = {}

    def noted(name):
        stage = STAGES[name]

        def note(work):
            rehearsed[name] = work.config
            return stage(work)

        monkeypatch.setitem(STAGES, name, note)

    for name in ("proxy", "impact", "train"):
        noted(name)
    impact = {"task_samples": 6, "validation_samples": 9, "overhead": None}
    config = load_config(write_config(tmp_path, impact=impact, **changes))
    alone = run_plan(config, Silent(), calibrate=False)
    per_device = alone.counts.batch_size
    plan = run_plan(config, Silent(), num_processes=3)
    assert plan.counts.batch_size == 3 * per_device
    assert plan.counts.num_steps == pytest.approx(alone.counts.num_steps / 3, abs=1)
    # The first process warms the proxy up and measures it on the whole batches of all ...
    assert rehearsed["proxy"].budget.batch_size == 3 * per_device
    asked = rehearsed["impact"].impact
    assert plan.counts.on_proxy == plan.counts.measuring  # the model is its own proxy
    assert asked.task_samples == asked.proxy_task_samples == plan.counts.measuring.task_samples
    # ... and each trains on its part.
    assert rehearsed["train"].budget.batch_size == per_device
    assert rehearsed["train"].impact.task_samples == -(-plan.counts.measuring.task_samples // 3)
    assert rehearsed["train"].impact.validation_samples == 3
    train = next(stage for stage in plan.stages if stage.stage == "train")
    assert train.device_bytes.is_measured == ("training" not in changes)
    print_plan(config, plan)
    assert "processes: 3; times are those of the busiest" in capsys.readouterr().out
    print_plan(config, alone)
    assert "processes:" not in capsys.readouterr().out


def test_steps_that_processes_cannot_share_are_refused(tmp_path):
    config = load_config(write_config(tmp_path, budget={"tokens": 900, "batch_size": 8}))
    for calibrate in (True, False):
        with pytest.raises(InputError, match=r"8 samples cannot be dealt to 3 processes"):
            run_plan(config, Silent(), calibrate=calibrate, num_processes=3)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_processes_without_a_dry_run_are_refused(tmp_path, monkeypatch, capsys):
    config = str(write_config(tmp_path))
    monkeypatch.setattr("sys.argv", ["dids", "run", config, "--processes", "2"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "torchrun --nproc-per-node 2 -m dids run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_a_calibration_nothing_is_timed(tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError

    monkeypatch.setattr("dids.run.plan.run_plan.sliced", refuse)
    config = load_config(write_config(tmp_path))
    plan = run_plan(config, Silent(), calibrate=False)
    assert plan.stages == ()
    assert plan.counts.num_steps > 1
