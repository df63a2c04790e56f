"""Turns any config into a run of seconds: a tiny model, a tiny budget, made-up data."""

import gzip
import json
import random
from copy import deepcopy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard
from run.tiny_run import WORDS, line

from dids.config.load import load_config

SMALL_MODEL = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}
NUM_RECORDS = 40


def make_small(path: Path) -> None:
    """Rewrite a config so that it runs in seconds wherever it lies, and write the data it names."""
    load_config(path)  # as it stands
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    small = shrunk(raw)
    for number, source in enumerate(small["data"]["sources"].values()):
        source["path"] = [filled(place, number) for place in source["path"]]
    for number, task in enumerate(small["tasks"].values()):
        for offset, split in enumerate(("validation", "test")):
            places = task[split] if isinstance(task[split], list) else [task[split]]
            task[split] = [filled(place, 10 + 2 * number + offset) for place in places]
    path.write_text(yaml.safe_dump(small, sort_keys=False), encoding="utf-8")
    load_config(path)


def shrunk(config: dict) -> dict:
    """The same config with a smaller model, budget, and number of everything."""
    small = deepcopy(config)
    small["data"]["sources"] = {
        name: as_source(source) for name, source in small["data"]["sources"].items()
    }
    small["data"]["sequence_length"] = 32
    small["tokenizer"] = {"train": {"vocab_size": 300}}
    small["model"] = {"config": SMALL_MODEL}
    small["proxy"] = {"warmup_steps": 2}
    small["features"] = {**small.get("features", {}), "dim": 32}
    domains = {"number": 4, **small.get("domains", {}), "min_samples": 2}
    if isinstance(domains["number"], int):
        domains["number"] = max(len(small["data"]["sources"]), min(4, domains["number"]))
    small["domains"] = domains
    small["impact"] = {**small.get("impact", {}), "task_samples": 4, "validation_samples": 4}
    small["mixture"] = {**small.get("mixture", {}), "rounds": 2}
    small["budget"] = {"tokens": 1200}
    small["training"] = {
        **{k: v for k, v in small.get("training", {}).items() if k not in ("bf16", "warmup_steps")},
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "dataloader_num_workers": 0,
    }
    small["evaluation"] = {**small.get("evaluation", {}), "lm_eval": False}
    return small


def as_source(source: object) -> dict:
    if not isinstance(source, dict):
        source = {"path": source}
    path = source["path"]
    return {**source, "path": path if isinstance(path, list) else [path]}


def filled(place: str, number: int) -> str:
    """Where the records of a place lie now; data sets of the hub and of Python become files."""
    if ":" in place.split("/")[0]:
        place = f"data/{place.replace(':', '-').replace('/', '-')}.jsonl"
    path = Path(place.replace("*", "0").replace("${DIDS_DATA}", "data"))
    if path.suffix == "":
        path, place = path / "0.jsonl", str(path)
    else:
        place = place.replace("${DIDS_DATA}", "data")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_records(path, made_up(number))
    return place


def made_up(number: int) -> list[dict]:
    """Prompts with completions; every source and split has an order of words of its own."""
    generator = random.Random(number)
    words = list(WORDS.values())[number % len(WORDS)]
    return [
        {"prompt": line(words, generator), "completion": line(words, generator)}
        for _ in range(NUM_RECORDS)
    ]


def write_records(path: Path, records: list[dict]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
        return
    is_json = ".json" in path.name
    lines = [json.dumps(r) if is_json else f"{r['prompt']} {r['completion']}" for r in records]
    octets = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".gz":
        octets = gzip.compress(octets)
    elif path.suffix == ".zst":
        octets = zstandard.compress(octets)
    path.write_bytes(octets)
