"""An audit trains on every domain and compares what that does with impact."""

import json

import numpy as np
import pytest
import torch
from run.tiny_run import write_config

from dids.audit.audit import AuditSettings, audited
from dids.audit.checkpoint import Samples
from dids.audit.command import audit_run
from dids.audit.starting_point import starting_folder, starting_point
from dids.cli import main
from dids.config import load_config
from dids.errors import InputError
from dids.gradients.losses import sample_losses, scored_counts
from dids.impact.preconditioner import SecondMoments
from dids.run.folder import RunFolder
from dids.run.measuring import before_training, estimator
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages

SMALL = AuditSettings(steps=2, batch_size=4, share=1.0, items=3)
IMPACT = {"validation_samples": 4, "task_samples": 2, "domain_samples": 4, "overhead": None}


def prepared(folder, last, **changes):
    config = load_config(write_config(folder, impact=IMPACT, **changes))
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last=last)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("audited"), "train")


@pytest.fixture(scope="module")
def audit(trained):
    return audited(trained, SMALL)


def test_every_domain_and_task_is_measured_twice(trained, audit):
    assert audit.domain_names == tuple(trained.domains.names)
    assert audit.task_names == ("colours", "sums")
    assert audit.drop_rkt.shape == (2, len(audit.domain_names), 2)
    assert (audit.drop_rkt[0] != audit.drop_rkt[1]).all()  # other samples, other items


def test_impact_on_the_proxy_is_the_one_that_the_run_began_with(trained, audit):
    saved = json.loads((trained.path("impact.json")).read_text("utf-8"))["kernel"]
    for row, name in zip(audit.kernel_kt["fisher"], audit.domain_names, strict=True):
        expected = [saved[name][task] for task in audit.task_names]
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_drops_are_those_of_a_plain_loop(trained, audit):
    """The slow twin: the same samples and items, AdamW written out."""
    model = trained.saved_model("proxy").double()
    moments = SecondMoments.load(trained.path("proxy") / "second_moments.safetensors")
    tasks = [Samples(trained.task_dataset(t, "validation"), trained.collate) for t in ("sums",)]
    used = estimator(trained, before_training(trained), "fisher").task_samples(0)["sums"]
    order = np.random.default_rng([0, 17]).permutation(tasks[0].size)
    items = order[~np.isin(order, used)][3:6]  # of the second repeat
    members = trained.domain_data.members[1]
    members = members[trained.dataset.scored_counts[members] > 0]
    random = np.random.default_rng([0, 1, 1])

    def loss():
        with torch.no_grad():
            return sample_losses(model, tasks[0].batch(items)).mean().item()

    before = loss()
    first = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    second = {name: moments.by_name[name].double() for name, _ in model.named_parameters()}
    samples = Samples(trained.dataset, trained.collate)
    for step in range(2):
        batch = samples.batch(random.choice(members, 4))
        scored = scored_counts(batch["labels"])
        value = (sample_losses(model, batch) * scored).sum() / scored.sum()
        gradients = torch.autograd.grad(value, list(model.parameters()))
        norm = torch.sqrt(sum(g.square().sum() for g in gradients))
        with torch.no_grad():
            for (name, p), g in zip(model.named_parameters(), gradients, strict=True):
                g = g * min(1.0, 1.0 / norm.item())
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g.square()
                seen = 10_000 + step + 1
                m_hat = first[name] / (1 - 0.9**seen)
                v_hat = second[name] / (1 - 0.999**seen)
                p -= 0.01 * m_hat / (v_hat.sqrt() + moments.epsilon)
    assert audit.drop_rkt[1, 1, 1] == pytest.approx(before - loss(), rel=1e-3, abs=1e-5)


def test_beside_all_domains_only_the_own_samples_make_the_difference(trained):
    """With the domain's own samples added to batches that are the same for all."""
    settings = AuditSettings(steps=2, batch_size=8, share=0.25, items=3)
    found = audited(trained, settings)
    start = starting_point(trained, "proxy", starting_folder(trained, "proxy"))
    samples = Samples(trained.dataset, trained.collate)
    members = [m[trained.dataset.scored_counts[m] > 0] for m in trained.domain_data.members]
    random = np.random.default_rng([0, 0, 2**20])
    common = [
        np.array([random.choice(members[k]) for k in random.integers(len(members), size=6)])
        for _ in range(2)
    ]
    own = np.random.default_rng([0, 0, 2])
    without, with_it = start.copied(), start.copied()
    for batch in common:
        without.step(samples.batch(batch))
        with_it.step(samples.batch(np.concatenate([batch, own.choice(members[2], 2)])))
    task = Samples(trained.task_dataset("sums", "validation"), trained.collate)
    used = estimator(trained, before_training(trained), "fisher").task_samples(0)["sums"]
    order = np.random.default_rng([0, 17]).permutation(task.size)
    items = [order[~np.isin(order, used)][:3]]
    expected = without.mean_losses([task], items) - with_it.mean_losses([task], items)
    assert found.drop_rkt[0, 2, 1] == pytest.approx(expected[0], rel=1e-4, abs=1e-6)


