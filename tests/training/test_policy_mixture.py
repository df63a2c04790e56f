"""A policy by its name in a Trainer of one's own: what it measures, decides, keeps and refuses."""

import json

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from ranks import on_ranks
from resuming import assert_resumes
from test_sft_trainer import tokenizer, trl
from tiny_trainer import SIZES, arguments, concatenated, pad, tiny_model, tiny_trainer
from transformers import (
    DataCollatorWithFlattening,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)

from dids.errors import InputError
from dids.gradients.grouped_gradients import GroupedGradients
from dids.mixture.policy import POLICIES
from dids.report import RunRecord, write_report
from dids.training import DidsMixin, DidsTrainer, DomainMixture, PolicyMixture

pytestmark = pytest.mark.filterwarnings("ignore")

TASKS = {"sums": concatenated().select(range(20)), "colours": concatenated().select(range(40, 60))}


def policy_mixture(sizes=None, **settings):
    settings = {"rounds": 5, "overhead": 0.5, "first_overhead": 0.25, **settings}
    return PolicyMixture(sizes or SIZES, **settings)


def run(folder, mixture=None, *, resume=None, **changes):
    changes = {"eval_dataset": TASKS, "dropout": 0.0, "save_strategy": "no", **changes}
    logs = changes.pop("log_domains", True)
    trainer = tiny_trainer(folder, mixture or policy_mixture(), **changes)
    trainer.log_domains = logs
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def shares(trainer):
    return np.array([list(e["probability"].values()) for e in trainer.mixture.history.mixture])


def kernels(trainer, round_number):
    (entry,) = (e for e in trainer.mixture.history.impact if e["round"] == round_number)
    return np.array([list(by_task.values()) for by_task in entry["kernel"].values()])


def test_the_mixture_follows_what_is_measured_on_named_evaluation_sets(tmp_path):
    trainer = run(tmp_path)
    history = trainer.mixture.history
    assert history.impact[0]["round"] == 0
    assert len(history.impact) >= 3
    assert set(history.impact[0]["kernel"]["web"]) == set(TASKS)
    assert len(np.unique(shares(trainer), axis=0)) >= 3
    assert np.allclose(shares(trainer).sum(axis=1), 1.0)
    assert shares(trainer).min() >= 0.25 / 3 - 1e-9
    assert 0.0 < history.measuring_s < history.training_s
    assert json.loads(json.dumps(history.to_json()))["num_gradient_samples"] > 0
    logged = next(log for log in trainer.state.log_history if "mixture/web" in log)
    assert {"run/round", "run/overhead", "epochs/web", "domain_loss/web"} <= set(logged)
    assert not any(name.startswith("task_loss") for name in logged)


def test_gradients_are_added_up_for_the_domain_that_each_sample_is_of(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path, policy_mixture(), eval_dataset=TASKS, save_strategy="no")
    ends, found = np.cumsum(list(SIZES.values())), []
    real = GroupedGradients.collecting

    def collecting(self, group_b, scored_b, *args, **kwargs):
        found.append((group_b.tolist(), scored_b.tolist()))
        return real(self, group_b, scored_b, *args, **kwargs)

    monkeypatch.setattr(GroupedGradients, "collecting", collecting)
    trainer.train()
    # Micro-batches in the order in which they were trained on; a sample's first token is its id.
    seen = [ids[i : i + 4] for ids in trainer.seen.values() for i in range(0, len(ids), 4)]
    expected = [
        (
            np.searchsorted(ends, ids, side="right").tolist(),
            [1 + sample % 6 + 1 for sample in ids],
        )
        for ids in seen
    ]
    assert len(found) > 4
    assert all(one in expected for one in found)


