"""The benchmark of fidelity runs, and its yardsticks are right: few steps, few samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fidelity.corpora import CORPORA
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.evidence import Evidence
from benchmarks.fidelity.exercises import SKILLS, TASKS, write_exercises
from benchmarks.fidelity.one_run import CEILING, Protocol, measured_run
from benchmarks.fidelity.table import stage_table, summary_table
from benchmarks.fidelity.training import new_optimizer
from benchmarks.fidelity.truth import loss_drops
from dids.audit.agreement import agreement, mean_agreement
from dids.audit.checkpoint import Checkpoint, Samples
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages

PROTOCOL = Protocol(
    num_steps=8, checkpoints=(3, 6), horizons=(1, 2), batch_size=4, items=4, samples=3
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fidelity") / "run"
    return json.loads(json.dumps(measured_run("exercises", 0, folder, PROTOCOL)))


def test_every_estimator_is_compared_with_the_truth_everywhere(result):
    assert result["num_domains"] == len(SKILLS)
    assert [each["step"] for each in result["checkpoints"]] == [3, 6]
    for checkpoint in result["checkpoints"]:
        assert set(checkpoint["horizons"]) == {"1", "2"}
        for rows in checkpoint["horizons"].values():
            assert set(rows) == {CEILING, *ESTIMATORS}
            assert all(-1 <= row["rho"] <= 1 and 0 <= row["sign"] <= 1 for row in rows.values())


def test_tables_have_a_line_for_every_estimator(result):
    table = summary_table([result, result], "2")
    assert all(f"| {name} |" in table for name in (CEILING, *ESTIMATORS))
    name = next(iter(ESTIMATORS))
    assert "| exercises | early |" in stage_table([result], name)


@pytest.mark.parametrize("corpus", ["instruct", "python"])
def test_the_corpora_pass_the_check_of_their_data(corpus, request, tmp_path, monkeypatch):
    if corpus == "instruct":
        monkeypatch.setenv("DIDS_DATA", str(request.getfixturevalue("instruct_pack")))
    config = CORPORA[corpus](tmp_path / "run", 0)
    run_stages(config, RunFolder(Path(config.run)), ConsoleProgress(), last="check")


def test_agreement_is_one_with_itself_and_minus_one_turned_round():
    table = np.random.default_rng(0).normal(size=(6, 3))
    same, turned = agreement(table, table), agreement(-table, table)
    assert (same.rho, same.top1, same.sign) == (1.0, 1.0, 1.0)
    assert (turned.rho, turned.sign) == (-1.0, 0.0)
    assert mean_agreement(same, turned).rho == 0.0


def test_a_sample_with_a_long_step_counts_no_more_than_the_median_one():
    long, other, small = [100.0, 0.0], [0.0, 2.0], [0.0, 1.0]  # steps of 50, 2 and 1
    precondition = torch.tensor([0.5, 1.0])

    def cosine(name, task):
        domains = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
        scored, kept, none = [np.ones(1)] * 2, np.ones(2), torch.zeros(2)
        rows = [torch.tensor(task)]
        return ESTIMATORS[name](Evidence(domains, scored, rows, precondition, none, kept))[:, 0]

    plain, shortened = "its cosine (`step-cosine`)", "its cosine, long gradients shortened"
    assert cosine(plain, [long, other, small]).argmax() == 0
    np.testing.assert_allclose(
        cosine(shortened, [long, other, small]), cosine(plain, [[4.0, 0.0], other, small])
    )
    assert cosine(shortened, [long, other, small]).argmax() == 1


def test_exercises_are_the_same_every_time_and_tasks_share_no_item(tmp_path):
    first, again = (write_exercises(tmp_path / name) for name in "ab")
    for (_, one), (_, other) in zip(first[0].items(), again[0].items(), strict=True):
        assert Path(one).read_text("utf-8") == Path(other).read_text("utf-8")
    for task in TASKS:
        items = {
            split: {
                json.loads(line)["prompt"]
                for line in Path(first[1][task][split]).read_text("utf-8").splitlines()
            }
            for split in ("validation", "test")
        }
        assert not items["validation"] & items["test"]


class OneNumber(torch.nn.Module):
    """A model whose logits are what it has learned, whatever it reads."""

    def __init__(self):
        super().__init__()
        self.logit = torch.nn.Parameter(torch.zeros(4))

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        class Output:
            logits = self.logit.expand(*input_ids.shape, 4)

        return Output()


class OneToken:
    """Samples that are one token over and over."""

    def __init__(self, token):
        self.token, self.lengths = token, np.full(8, 3)

    def __getitem__(self, index):
        return {"input_ids": [self.token] * 3, "labels": [self.token] * 3}


def collate(items):
    return {name: torch.tensor([item[name] for item in items]) for name in ("input_ids", "labels")}


def test_the_truth_is_what_training_on_a_domain_does_and_leaves_no_trace():
    model = OneNumber()
    checkpoint = Checkpoint(model, new_optimizer(model, 0.1))
    training = Samples(OneToken(1), collate)
    tasks = [Samples(OneToken(token), collate) for token in (1, 2)]
    drops = loss_drops(
        checkpoint, training, [np.arange(4)], tasks, [np.arange(2)] * 2,
        num_steps=(1, 3), batch_size=2, random=np.random.default_rng(0),
    )  # fmt: skip
    assert drops.shape == (2, 1, 2)
    assert (drops[:, 0, 0] > 0).all()  # learned
    assert (drops[:, 0, 1] < 0).all()  # unlearned
    assert drops[1, 0, 0] > drops[0, 0, 0]
    assert (model.logit == 0).all()
    assert not checkpoint.optimizer.state
