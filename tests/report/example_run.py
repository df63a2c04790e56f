"""A made-up run of realistic size: 24 domains of 19 sources, 9 tasks, 25 rounds."""

import math
from typing import Any

import numpy as np

SOURCES = {
    "gsm8k": 7473, "open_instructions": 5200, "code_functions": 4100, "translation": 6000,
    "science_mcq": 3900, "yesno_facts": 4700, "mathqa_dev": 610, "table_to_text": 3500,
    "medical_qa": 2700, "physical_howto": 3200, "text2sql": 2900, "task_dialog": 2300,
    "commonsense_ecqa": 2100, "entailment_rewrite": 1900, "intent_labels": 2600,
    "list_programs": 1500, "chinese_poems": 1800, "boilerplate": 2200, "shuffled_words": 2400,
}  # fmt: skip
SPLIT = {"gsm8k": 3, "open_instructions": 3, "code_functions": 2}
TASKS = {
    "gsm8k": (3.91, -0.074, None), "mathqa": (3.42, -0.052, 0.27), "piqa": (4.61, -0.021, 0.55),
    "boolq": (2.35, 0.019, 0.61), "mmlu": (4.20, -0.033, 0.26), "pubmedqa": (3.98, -0.046, 0.49),
    "truthfulqa": (4.47, -0.008, 0.31), "bbh": (4.05, -0.002, None), "ifeval": (4.88, -0.013, None),
}  # fmt: skip
WITH_LOSS = [name for name in TASKS if name != "ifeval"]  # ifeval is there to generate from
HELPS = {"gsm8k": 1.4, "mathqa_dev": 1.3, "yesno_facts": 0.7, "science_mcq": 0.9, "medical_qa": 1.0,
         "physical_howto": 0.8, "open_instructions": 0.4, "boilerplate": -2.0,
         "shuffled_words": -2.4,
         "chinese_poems": -0.8, "intent_labels": -0.6}  # fmt: skip
ROUNDS, TOKENS = 25, 2_000_000


def example_result() -> dict[str, Any]:
    """The run as ``result.json`` holds it."""
    rng = np.random.default_rng(0)
    domains: dict[str, Any] = {}
    logits = []
    for source, size in SOURCES.items():
        parts = SPLIT.get(source, 1)
        for part in range(parts):
            name = source if parts == 1 else f"{source}/{part}"
            samples = size // parts
            domains[name] = {
                "samples": samples, "tokens": samples * 140, "source_counts": {source: samples},
                "max_repeats": 4 if source == "gsm8k" else None,
                "examples": [
                    f"Question {i} of {name}: Natalia sold clips to 48 of her friends in April.\n"
                    f"Answer: she sold {i * 24} clips, so that <b>{name}</b> & the rest agree."
                    for i in range(3)
                ],
            }  # fmt: skip
            logits.append(HELPS.get(source, 0.0) + 0.3 * rng.normal())
    names = list(domains)
    target = np.exp(logits) / np.exp(logits).sum()
    mixture, p = [], np.full(len(names), 1 / len(names))
    drawn = np.zeros(len(names))
    for index in range(ROUNDS):
        tokens = index * TOKENS // ROUNDS
        mixture.append(
            {"round": index, "step": index * 39, "tokens": tokens,
             "probability": dict(zip(names, p.tolist(), strict=True)),
             "explanation": _explanation(names, logits, target, index)}
        )  # fmt: skip
        drawn += p * TOKENS / ROUNDS
        noisy = target * np.exp(0.25 * rng.normal(size=len(names)))
        p = 0.8 * p + 0.2 * noisy / noisy.sum()
    for name, tokens in zip(names, drawn, strict=True):
        domain = domains[name]
        domain["tokens_asked"] = float(tokens)
        domain["tokens_drawn"] = int(tokens + rng.integers(-90, 90))
        domain["samples_drawn"] = int(tokens / 140)
        domain["tokens_repeated"] = max(0, domain["tokens_drawn"] - domain["tokens"])
        domain["tokens_unseen"] = max(0, domain["tokens"] - domain["tokens_drawn"])
        limit = domain["max_repeats"]
        domain["tokens_left"] = limit and (limit + 1) * domain["tokens"] - domain["tokens_drawn"]
        domain["repeats"] = max(0.0, tokens / 140 / domain["samples"] - 1.0)
    tasks = {name: _task(name, rng, gain=gain) for name, (_, gain, _) in TASKS.items()}
    control = {name: _task(name, rng, gain=0.0) for name in TASKS}
    cosine = {
        name: {
            task: float(np.clip(0.14 * logits[i] + 0.10 * rng.normal() + 0.12, -0.6, 0.8))
            for task in TASKS
        }
        for i, name in enumerate(names)
    }
    return {
        "dids": "0.1.0", "seed": 0, "tokens": TOKENS, "budget_tokens": TOKENS, "tasks": tasks,
        "control": {"policy": "uniform", "tasks": control, "tokens": TOKENS}, "mixture": mixture,
        "impact": [
            {"round": i, "step": i * 39, "cosine": cosine, "kernel": {}, "distance": {},
             "cosine_error": {name: dict.fromkeys(TASKS, 0.08) for name in names}}
            for i in range(1, ROUNDS)
        ],
        "steps": ROUNDS * 39, "feature_map": _feature_map(names, rng),
        "content": {source: f"{i:064x}" for i, source in enumerate(SOURCES)},
        "tokenizer_hash": "f" * 64,
        "domains": domains, "overhead": 0.142,
        "stability": {
            "adjusted_rand": 0.614, "mutual_information": 0.782, "num_samples": 16_773,
        },
        "time_s": {"tokens": 6.1, "proxy": 31.0, "features": 48.3, "domains": 2.2,
                   "train": 171.0, "control": 148.0, "evaluate": 22.4},
        "warnings": ["The loss of task bbh hardly moves; its potential could not be fitted."],
        "findings": [
            {"severity": "error", "kind": "leak", "sentence": "boolq: 3 test items also stand in "
             "source yesno_facts, the first in yesno_facts.jsonl.gz:81.",
             "advice": "Remove these records, or allow the leak."},
            {"severity": "note", "kind": "epochs", "sentence": "mathqa_dev is drawn 1.9 times.",
             "advice": "Limit it with max_repeats if that is too often."},
        ],
        "bad_records": {
            "open_instructions": [
                {"file": "train/open_instructions.jsonl.gz", "line": 812 + i,
                 "reason": "the field 'completion' is empty."} for i in range(3)
            ]
        },
        "versions": {"python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0"},
        "config": {
            "run": "runs/instruct", "seed": 0,
            "data": {"sources": {s: f"train/{s}.jsonl.gz" for s in SOURCES},
                     "sequence_length": 256},
            "features": {"dim": 1024}, "domains": {"number": 24, "within": "source"},
            "mixture": {"policy": "dids", "rounds": ROUNDS}, "budget": {"tokens": TOKENS},
        },
    }  # fmt: skip


