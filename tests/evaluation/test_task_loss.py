"""Task loss is a mean over samples, whatever the batches."""

import math

import numpy as np
import pytest
import torch
from tiny_task import choice_records, tiny_model, tiny_tokenizer

from dids.data.dataset import PaddingCollator, TokenDataset
from dids.data.records import Origin, Record
from dids.data.token_store import write_token_store
from dids.evaluation import task_loss


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(len(tokenizer))


def store(tmp_path, tokenizer, records, name="task"):
    return write_token_store(
        tmp_path / name, iter(records), tokenizer, name=name, key="k", sequence_length=64,
        prompt_format="chat", bad_records=[], progress=None,
    )  # fmt: skip


@torch.no_grad()
def slow_losses(model, dataset):
    """The definition in float64: one sample at a time, one scored token at a time."""
    losses = []
    for index in range(len(dataset)):
        item = dataset[index]
        logits = model.double()(input_ids=item["input_ids"][None]).logits[0]
        log_p = torch.log_softmax(logits, -1)
        labels = item["labels"].tolist()
        terms = [-float(log_p[t - 1, y]) for t, y in enumerate(labels) if t and y != -100]
        if terms:
            losses.append(sum(terms) / len(terms))
    model.float()
    return np.array(losses)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_loss_is_the_mean_over_samples_under_any_batch_size(tmp_path, tokenizer, model, batch_size):
    dataset = TokenDataset([store(tmp_path, tokenizer, choice_records())])
    collate = PaddingCollator(tokenizer.pad_token_id)
    found = task_loss(model, dataset, collate, batch_size=batch_size)
    expected = slow_losses(model, dataset)
    assert found.loss == pytest.approx(expected.mean(), rel=1e-5)
    assert found.standard_error == pytest.approx(
        expected.std(ddof=1) / math.sqrt(len(expected)), rel=1e-4
    )
    assert found.num_samples == len(dataset)


def test_a_store_is_a_data_set_of_one(tmp_path, tokenizer, model):
    samples = store(tmp_path, tokenizer, choice_records(4))
    collate = PaddingCollator(tokenizer.pad_token_id)
    assert task_loss(model, samples, collate, batch_size=2) == task_loss(
        model, TokenDataset([samples]), collate, batch_size=2
    )


def test_a_task_to_generate_from_has_no_loss(tmp_path, tokenizer, model):
    records = [Record(Origin("t.jsonl", i), prompt=f"Write {i} words.") for i in range(1, 4)]
    samples = store(tmp_path, tokenizer, records)
    assert task_loss(model, samples, PaddingCollator(0), batch_size=2) is None


def test_evaluation_leaves_the_model_as_it_was(tmp_path, tokenizer, model):
    samples = store(tmp_path, tokenizer, choice_records(4))
    model.train()
    generator = torch.get_rng_state()
    task_loss(model, samples, PaddingCollator(0), batch_size=2)
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())
