"""The same items through lm-eval give the same accuracy."""

import json
import random
import sys

import pytest
import torch
from tiny_task import choice_record, choice_records, tiny_model, tiny_tokenizer

from dids.data.records import Origin, Record
from dids.errors import InputError
from dids.evaluation import choice_accuracy, lm_eval_accuracy, write_lm_eval_items

# Third-party code warns about itself; these tests are about numbers.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    pytest.importorskip("lm_eval", reason="lm-eval is an optional extra")


def test_lm_eval_agrees_on_accuracy(tmp_path, tokenizer, offline):
    model = tiny_model(len(tokenizer)).train()
    chat = choice_records(24)
    # A plain prompt that ends without white space: there acc_norm must agree as well.
    plain = [
        choice_record(i, r.prompt, tuple(f" {c}" for c in r.choices), r.answer)
        for i, r in enumerate(chat, start=1)
    ]
    files = {"day*quiz": tmp_path / "a.jsonl", "plain": tmp_path / "b.jsonl"}
    write_lm_eval_items(files["day*quiz"], chat, tokenizer)
    write_lm_eval_items(files["plain"], plain, tokenizer, prompt_format="plain")
    states = random.getstate(), torch.get_rng_state()
    found = lm_eval_accuracy(model, tokenizer, files, tmp_path / "work", max_length=128)
    assert model.training
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])

    own = choice_accuracy(model, tokenizer, chat, sequence_length=128, batch_size=8)
    assert found["day*quiz"]["acc"] == own.accuracy
    assert found["day*quiz"]["acc_stderr"] == pytest.approx(own.standard_error)
    own = choice_accuracy(
        model, tokenizer, plain, prompt_format="plain", sequence_length=128, batch_size=8
    )
    assert found["plain"]["acc"] == own.accuracy
    assert found["plain"]["acc_norm"] == own.length_normalised_accuracy


def test_a_checkpoint_folder_is_evaluated_like_the_model_in_it(tmp_path, tokenizer, offline):
    model = tiny_model(len(tokenizer))
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    write_lm_eval_items(tmp_path / "quiz.jsonl", choice_records(), tokenizer)
    files = {"quiz": tmp_path / "quiz.jsonl"}
    folder = tmp_path / "checkpoint"
    assert lm_eval_accuracy(folder, folder, files, tmp_path / "a") == lm_eval_accuracy(
        model, tokenizer, files, tmp_path / "b"
    )


def test_limit_takes_the_first_items(tmp_path, tokenizer, offline):
    model = tiny_model(len(tokenizer))
    write_lm_eval_items(tmp_path / "quiz.jsonl", choice_records(), tokenizer)
    found = lm_eval_accuracy(
        model, tokenizer, {"quiz": tmp_path / "quiz.jsonl"}, tmp_path / "work", limit=5
    )
    own = choice_accuracy(model, tokenizer, choice_records(5), sequence_length=256, batch_size=4)
    assert found["quiz"]["acc"] == own.accuracy


def test_items_hold_the_rendered_prompt(tmp_path, tokenizer):
    generation = Record(Origin("t.jsonl", 9), prompt="Write a poem.")
    path = tmp_path / "new" / "quiz.jsonl"
    assert write_lm_eval_items(path, [*choice_records(3), generation], tokenizer) == 3
    first = json.loads(path.read_text("utf-8").splitlines()[0])
    assert first["prompt"] == (
        "<|user|>\nQuestion 0: which of these is it, on day 0?\n<|assistant|>\n"
    )
    assert first["choices"][first["answer"]] == choice_records(1)[0].completion


def test_no_items_make_no_file(tmp_path, tokenizer):
    assert write_lm_eval_items(tmp_path / "none.jsonl", [], tokenizer) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_missing_lm_eval_is_named(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install dids\[lm-eval\]"):
        lm_eval_accuracy(tiny_model(300), tokenizer, {"quiz": tmp_path / "q.jsonl"}, tmp_path)


def test_an_item_that_lm_eval_would_refuse_is_left_out_and_said_to_be(
    tmp_path, tokenizer, offline, caplog
):
    # lm-eval stops with an AssertionError when a choice alone is longer than the model's input.
    model = tiny_model(len(tokenizer))
    long = choice_record(99, "Which?", ("zebra " * 90, "no"), 0)
    write_lm_eval_items(tmp_path / "quiz.jsonl", [long, *choice_records(5)], tokenizer)
    write_lm_eval_items(tmp_path / "long.jsonl", [long], tokenizer)
    files = {"quiz": tmp_path / "quiz.jsonl", "long": tmp_path / "long.jsonl"}
    found = lm_eval_accuracy(model, tokenizer, files, tmp_path / "work", max_length=48)
    assert list(found) == ["quiz"]
    assert found["quiz"]["num_items"] == 5
    assert "1 of 6 items of quiz left out" in caplog.text
    alone = {"long": tmp_path / "long.jsonl"}
    assert lm_eval_accuracy(model, tokenizer, alone, tmp_path / "work", max_length=48) == {}
