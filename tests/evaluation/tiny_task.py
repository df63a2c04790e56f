"""A tiny model with its own tokenizer, and a task of multiple-choice records."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from dids.data.records import Origin, Record
from dids.data.tokenizer import train_tokenizer

TEXTS = [
    "Which animal barks? The dog barks at the cat, and the cat does not care.",
    "Water boils at one hundred degrees; ice melts at zero degrees.",
    "Answer yes or no: is the sky blue on a clear day? yes, certainly it is.",
] * 20


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(iter(TEXTS), 300)


def tiny_model(vocab_size: int, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.4,  # spread likelihoods: no two choices are near a tie
    )  # fmt: skip
    return LlamaForCausalLM(config)


def choice_record(line: int, prompt: str, choices: tuple[str, ...], answer: int) -> Record:
    return Record(
        Origin("task.jsonl", line), prompt=prompt, completion=choices[answer],
        choices=choices, answer=answer,
    )  # fmt: skip


def choice_records(count: int = 12) -> list[Record]:
    words = ["dog", "a very grey cat", "ice", "one hundred degrees", "no", "yes, certainly"]
    return [
        choice_record(
            i + 1,
            f"Question {i}: which of these is it, on day {i * 7}?",
            tuple(words[(i + j) % len(words)] for j in range(2 + i % 3)),
            i % 2,
        )
        for i in range(count)
    ]
