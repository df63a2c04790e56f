"""A mistake in a config is one sentence with file, line, field and what would be right."""

from pathlib import Path

import pytest

from dids.config import load_config
from dids.config.schema import Config
from dids.config.template import TEMPLATE
from dids.errors import InputError

MINIMAL = """\
run: runs/x
data:
  sources:
    web: web.jsonl
tasks:
  qa: {validation: v.jsonl, test: t.jsonl}
tokenizer: {train: {vocab_size: 512}}
model: {config: {model_type: llama}}
budget: {tokens: 1000}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as error:
        load_config(written(tmp_path, text))
    return str(error.value)


def test_minimal_config_gets_the_stated_defaults(tmp_path):
    config = load_config(written(tmp_path, MINIMAL))
    assert config.seed == 0
    assert config.control == "uniform"
    assert config.mixture.policy == "dids"
    assert config.warmup_steps == 200  # a model without trained weights is warmed up
    assert config.data.sources["web"].path == (str(Path("web.jsonl").absolute()),)


@pytest.mark.parametrize("model", ["org/base", "{name: org/base, lora: {r: 8}}"])
@pytest.mark.parametrize("tokenizer", ["", "tokenizer: null\n"])
def test_a_model_of_a_name_brings_its_tokenizer(tmp_path, model, tokenizer):
    text = MINIMAL.replace("model: {config: {model_type: llama}}\n", f"model: {model}\n")
    text = text.replace("tokenizer: {train: {vocab_size: 512}}\n", tokenizer)
    assert load_config(written(tmp_path, text)).tokenizer.name == "org/base"


def test_a_tokenizer_that_is_said_stands_beside_a_model_of_a_name(tmp_path):
    text = MINIMAL.replace("{config: {model_type: llama}}", "org/base")
    assert load_config(written(tmp_path, text)).tokenizer.name is None


def test_a_new_model_needs_a_tokenizer(tmp_path):
    message = complaint(tmp_path, MINIMAL.replace("tokenizer: {train: {vocab_size: 512}}\n", ""))
    assert "'tokenizer' is missing" in message


def test_template_is_a_valid_config(tmp_path):
    config = load_config(written(tmp_path, TEMPLATE))
    assert config.data.sources["chat"].max_repeats == 4


def test_zero_is_zero_and_none_is_none(tmp_path):
    text = MINIMAL.replace("web: web.jsonl", "web: {path: web.jsonl, max_repeats: 0}")
    assert load_config(written(tmp_path, text)).data.sources["web"].max_repeats == 0
    assert load_config(written(tmp_path, MINIMAL)).data.sources["web"].max_repeats is None


def test_unknown_key_names_its_nearest_neighbour_and_line(tmp_path):
    message = complaint(tmp_path, MINIMAL.replace("budget:", "buget:"))
    assert "line 9" in message
    assert "'buget'" in message
    assert "did you mean 'budget'?" in message


def test_unknown_nested_key_is_found_behind_a_union(tmp_path):
    text = MINIMAL.replace("web: web.jsonl", "web: {path: web.jsonl, max_repeat: 1}")
    message = complaint(tmp_path, text)
    assert "line 4" in message
    assert "'data.sources.web.max_repeat'" in message
    assert "did you mean 'max_repeats'?" in message


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("tokens: 1000", "tokens: 0", "budget.tokens", "0"),
        ("tokens: 1000", "tokens: many", "budget.tokens", "many"),
        ("vocab_size: 512", "vocab_size: 10", "tokenizer.train.vocab_size", "10"),
        ("budget:", "control: best\nbudget:", "control", "best"),
        ("budget:", "domains: {number: few}\nbudget:", "domains.number", "few"),
        ("budget:", "mixture: {policy: magic}\nbudget:", "mixture.policy", "magic"),
        ("budget:", "seed: yes\nbudget:", "seed", "must be a number, not yes or no"),
        ("tokens: 1000", "tokens: true", "budget.tokens", "must be a number, not yes or no"),
        ("vocab_size: 512", "vocab_size: 1000000000000", "tokenizer.train.vocab_size", "10000000"),
        ("web: web.jsonl", 'web: ""', "data.sources.web", "a path is empty"),
        ("test: t.jsonl", "test: t.jsonl, weight: 1.0e+308", "tasks.qa.weight", "1000000000"),
    ],
)
def test_bad_value_names_field_and_value(tmp_path, old, new, field, value):
    message = complaint(tmp_path, MINIMAL.replace(old, new))
    assert f"'{field}'" in message
    assert value in message
    assert ", line " in message


def test_missing_section_is_named(tmp_path):
    message = complaint(tmp_path, MINIMAL.replace("budget: {tokens: 1000}\n", ""))
    assert "'budget' is missing" in message


def test_two_sources_of_one_name_are_refused(tmp_path):
    message = complaint(
        tmp_path, MINIMAL.replace("web: web.jsonl", "web: a.jsonl\n    web: b.jsonl")
    )
    assert "line 5" in message
    assert "'web' is given twice" in message


def test_unset_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    message = complaint(tmp_path, MINIMAL.replace("web.jsonl", "${NOWHERE}/web.jsonl"))
    assert "data.sources.web" in message
    assert "NOWHERE is not set" in message


def test_variable_and_its_default_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/corpus")
    monkeypatch.delenv("SEED", raising=False)
    text = MINIMAL.replace("web.jsonl", "${PLACE}/web.jsonl") + "seed: ${SEED:-7}\n"
    config = load_config(written(tmp_path, text))
    assert config.data.sources["web"].path == ("/corpus/web.jsonl",)
    assert config.seed == 7


def test_two_dollars_are_one_and_no_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("a", raising=False)
    text = MINIMAL.replace("web.jsonl", "/corpus/$${a}-$$-${b:-x}$.jsonl")
    paths = load_config(written(tmp_path, text)).data.sources["web"].path
    assert paths == ("/corpus/${a}-$$-x$.jsonl",)


def test_file_that_is_no_yaml_names_the_line(tmp_path):
    assert "line 2: not valid YAML" in complaint(tmp_path, "run: x\n  seed: [")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "run: {{ run }}\n",
            "line 1: not valid YAML: a name must be a word, not a list",
        ),
        ("run: x\n? [a, b]\n: 1\n", "line 2: not valid YAML: a name must be a word"),
        ("seed: 2024-13-45\n", "line 1: not valid YAML: '2024-13-45' cannot be read as a value"),
        ("seed: 0x_\n", "'0x_' cannot be read as a value; put it into quotes"),
        ("seed: !!bool abc\n", "'abc' cannot be read as a value"),
        ("seed: &x [*x]\n", "an alias is part of what it stands for"),
        ("extra: &x {a: *x}\n", "an alias is part of what it stands for"),
    ],
)
def test_values_that_yaml_cannot_make_are_named(tmp_path, text, said):
    assert said in complaint(tmp_path, text)


def test_what_an_alias_merges_may_be_given_anew(tmp_path):
    text = MINIMAL.replace(
        "    web: web.jsonl\n",
        "    web: &as {path: web.jsonl, max_repeats: 2}\n    code: {<<: *as, path: code.jsonl}\n",
    )
    code = load_config(written(tmp_path, text)).data.sources["code"]
    assert code.max_repeats == 2
    assert code.path[0].endswith("code.jsonl")


def test_numbers_of_a_models_config_may_be_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDTH", "16")
    text = MINIMAL.replace(
        "{model_type: llama}", '{model_type: llama, hidden_size: "${WIDTH}", rms_norm_eps: 1e-6}'
    )
    found = load_config(written(tmp_path, text)).model.config
    assert found == {"model_type": "llama", "hidden_size": 16, "rms_norm_eps": 1e-6}
    assert isinstance(found["hidden_size"], int)


def test_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no such config file"):
        load_config(tmp_path / "no.yaml")


def test_floor_above_cap_is_refused(tmp_path):
    text = MINIMAL.replace("web: web.jsonl", "web: {path: web.jsonl, floor: 0.5, cap: 0.1}")
    message = complaint(tmp_path, text)
    assert "floor 0.5 is above cap 0.1" in message


def test_training_argument_with_a_slip_names_its_neighbour(tmp_path):
    message = complaint(tmp_path, MINIMAL + "training: {learning_rat: 0.1}\n")
    assert "'training.learning_rat'" in message
    assert "did you mean 'learning_rate'?" in message


def test_training_argument_that_the_run_sets_is_refused(tmp_path):
    message = complaint(tmp_path, MINIMAL + "training: {max_steps: 5}\n")
    assert "use budget.tokens" in message


@pytest.mark.parametrize(
    ("argument", "use"),
    [
        ("enable_jit_checkpoint", "a run that SIGTERM stops saves a checkpoint"),
        ("save_only_model", "a run goes on from the optimizer's state"),
        ("eval_on_start", "tasks"),
        ("auto_find_batch_size", "per_device_train_batch_size"),
    ],
)
def test_training_argument_that_would_break_a_run_is_refused(tmp_path, argument, use):
    message = complaint(tmp_path, MINIMAL + f"training: {{{argument}: true}}\n")
    assert f"'training.{argument}' is set by the run itself; use " in message
    assert use in message


def test_what_an_optional_training_argument_may_be_is_taken(tmp_path):
    text = "training: {dataloader_prefetch_factor: null, accelerator_config: {even_batches: true}}"
    training = load_config(written(tmp_path, f"{MINIMAL}{text}\n")).training
    assert training["dataloader_prefetch_factor"] is None
    assert training["accelerator_config"] == {"even_batches": True}


@pytest.mark.parametrize("written_as", ["", ", target_modules: all-linear"])
def test_all_linear_layers_stay_all_where_a_config_is_validated_twice(tmp_path, written_as):
    text = MINIMAL.replace("model: {", f"model: {{lora: {{r: 2{written_as}}}, ")
    config = load_config(written(tmp_path, text))
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again.model.lora.target_modules == "all-linear"
    assert again == config
    one = load_config(
        written(tmp_path, MINIMAL.replace("model: {", "model: {lora: {target_modules: q}, "))
    )
    assert one.model.lora.target_modules == ("q",)


def test_weights_of_few_bits_are_not_sharded(tmp_path):
    model = "model: {lora: {r: 2}, quantization: 4bit, name: some/model}"
    lines = [model if line.startswith("model:") else line for line in MINIMAL.splitlines()]
    text = "\n".join(lines) + "\n"
    assert load_config(written(tmp_path, text)).proxy_model.quantization is None
    with pytest.raises(InputError, match=r"training\.fsdp shards a model.*model\.quantization"):
        load_config(written(tmp_path, text + "training: {fsdp: true}\n"))


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("learning_rate: fast", "'training.learning_rate': input should be a valid number"),
        ("learning_rate: -1.0e-3", "'training.learning_rate' must be 0 or more, got -0.001"),
        ("learning_rate: .nan", "'training.learning_rate' must be 0 or more, got nan"),
        ("per_device_train_batch_size: 0", "must be 1 or more, got 0"),
        ("per_device_train_batch_size: 1.5", "input should be a valid integer"),
        ("adam_beta2: 1.0", "'training.adam_beta2' must be below 1, got 1.0"),
        ("neftune_noise_alpha: -5", "must be 0 or more, got -5"),
        ("torch_compile_mode: max-autotun", "does not know; did you mean 'max-autotune'?"),
        ("torch_compile_backend: inducto", "torch.compile does not know; did you mean 'inductor'?"),
        ("lr_scheduler_type: cosin", "Transformers does not know; did you mean 'cosine'?"),
        ("lr_scheduler_type: reduce_lr_on_plateau", "Transformers does not know"),
        ("optim: 7", "there are: adamw_torch"),
        ("bf16: true, fp16: true", "'training.fp16' are both true; keep one"),
        ("dataloader_prefetch_factor: 0", "must be 1 or more, got 0"),
        ("accelerator_config: {split_batches: true}", "split_batches would have Accelerate deal"),
        ("accelerator_config: {dispatch_batches: true}", "dispatch_batches would have Accelerate"),
        ("accelerator_config: a.json", "is a mapping, not 'a.json'"),
        ("gradient_checkpointing: often", "'training.gradient_checkpointing': input should be"),
    ],
)
def test_training_argument_with_a_value_that_does_not_fit_names_its_line(tmp_path, argument, said):
    message = complaint(tmp_path, MINIMAL + f"training: {{{argument}}}\n")
    assert said in message
    assert "config.yaml, line 10: " in message


def test_a_number_that_yaml_takes_for_a_word_is_a_number(tmp_path):
    text = MINIMAL + "training: {learning_rate: 5e-4, per_device_train_batch_size: '4'}\n"
    training = load_config(written(tmp_path, text)).training
    assert training == {"learning_rate": 5e-4, "per_device_train_batch_size": 4}


@pytest.mark.parametrize("name", ["a/b", ".hidden", "' padded'", '"a\\tb"', "''", "x" * 101])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path, name):
    message = complaint(tmp_path, MINIMAL.replace("web: web.jsonl", f"{name}: web.jsonl"))
    assert "config.yaml, line 4: 'data.sources." in message
    assert "a name has" in message
    assert "a name has" in complaint(tmp_path, MINIMAL.replace("qa: {val", f"{name}: {{val"))


def test_a_seed_that_no_generator_takes_is_refused(tmp_path):
    assert load_config(written(tmp_path, MINIMAL + f"seed: {2**32 - 1}\n")).seed == 2**32 - 1
    message = complaint(tmp_path, MINIMAL + f"seed: {2**32}\n")
    assert "line 10: 'seed': input should be less than 4294967296" in message


def test_a_control_character_is_named_with_its_line(tmp_path):
    message = complaint(tmp_path, MINIMAL + "seed: \x00\n")
    assert "config.yaml, line 10: not valid YAML: it has the control character U+0000" in message


def test_a_percentage_is_the_fraction_that_it_is(tmp_path):
    text = MINIMAL.replace("web: web.jsonl", "web: {path: web.jsonl, floor: 10 %}")
    config = load_config(written(tmp_path, text + "impact: {overhead: 2%}\n"))
    assert config.impact.overhead == 0.02
    assert config.data.sources["web"].floor == 0.1
    message = complaint(tmp_path, MINIMAL + "impact: {overhead: a few%}\n")
    assert "'impact.overhead': input should be a valid number" in message


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("floor: 60%", "floors and pins of the sources add up to 1.2"),
        ("pin: 0.6", "floors and pins of the sources add up to 1.2"),
        ("cap: 0.4", "caps and pins of the sources add up to 0.8"),
    ],
)
def test_limits_of_sources_that_no_mixture_keeps_are_refused(tmp_path, limits, said):
    two = f"web: {{path: a.jsonl, {limits}}}\n    code: {{path: b.jsonl, {limits}}}"
    message = complaint(tmp_path, MINIMAL.replace("web: web.jsonl", two))
    assert f"config.yaml, line 2: 'data': {said}" in message
    at_the_edge = two.replace(limits, "pin: 0.5")
    load_config(written(tmp_path, MINIMAL.replace("web: web.jsonl", at_the_edge)))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_source_with_the_name_of_a_task_s_files_is_refused(tmp_path, split):
    message = complaint(tmp_path, MINIMAL.replace("web: web", f"qa-{split}: web"))
    assert f"data.sources.qa-{split} has the name that a run gives to files of the task" in message
    load_config(written(tmp_path, MINIMAL.replace("web: web", "qa-train: web")))


def test_fewer_domains_than_sources_that_they_stay_within_are_refused(tmp_path):
    text = MINIMAL.replace("web: web.jsonl", "web: web.jsonl\n    code: code.jsonl")
    message = complaint(tmp_path, f"{text}domains:\n  number: 1\n")
    assert "config.yaml, line 12: domains.number is 1" in message
    assert "need at least 2, one for each source" in message
    for enough in ("{number: 2}", "{number: 1, within: all}", "{number: sources}"):
        load_config(written(tmp_path, f"{text}domains: {enough}\n"))