def test_impact_is_the_same_however_a_step_is_divided(tmp_path):
    whole = run(tmp_path / "a", per_device_train_batch_size=8, gradient_accumulation_steps=1)
    split = run(
        tmp_path / "b",
        policy_mixture(lag=1),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    last = whole.mixture.history.impact[-1]["round"]
    np.testing.assert_allclose(kernels(whole, last), kernels(split, last), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(shares(whole), shares(split), atol=2e-3)


def on_rank(folder):
    trainer = run(folder, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    return shares(trainer).tolist()


def test_two_ranks_have_one_mixture_and_it_is_that_of_one(tmp_path):
    alone = run(
        tmp_path / "a", policy_mixture(), per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    first, second = on_ranks(tmp_path / "ranks", 2, on_rank, tmp_path / "b")
    assert first == second
    np.testing.assert_allclose(np.array(first), shares(alone), atol=2e-3)


@pytest.mark.parametrize("stop", [1, 5])
@pytest.mark.parametrize("skips", [True, False])
def test_a_resumed_run_measures_and_draws_what_it_would_have(tmp_path, stop, skips):
    def once(stop=None, resume=None):
        folder = tmp_path / ("whole" if resume is None else "resumed")
        checkpoint = None if resume is None else tmp_path / "whole" / f"checkpoint-{resume}"
        trainer = run(
            folder, resume=checkpoint, save_strategy="steps", save_steps=1, dropout=0.1,
            ignore_data_skip=skips,
        )  # fmt: skip
        history = trainer.mixture.history
        return {
            "samples": trainer.seen,
            "losses": trainer.step_losses,
            # A resumed run remembers what was before the stop, too.
            "mixtures": {e["step"]: e for e in history.mixture if e["step"] >= (resume or 0)},
            "impact": {e["step"]: e for e in history.impact if e["step"] >= (resume or 0)},
        }

    assert_resumes(once, stop)


def test_training_again_begins_anew(tmp_path):
    trainer = tiny_trainer(
        tmp_path, policy_mixture(), eval_dataset=TASKS, dropout=0.0, save_strategy="no"
    )
    trainer.train()
    first = shares(trainer)[0]
    trainer.seen = {}
    trainer.train()
    assert len(shares(trainer)) <= 5
    assert not np.array_equal(shares(trainer)[0], first)  # the model is another one now
    assert trainer.mixture.history.task_losses["sums"][0][0] == 0


def without_runs():
    refused = {"anchors", "osmosis", "strata", "distance-bandit", "best-fixed", "regmix"}
    refused |= {"doge", "doremi", "skill-it"}
    return sorted(set(POLICIES) - refused - {"weights", "schedule"})


@pytest.mark.parametrize("policy", without_runs())
def test_every_policy_that_needs_no_run_before_works_by_its_name(tmp_path, policy):
    trainer = run(tmp_path, policy_mixture(policy=policy), log_domains=False, max_steps=6)
    assert np.allclose(shares(trainer).sum(axis=1), 1.0)
    if trainer.mixture.reads_losses:
        assert len(np.unique(shares(trainer), axis=0)) > 1


class ByHand(TrainerCallback):
    def __init__(self, mixture, begins):
        self.mixture, self.begins, self.start_step = mixture, begins, None

    def on_train_begin(self, args, state, control, **kwargs):
        if self.begins:
            self.mixture.set_mixture(_by_hand())

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            self.start_step = self.mixture.set_mixture(_by_hand())


def _by_hand():
    return {"web": 0.1, "code": 0.2, "junk": 0.7}


def test_a_mixture_set_by_hand_is_in_the_history_and_in_the_report(tmp_path):
    mixture = policy_mixture(rounds=1)
    hand = ByHand(mixture, begins=False)
    run(tmp_path, mixture, callbacks=[hand])
    (first, entry) = mixture.history.mixture
    assert first["step"] == 0
    assert entry["step"] == hand.start_step == 4
    assert entry["probability"] == pytest.approx(_by_hand())
    result = mixture.result()
    assert entry["tokens"] < result["tokens"]
    shares_of_first = np.array(list(first["probability"].values()))
    asked = [domain["samples_asked"] for domain in result["domains"].values()]
    by_hand = np.array(list(_by_hand().values()))
    np.testing.assert_allclose(asked, 8 * (4 * shares_of_first + 6 * by_hand))
    write_report(tmp_path / "report.html", RunRecord.from_dict(json.loads(json.dumps(result))))
    assert "set by hand" in (tmp_path / "report.html").read_text()


def test_a_mixture_set_by_hand_too_early_is_refused(tmp_path):
    mixture = policy_mixture(rounds=1)
    with pytest.raises(InputError, match="until then give it as prior"):
        run(tmp_path, mixture, callbacks=[ByHand(mixture, begins=True)])


class TinySft(DidsMixin, trl.SFTTrainer):
    pass


def sft(folder, model, mixture, *, train_dataset=None, peft_config=None, **changes):
    settings = {
        "output_dir": str(folder), "max_steps": 10, "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2, "save_strategy": "no", "learning_rate": 0.01,
        "disable_tqdm": True, "report_to": "none", "use_cpu": True, "seed": 3, "bf16": False,
        "gradient_checkpointing": False, "logging_steps": 2,
    }  # fmt: skip
    trainer = TinySft(
        model=model,
        args=trl.SFTConfig(**{**settings, **changes}),
        train_dataset=train_dataset or concatenated(),
        eval_dataset=TASKS,
        processing_class=tokenizer(),
        mixture=mixture,
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def test_sft_trainer_measures_what_a_plain_trainer_does(tmp_path):
    plain = tiny_trainer(tmp_path / "a", policy_mixture(), eval_dataset=TASKS, dropout=0.0,
                         save_strategy="no")  # fmt: skip
    torch.manual_seed(0)
    model = tiny_model(dropout=0.0)
    plain.train()
    other = sft(tmp_path / "b", model, policy_mixture())
    last = plain.mixture.history.impact[-1]["round"]
    np.testing.assert_allclose(kernels(plain, 0), kernels(other, 0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(kernels(plain, last), kernels(other, last), rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(shares(plain), shares(other), atol=4e-3)


def test_sft_trainer_with_adapters(tmp_path):
    peft = pytest.importorskip("peft")
    model = tiny_model(dropout=0.0)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = sft(tmp_path / "b", model, policy_mixture(), peft_config=lora)
    assert len(np.unique(shares(trainer), axis=0)) >= 2


def test_rows_that_are_packed_by_domain_are_samples(tmp_path):
    packed = packed_by_domain("wrapped")
    sizes = {name: len(rows) for name, rows in packed.items()}
    mixture = policy_mixture(sizes)
    model = tiny_model(dropout=0.0)
    trainer = sft(
        tmp_path / "b", model, mixture, train_dataset=concatenate_datasets([*packed.values()])
    )
    assert sum(sizes.values()) < sum(SIZES.values())
    assert [mixture.result()["domains"][name]["samples"] for name in SIZES] == [*sizes.values()]
    for entry in mixture.history.impact:
        kernel_kt = kernels(trainer, entry["round"])
        assert np.isfinite(kernel_kt).all() and kernel_kt.any()
    assert len(np.unique(shares(trainer), axis=0)) >= 2


def assert_alike(plain, other):
    rounds = [entry["round"] for entry in plain.mixture.history.impact]
    assert len(rounds) >= 3
    assert [entry["round"] for entry in other.mixture.history.impact] == rounds
    for number in rounds:
        np.testing.assert_allclose(kernels(plain, number), kernels(other, number), 1e-3, 1e-5)
    np.testing.assert_allclose(shares(plain), shares(other), atol=2e-3)
    assert len(np.unique(shares(plain), axis=0)) >= 3


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_joined_to_one_row_are_measured_as_padded_ones(tmp_path, workers):
    plain = run(tmp_path / "a", policy_mixture(lag=3))
    joined = tiny_trainer(
        tmp_path / "b", policy_mixture(lag=3), eval_dataset=TASKS, dropout=0.0, save_strategy="no",
        dataloader_num_workers=workers,
    )  # fmt: skip
    joined.data_collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    joined.train()
    assert_alike(plain, joined)


def test_sft_trainer_without_padding_measures_what_it_does_with_padding(tmp_path):
    plain, free = (
        sft(tmp_path / name, tiny_model(dropout=0.0), policy_mixture(), max_length=None, **settings)
        for name, settings in {
            "padded": {},
            "free": {"padding_free": True, "pad_to_multiple_of": 8},
        }.items()
    )
    assert_alike(plain, free)


def packed_by_domain(strategy):
    return {
        name: trl.pack_dataset(concatenated({name: size}).remove_columns("note"), 16, strategy)
        for name, size in SIZES.items()
    }


def of_documents(folder, **settings):
    """On rows of several documents, which ``position_ids`` keep apart."""
    packed = packed_by_domain("bfd")
    sizes = {name: len(rows) for name, rows in packed.items()}
    return sft(
        folder, tiny_model(dropout=0.0), policy_mixture(sizes, lag=1),
        train_dataset=concatenate_datasets([*packed.values()]),
        padding_free=True, max_length=None, **settings,
    )  # fmt: skip


def test_documents_of_one_row_are_kept_apart_however_many_rows_a_batch_has(tmp_path):
    whole = of_documents(tmp_path / "a")
    split = of_documents(
        tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=8
    )
    assert_alike(whole, split)


def _even():
    return dict.fromkeys(SIZES, 1 / 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "didz"}, "there is no policy 'didz'; did you mean 'dids'"),
        ({"policy": "doremi"}, "policy 'doremi' needs runs before the run, which only `dids run`"),
        ({"policy": "anchors"}, "policy 'anchors' needs gradient features"),
        ({"settings": {"emma": 1}}, "policy 'dids' has no such setting; did you mean 'ema'"),
        ({"rounds": 0}, "rounds must be a whole number from 1 on, got 0"),
        ({"task_samples": 1}, "task_samples must be a whole number from 2 on, got 1"),
        ({"overhead": 0.0}, "overhead must be above 0 and at most 1, but it is 0.0"),
        ({"first_overhead": 2.0}, "first_overhead must be above 0 and at most 1, but it is 2.0"),
        ({"metric": "fischer"}, "metric must be one of damped, fisher, .* got 'fischer'"),
        ({"floor": 2.0}, "floor must be from 0 to 1, but it is 2.0"),
        ({"prior": {"web": 1.0, "code": 0.0, "junk": 0.0}}, "prior: 'code' has no share"),
        ({"tasks": {"sums": -1.0}}, "the weight of 'sums' must be 0 or more, got -1.0"),
        ({"tasks": {"sums": 0.0}}, "all weights are 0"),
    ],
)
def test_mistakes_in_a_policy_mixture_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        policy_mixture(**settings)


def no_labels(items):
    batch = pad(items)
    del batch["labels"]
    return batch


def one_row(items):
    return {name: rows.flatten()[None] for name, rows in pad(items).items()}


def nothing_scored(items):
    return {**(batch := pad(items)), "labels": torch.full_like(batch["labels"], -100)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_dataset": None}, "policy 'dids' measures on tasks: give the Trainer evaluation"),
        ({"eval_dataset": TASKS["sums"]}, "give the Trainer evaluation sets by name"),
        ({"collator": no_labels}, "the training set: its batches have no labels"),
        ({"collator": one_row}, "makes 1 rows of 16 samples; .* position_ids that say"),
        ({"collator": nothing_scored}, "eval_dataset.sums: none of its 20 samples has a scored"),
        ({"sizes": {"web": 40, "code": 9}}, "The training set has 49 samples, but the domains"),
        ({"eval_dataset": {"sums": iter([])}}, "eval_dataset.sums is of the kind list_iterator"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_step(tmp_path, changes, message):
    collator = changes.get("collator", pad)
    settings = {name: value for name, value in changes.items() if name != "collator"}
    trainer = tiny_trainer(
        tmp_path, policy_mixture(), **{"eval_dataset": TASKS, "save_strategy": "no", **settings}
    )
    trainer.data_collator = collator
    with pytest.raises(InputError, match=message):
        trainer.train()
    assert not trainer.seen


def test_deepspeed_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path, policy_mixture(), eval_dataset=TASKS)
    trainer.args.deepspeed = {"zero_optimization": {"stage": 3}}
    with pytest.raises(InputError, match="DeepSpeed keeps parameters and gradients where impact"):
        trainer.train()


def test_several_devices_of_one_process_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path, policy_mixture(), eval_dataset=TASKS)
    trainer.args._n_gpu = 2
    with pytest.raises(InputError, match=r"one process has 2 GPUs .* \(torchrun --nproc"):
        trainer.train()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("PromptTuning", {"num_virtual_tokens": 3}, "PromptTuningConfig learns a prompt for all"),
        ("PrefixTuning", {"num_virtual_tokens": 3}, "PrefixTuningConfig learns a prompt for all"),
        ("LoHa", {"target_modules": ["q_proj"]}, r"it trains '.*hada_w1_a.*'\); LoRA adapters are"),
    ],
)
def test_adapters_whose_gradients_cannot_be_read_are_refused(tmp_path, kind, settings, message):
    peft = pytest.importorskip("peft")
    adapters = getattr(peft, f"{kind}Config")(task_type="CAUSAL_LM", **settings)
    with pytest.raises(InputError, match=message):
        sft(tmp_path, tiny_model(0.0), policy_mixture(), peft_config=adapters)


def test_tasks_are_chosen_and_weighed_by_name(tmp_path):
    chosen = run(tmp_path / "a", policy_mixture(tasks={"colours": 2.0}))
    assert set(chosen.mixture.history.task_losses) == {"colours"}
    with pytest.raises(InputError, match="no evaluation set 'shapes'; the Trainer has sums, colo"):
        run(tmp_path / "b", policy_mixture(tasks={"shapes": 1.0}))


def test_samples_padded_on_the_left_give_the_impact_of_those_padded_on_the_right(tmp_path):
    def left(items):
        batch = pad(items)
        width = batch["input_ids"].shape[1]
        shift = (width - batch["attention_mask"].sum(1))[:, None]
        source = (torch.arange(width) - shift) % width
        return {name: rows.gather(1, source) for name, rows in batch.items()}

    def first_kernel(folder, collator):
        trainer = tiny_trainer(folder, policy_mixture(), eval_dataset=TASKS, dropout=0.0,
                               save_strategy="no", max_steps=1)  # fmt: skip
        trainer.data_collator = collator
        trainer.train()
        return kernels(trainer, 0)

    right = first_kernel(tmp_path / "a", pad)
    np.testing.assert_allclose(first_kernel(tmp_path / "b", left), right, rtol=1e-3, atol=1e-7)


def test_a_checkpoint_of_another_mixture_is_refused(tmp_path):
    run(tmp_path, DomainMixture(_even(), SIZES), save_strategy="steps", save_steps=4, max_steps=4)
    with pytest.raises(InputError, match="step 4 was written without a policy's measurements"):
        run(tmp_path, resume=tmp_path / "checkpoint-4")


def test_without_the_mixin_it_says_what_is_missing(tmp_path):
    mixture = policy_mixture()

    class Own(Trainer):
        def get_train_dataloader(self):
            loader = mixture.loader(self.args, self.train_dataset, self.data_collator)
            return self.accelerator.prepare(loader)

    trainer = Own(
        model=tiny_model(),
        args=arguments(tmp_path, save_strategy="no"),
        train_dataset=concatenated().remove_columns("note"),
        data_collator=pad,
        callbacks=[mixture],
    )
    with pytest.raises(InputError, match="PolicyMixture needs DidsMixin before the Trainer, class"):
        trainer.train()


def test_a_data_set_that_is_no_arrow_table_will_do(tmp_path):
    class Rows(torch.utils.data.Dataset):
        def __init__(self, table):
            self.rows = [{"input_ids": row["input_ids"]} for row in table]

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return self.rows[index]

    trainer = DidsTrainer(
        model=tiny_model(dropout=0.0),
        args=arguments(tmp_path, save_strategy="no"),
        train_dataset=Rows(concatenated()),
        eval_dataset={name: Rows(table) for name, table in TASKS.items()},
        data_collator=pad,
        mixture=policy_mixture(),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    table = run(tmp_path / "b")
    np.testing.assert_allclose(shares(trainer), shares(table), atol=2e-3)


def test_histories_are_there_with_the_training(tmp_path):
    with pytest.raises(InputError, match="it begins with the training"):
        _ = policy_mixture().history


def test_a_policy_that_follows_training_losses_needs_no_tasks(tmp_path):
    trainer = run(tmp_path, policy_mixture(policy="odm"), eval_dataset=None)
    assert trainer.mixture.history.task_losses == {}
    assert len(np.unique(shares(trainer), axis=0)) > 1


def test_a_report_of_it_says_why_weights_moved(tmp_path):
    trainer = run(tmp_path / "run", policy_mixture(tasks={"sums": 3.0, "colours": 1.0}))
    result = json.loads(json.dumps(trainer.mixture.result()))
    record = RunRecord.from_dict(result)
    assert record.steps == 10
    assert sum(d.samples_drawn for d in record.domains.values()) == 80
    assert sum(d.tokens_drawn for d in record.domains.values()) == record.tokens
    assert record.tasks["sums"].validation_history[0][0] == 0
    assert result["config"]["tasks"]["sums"]["weight"] == 0.75
    write_report(tmp_path / "report.html", record)
    page = (tmp_path / "report.html").read_text()
    for told in ("junk", "colours", "PolicyMixture", 'id="why"', 'id="impact"'):
        assert told in page
    assert "dids run config.yaml" not in page
    assert 'id="tasks"' not in page  # nobody has tested the model


@pytest.fixture
def known_impact(tmp_path):
    """What a run has kept in its folder, and the run that measured it itself."""
    trainer = run(tmp_path / "first")
    path = tmp_path / "impact.json"
    matrices = trainer.mixture._rounds.initial_impact.to_json()
    path.write_text(json.dumps({"matrices": matrices}))
    return path, trainer


def test_impact_of_another_run_makes_the_first_mixture(tmp_path, known_impact):
    path, measured = known_impact
    trainer = run(tmp_path / "b", policy_mixture(first_impact=path))
    assert np.array_equal(shares(trainer)[0], shares(measured)[0])
    assert kernels(trainer, 0).tolist() == kernels(measured, 0).tolist()
    turned = {"colours": TASKS["colours"], "sums": TASKS["sums"]}
    other = run(tmp_path / "c", policy_mixture(first_impact=path), eval_dataset=turned)
    assert np.array_equal(shares(other)[0], shares(measured)[0])


def test_impact_of_something_else_is_refused(tmp_path, known_impact):
    path, _ = known_impact
    with pytest.raises(InputError, match=r"none\.json holds no impact .FileNotFoundError"):
        policy_mixture(first_impact=tmp_path / "none.json")
    with pytest.raises(InputError, match="in this order, but sizes has junk, web"):
        PolicyMixture({"junk": 5, "web": 3}, first_impact=path)
    with pytest.raises(InputError, match="measured in the metric 'fisher', but what follows"):
        policy_mixture(first_impact=path, metric="step")
    with pytest.raises(InputError, match="measured on the tasks sums, colours, but the Trainer's"):
        run(tmp_path, policy_mixture(first_impact=path), eval_dataset={"sums": TASKS["sums"]})


def test_workers_change_nothing_where_the_lag_is_given(tmp_path):
    alone = run(tmp_path / "a", policy_mixture(lag=3))
    helped = run(tmp_path / "b", policy_mixture(lag=3), dataloader_num_workers=2)
    assert shares(alone).tolist() == shares(helped).tolist()
    assert alone.seen == helped.seen


def test_a_run_of_another_length_is_refused(tmp_path):
    run(tmp_path, save_strategy="steps", save_steps=5)
    with pytest.raises(InputError, match="is of a run of 10 steps, and max_steps is 20 now"):
        run(tmp_path, resume=tmp_path / "checkpoint-5", max_steps=20)


def test_a_look_at_a_batch_is_no_training(tmp_path):
    trainer = tiny_trainer(
        tmp_path, policy_mixture(), eval_dataset=TASKS, dropout=0.0, save_strategy="no"
    )
    next(iter(trainer.get_train_dataloader()))
    trainer.train()
    np.testing.assert_array_equal(shares(trainer), shares(run(tmp_path / "b")))
