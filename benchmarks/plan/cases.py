"""What is planned and run: the example of Python's own text twice, and a part of the instruct pack.

The third has a larger model, a share of the features, choices that go through lm-eval, and an
allowance for measuring.
"""

from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
_SOURCES = (
    "boilerplate", "commonsense_ecqa", "gsm8k_train", "medical_qa", "open_instructions",
    "science_mcq", "text2sql", "yesno_facts",
)  # fmt: skip
_TASKS = ("boolq", "gsm8k", "mmlu")
_LARGER = {
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def case_config(name: str, folder: Path) -> Path:
    """Write the config of a case, with a run folder beside it; its path."""
    config = CASES[name]
    values = yaml.safe_load((EXAMPLES / config["example"]).read_text(encoding="utf-8"))
    for section, change in config["change"].items():
        old = values.get(section)
        values[section] = {**old, **change} if isinstance(old, dict) else change
    for section, kept in config.get("keep", {}).items():
        held = values["data"]["sources"] if section == "sources" else values[section]
        for other in [key for key in held if key not in kept]:
            del held[other]
    values |= {"run": str(folder / "run"), "seed": 0}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


CASES: dict[str, dict[str, Any]] = {
    "Python's text, 150,000 tokens": {
        "example": "demo.yaml",
        "change": {"budget": {"tokens": 150_000}, "features": {"dim": 512, "share": 0.25}},
    },
    "Python's text, 600,000 tokens": {
        "example": "demo.yaml",
        "change": {"budget": {"tokens": 600_000}},
    },
    "instruct pack, 400,000 tokens, larger model": {
        "example": "instruct.yaml",
        "change": {
            "model": {"config": _LARGER},
            "features": {"share": 0.1},
            "impact": {"overhead": 0.1},
            "budget": {"tokens": 400_000},
            "check": {"allowed_leaks": ["gsm8k"]},
        },
        "keep": {"sources": _SOURCES, "tasks": _TASKS},
    },
}
