"""A run says which of its tests it was trained on."""

import json

from tiny_run import write_config

from dids.config import load_config
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.stages.report import leak_warnings
from dids.run.stages.tokens import run as tokens_stage


def test_test_items_among_the_training_records_become_a_warning(tmp_path):
    config_path = write_config(tmp_path)
    lines = (tmp_path / "sums-test.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    long = [prompt for prompt in prompts if len(prompt.split()) >= 6]
    with (tmp_path / "noise.jsonl").open("a", encoding="utf-8") as file:
        for prompt in long[:2]:
            file.write(json.dumps({"text": f"Quiz! {prompt.upper()}"}) + "\n")
    folder = RunFolder(tmp_path / "run")
    work = run_stages(load_config(config_path), folder, ConsoleProgress(), last="tokens")
    assert leak_warnings(work) == [
        "sums: 2 test items also stand in source noise; its loss is too good."
    ]


def test_leaks_are_found_among_tokens_of_an_earlier_run_too(tmp_path):
    config_path = write_config(tmp_path)
    lines = (tmp_path / "sums-validation.jsonl").read_text(encoding="utf-8").splitlines()
    with (tmp_path / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write(lines[0] + "\n")
    folder = RunFolder(tmp_path / "run")
    work = run_stages(load_config(config_path), folder, ConsoleProgress(), last="tokens")
    first = folder.facts("tokens")["leaks"]
    assert first["validation"]["sums"] == {"sums": 1}
    assert tokens_stage(work)["leaks"] == first
