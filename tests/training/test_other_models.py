"""Models that do not predict the next token: their domains' losses are right, or not there."""

import datasets
import pytest
import torch
from tiny_trainer import TinyTrainer, arguments
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PrinterCallback,
    default_data_collator,
)

from dids.errors import InputError
from dids.gradients.losses import predicts_next_tokens
from dids.training import DomainMixture, PolicyMixture

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"web": 30, "code": 20}
BERT = {
    "model_type": "bert", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 3,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
T5 = {
    "model_type": "t5", "vocab_size": 64, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1,
    "num_heads": 2, "dropout_rate": 0.0, "decoder_start_token_id": 0,
}  # fmt: skip
KINDS = {
    "fills in": (AutoModelForMaskedLM, BERT, lambda i: [-100, 2 + i % 9, -100, 4]),
    "translates": (AutoModelForSeq2SeqLM, T5, lambda i: [5 + i % 9, 6]),
    "tags": (AutoModelForTokenClassification, BERT, lambda i: [0, i % 3, 2, -100]),
    "classifies": (AutoModelForSequenceClassification, BERT, lambda i: i % 3),
}


def trainer_of(folder, kind, mixture=None):
    make, config, label = KINDS[kind]
    rows = [
        {"input_ids": [i + 1, 2, 3, 4], "attention_mask": [1] * 4, "labels": label(i)}
        for i in range(50)
    ]
    dataset = datasets.Dataset.from_list(rows)
    torch.manual_seed(0)
    trainer = TinyTrainer(
        model=make.from_config(AutoConfig.for_model(**config)),
        args=arguments(
            folder, max_steps=4, save_strategy="no", logging_steps=1, gradient_accumulation_steps=1
        ),
        train_dataset=dataset,
        eval_dataset={"held": dataset.select(range(10))},
        data_collator=default_data_collator,
        mixture=mixture or DomainMixture({"web": 1.0, "code": 0.0}, SIZES),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@pytest.mark.parametrize("kind", list(KINDS))
def test_losses_of_domains_and_tasks_are_the_trainers(tmp_path, kind):
    trainer = trainer_of(tmp_path, kind)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    found = [log.get("domain_loss/web") for log in logs]
    evaluated = trainer.evaluate()
    if kind == "classifies":  # no labels of tokens
        assert found == [None] * 4
        assert "task_loss/held" not in evaluated
    else:
        assert found == pytest.approx([log["loss"] for log in logs], rel=1e-3)
        assert evaluated["task_loss/held"] == pytest.approx(evaluated["eval_held_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fills in", "comes next after each token, but BertForMaskedLM predicts something else"),
        ("translates", "its labels are 16 x 2 and its input_ids 16 x 4; .* for every token"),
        ("tags", "but BertForTokenClassification predicts something else"),
        ("classifies", "its labels are 16 and its input_ids 16 x 4"),
    ],
)
def test_impact_on_them_is_refused(tmp_path, kind, message):
    with pytest.raises(InputError, match=message):
        trainer_of(tmp_path, kind, PolicyMixture(SIZES)).train()


def test_what_a_model_is_wrapped_in_changes_nothing():
    make, config, _ = KINDS["fills in"]
    model = make.from_config(AutoConfig.for_model(**config))
    assert not predicts_next_tokens(torch.nn.DataParallel(torch.compile(model)))
    assert predicts_next_tokens(torch.nn.Linear(2, 2))