def _explanation(
    names: list[str], logits: list[float], target: np.ndarray, index: int
) -> dict[str, Any]:
    """What the policy says; nothing before the first measurement."""
    if index == 0:
        return {}
    tasks = list(TASKS)
    domains = {}
    for k, name in enumerate(names):
        pull = {task: round(0.2 * logits[k] * (1 - 0.3 * ((k + t) % 4)), 3)
                for t, task in enumerate(tasks)}  # fmt: skip
        domains[name] = {
            "utility": 0.1, "best": float(target[k]),
            "marginal_value": 0.93 if name == "mathqa_dev" else 1.0,
            "pull": pull if abs(logits[k]) > 0.3 else dict.fromkeys(tasks, 0.0),
        }  # fmt: skip
    seen = {task: {"weight": 1 / 9, "is_reliable": task != "bbh"} for task in tasks}
    return {"tasks": seen, "domains": domains}


def _feature_map(names: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Forty samples of every domain, about a centre of its own."""
    points = []
    for k, name in enumerate(names):
        angle, far = 2.4 * k, 0.12 * math.sqrt(k + 1)
        for i in range(40):
            x, y = rng.normal(scale=0.05, size=2)
            place = [far * math.cos(angle) + x, far * math.sin(angle) + y]
            points.append({"domain": name, "place": place, "text": f"Sample {i} of <{name}>"})
    return {"explained": [0.21, 0.09], "points": points}


def _task(name: str, rng: np.random.Generator, gain: float) -> dict[str, Any]:
    final, _, accuracy = TASKS[name]
    history = [
        [tokens, (final + 4.2 * math.exp(-3.1 * tokens / TOKENS)) * (1 + gain * tokens / TOKENS)
         + 0.012 * float(rng.normal())]
        for tokens in range(0, TOKENS + 1, TOKENS // ROUNDS)
    ]  # fmt: skip
    task: dict[str, Any] = {"test_loss": None, "num_test": 500, "validation_history": []}
    if name in WITH_LOSS:
        task |= {"test_loss": history[-1][1] + 0.03, "test_loss_se": 0.021,
                 "validation_history": history}  # fmt: skip
    if accuracy is not None:
        task["accuracy"] = accuracy + (0.02 if gain < 0 else 0.0)
        task["accuracy_norm"] = accuracy + 0.01
        task["lm_eval"] = {"acc": task["accuracy"], "acc_stderr": 0.02, "acc_norm": accuracy}
    return task