def test_the_run_goes_on_as_if_nobody_had_audited_it(tmp_path):
    work = prepared(tmp_path, "train")
    before = {
        path: path.read_bytes()
        for path in work.folder.path.rglob("*")
        if path.is_file() and path.name not in ("log.txt", ".lock")
    }
    audit_run(work.config, SMALL, ConsoleProgress())
    assert {path: path.read_bytes() for path in before} == before
    new = {path.name for path in work.path("audit").iterdir()}
    assert new == {"audit.html", "audit.json", "effects.json"}


def test_a_checkpoint_goes_on_with_its_optimizer(trained):
    folder = starting_folder(trained, "train")
    start = starting_point(trained, "train", folder)
    saved = torch.load(folder / "optimizer.pt", weights_only=True)
    assert start.learning_rate == saved["param_groups"][0]["lr"] < 0.01
    moments = {tuple(s["exp_avg"].shape) for s in start.optimizer.state.values()}
    assert moments == {tuple(s["exp_avg"].shape) for s in saved["state"].values()}
    steps = int(folder.name.removeprefix("checkpoint-"))
    assert {int(s["step"]) for s in start.optimizer.state.values()} == {steps}
    copied = start.copied()
    ours, theirs = (next(iter(c.optimizer.state.values()))["exp_avg"] for c in (start, copied))
    assert torch.equal(ours, theirs) and ours.data_ptr() != theirs.data_ptr()
    copied.step(Samples(trained.dataset, trained.collate).batch(np.arange(4)))
    pairs = list(zip(start.model.parameters(), copied.model.parameters(), strict=True))
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert {int(s["step"]) for s in start.optimizer.state.values()} == {steps}


def test_an_audit_that_was_cut_off_goes_on(trained, audit, monkeypatch, tmp_path):
    from dids.audit import audit as module

    settings = AuditSettings(steps=2, batch_size=4, items=2, share=0.5)
    num_calls = 0
    real = module.loss_drops

    def cut_off(*args, **kwargs):
        nonlocal num_calls
        num_calls += 1
        if num_calls == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "loss_drops", cut_off)
    with pytest.raises(KeyboardInterrupt):
        audited(trained, settings)
    again = audited(trained, settings)
    assert num_calls == 4 + 2 * len(audit.domain_names) - 3
    trained.path("audit").joinpath("effects.json").unlink()
    np.testing.assert_array_equal(again.drop_rkt, audited(trained, settings).drop_rkt)


def test_the_command_prints_a_table_and_draws_a_page(trained, capsys, monkeypatch):
    monkeypatch.setattr(
        "sys.argv",
        [
            "dids",
            "audit",
            str(trained.folder.path),
            "--steps",
            "1",
            "--items",
            "2",
            "--at",
            "train",
        ],
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "After 1 step on each of" in printed and "ceiling" in printed
    page = trained.path("audit") / "audit.html"
    assert str(page) in printed
    assert "from the newest checkpoint" in page.read_text("utf-8")
    result = json.loads((trained.path("audit") / "audit.json").read_text("utf-8"))
    assert result["settings"]["at"] == "train"
    assert set(result["agreement"]) == {"fisher", "damped", "step", "ceiling"}
    assert set(result["loss_drops"]) == set(trained.domains.names)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (AuditSettings(steps=0), "--steps is 0, but must be 1 or more"),
        (AuditSettings(batch_size=0), "--batch-size is 0, but must be 1 or more"),
        (AuditSettings(items=1), "--items is 1, but must be 2 or more"),
        (AuditSettings(share=0.0), "--share is 0.0, but must be above 0 and at most 1"),
        (AuditSettings(share=1.5), "--share is 1.5, but must be above 0 and at most 1"),
    ],
)
def test_too_little_is_refused(trained, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        audited(trained, settings)


def test_without_a_checkpoint_there_is_no_audit_of_one(tmp_path):
    work = prepared(tmp_path, "impact")
    with pytest.raises(InputError, match=r"train: there is no checkpoint to start from"):
        audited(work, AuditSettings(at="train"))


def test_too_few_validation_items_are_named(tmp_path):
    config = load_config(write_config(tmp_path, impact={**IMPACT, "task_samples": 8}))
    run_stages(config, RunFolder(tmp_path / "run"), ConsoleProgress(), last="impact")
    with pytest.raises(InputError, match=r"tasks\.colours\.validation: an audit needs 4 items"):
        audit_run(config, SMALL, ConsoleProgress())
