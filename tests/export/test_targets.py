"""Every target writes its own syntax, to the letter, and reads it back."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from blends import SCHEDULE, WEIGHTS, make_blend, written
from documented_schemas import SCHEMAS
from hypothesis import given
from hypothesis import strategies as st

from dids.errors import InputError
from dids.export.levanter import stage_steps
from dids.export.run_mixture import Stage
from dids.export.targets import TARGETS, find_target

CONTENT = {
    "llamafactory": {
        "dataset_dir": "{tmp}/llamafactory", "dataset": "code/0,code/1,prose",
        "mix_strategy": "interleave_over", "interleave_probs": "0.5,0.2,0.3", "seed": 3,
    },
    "axolotl": {
        "datasets": [
            {"path": "{tmp}/code-0.jsonl", "ds_type": "json", "split": "train",
             "type": "completion", "field": "text", "weight": 1.0},
            {"path": "{tmp}/code-1.jsonl", "ds_type": "json", "split": "train",
             "type": "completion", "field": "text", "weight": 0.8},
            {"path": "{tmp}/prose.jsonl", "ds_type": "json", "split": "train",
             "type": "completion", "field": "text", "weight": 0.4},
        ],
        "seed": 3,
    },
    "ms-swift": {
        "dataset": ["{tmp}/code-0.jsonl", "{tmp}/code-1.jsonl", "{tmp}/prose.jsonl"],
        "interleave_prob": [0.5, 0.2, 0.3], "stopping_strategy": "all_exhausted", "data_seed": 3,
    },
    "trl": {
        "datasets": [
            {"path": "json", "data_files": ["{tmp}/code-0.jsonl"], "split": "train",
             "fraction": 0.5},
            {"path": "json", "data_files": ["{tmp}/code-1.jsonl"], "split": "train",
             "fraction": 0.2},
            {"path": "json", "data_files": ["{tmp}/prose.jsonl"], "split": "train",
             "fraction": 0.3},
        ]
    },
    "nemo": {
        "dataset": {
            "_target_": "nemo_automodel.components.datasets.llm.megatron_dataset."
            "MegatronPretraining",
            "paths": ["0.5", "{tmp}/own/code-0_text_document",
                      "0.2", "{tmp}/own/code-1_text_document",
                      "0.3", "{tmp}/own/prose_text_document"],
        }
    },
    "olmo-core": {
        "sources": [
            # 0.5 of 4000 tokens from 400 are five passes, and a tenth more.
            {"source_name": "code/0", "target_ratio": 0.5, "paths": ["{tmp}/own/code-0/*.npy"],
             "max_repetition_ratio": 5.5},
            {"source_name": "code/1", "target_ratio": 0.2, "paths": ["{tmp}/own/code-1/*.npy"],
             "max_repetition_ratio": 4.4},
            {"source_name": "prose", "target_ratio": 0.3, "paths": ["{tmp}/own/prose/*.npy"],
             "max_repetition_ratio": 2.2},
        ]
    },
    "mosaicml": {
        "train_loader": {
            "dataset": {
                "streams": {
                    "code/0": {"local": "{tmp}/own/code-0", "proportion": 0.5},
                    "code/1": {"local": "{tmp}/own/code-1", "proportion": 0.2},
                    "prose": {"local": "{tmp}/own/prose", "proportion": 0.3},
                },
                "shuffle": True, "shuffle_seed": 3,
            }
        }
    },
    "levanter": {
        "data": {
            "components": {
                name: {"source": {"type": "url", "train_urls": [f"{{tmp}}/{stem}.jsonl"]},
                       "format": {"type": "text", "text_key": "text"}}
                for name, stem in
                (("code/0", "code-0"), ("code/1", "code-1"), ("prose", "prose"))
            },
            "train_weights": {"code/0": 0.5, "code/1": 0.2, "prose": 0.3},
            "mixture_block_size": 2048, "stop_strategy": "restart",
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENT)
def test_yaml_targets_say_this_and_nothing_else(name, tmp_path):
    path = written(TARGETS[name], make_blend(tmp_path), tmp_path)
    wanted = json.loads(json.dumps(CONTENT[name]).replace("{tmp}", str(tmp_path)))
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == wanted


@given(st.lists(st.floats(0.1, 1.0), min_size=2, max_size=40), st.sampled_from(list(SCHEMAS)))
def test_any_weights_fit_the_documented_schema(weights, name):
    total = sum(weights)
    shares = {f"d/{number}": weight / total for number, weight in enumerate(weights)}
    with TemporaryDirectory() as folder:
        path = written(TARGETS[name], make_blend(Path(folder), weights=shares), Path(folder))
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        SCHEMAS[name].model_validate_json(json.dumps(value))


@pytest.mark.parametrize("name", ["levanter", "mosaicml"])
def test_schedules_fit_the_documented_schema(name, tmp_path):
    path = written(TARGETS[name], make_blend(tmp_path, stages=SCHEDULE), tmp_path)
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    SCHEMAS[name].model_validate_json(json.dumps(value))


def test_megatron_gets_weights_and_prefixes_by_turns(tmp_path):
    path = written(TARGETS["megatron"], make_blend(tmp_path), tmp_path)
    own = f"{tmp_path}/own"
    assert path.read_text(encoding="utf-8").split() == [
        "0.5", f"{own}/code-0_text_document",
        "0.2", f"{own}/code-1_text_document",
        "0.3", f"{own}/prose_text_document",
    ]  # fmt: skip


def test_llamafactory_describes_every_kind_of_record(tmp_path):
    infos = {}
    for kind in ("text", "prompt", "messages"):
        path = written(TARGETS["llamafactory"], make_blend(tmp_path, kind=kind), tmp_path)
        info = json.loads((path.with_suffix("") / "dataset_info.json").read_text("utf-8"))
        infos[kind] = info["code/0"]
        assert info["code/0"]["file_name"] == str(tmp_path / "code-0.jsonl")
    assert infos["text"]["columns"] == {"prompt": "text"}
    assert infos["prompt"]["columns"] == {"prompt": "prompt", "response": "completion"}
    assert infos["messages"]["formatting"] == "sharegpt"
    assert infos["messages"]["tags"]["assistant_tag"] == "assistant"


def by_name(target, weights):
    """Weights by domain of a target that knows paths alone."""
    if target.place is None:
        return dict(weights)
    endings = {"code-0": "code/0", "code-1": "code/1", "prose": "prose"}
    return {
        next(name for stem, name in endings.items() if stem in place): weight
        for place, weight in weights.items()
    }


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_written_is_read_back(name, tmp_path):
    target = TARGETS[name]
    found = target.read(written(target, make_blend(tmp_path), tmp_path))
    weights = by_name(target, found.weights)
    total = sum(weights.values())
    assert {key: w / total for key, w in weights.items()} == pytest.approx(WEIGHTS, rel=1e-9)
    assert found.unit == target.unit


@pytest.mark.parametrize("name", [name for name in TARGETS if TARGETS[name].takes_schedule])
def test_of_a_schedule_the_last_stage_is_read_back(name, tmp_path):
    target = TARGETS[name]
    blend = make_blend(tmp_path, stages=SCHEDULE)
    found = by_name(target, target.read(written(target, blend, tmp_path)).weights)
    assert found == pytest.approx(dict(SCHEDULE[-1].weights))


def test_levanter_gets_its_stages_at_ends_of_blocks(tmp_path):
    blend = make_blend(tmp_path, stages=SCHEDULE)
    path = written(TARGETS["levanter"], blend, tmp_path)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    steps = [step for step, _ in data["train_weights"]]
    block = data["mixture_block_size"]
    assert block == 125 * 16  # half of the shortest stage, in sequences
    assert steps == [0, 250, 750]
    assert all(step * blend.batch_size % block == 0 for step in steps)
    assert data["train_weights"][1][1] == {"code/0": 0.5, "code/1": 0.0, "prose": 0.5}


@pytest.mark.parametrize(("steps", "batch_size"), [(37, 16), (1000, 48), (9, 2048), (100_000, 96)])
def test_no_stage_of_levanters_moves_by_more_than_a_quarter(tmp_path, steps, batch_size):
    blend = make_blend(tmp_path, stages=SCHEDULE, steps=steps, batch_size=batch_size)
    moved, block = stage_steps(blend)
    shortest = steps * 0.25
    for stage, step in zip(SCHEDULE, moved, strict=True):
        assert abs(step - stage.fraction * steps) <= max(shortest / 4, 0.5)
        assert step * batch_size % block == 0
    assert sorted(set(moved)) == moved


def test_megatron_gets_a_blend_a_phase_and_the_script_that_runs_them(tmp_path):
    path = written(TARGETS["megatron"], make_blend(tmp_path, stages=SCHEDULE), tmp_path)
    folder = path.with_suffix("")
    phases = sorted(folder.glob("phase-*.txt"))
    weights = [phase.read_text(encoding="utf-8").split()[::2] for phase in phases]
    # A weight of 0 is refused there, so the second phase has two domains.
    assert weights == [["0.25", "0.5", "0.25"], ["0.5", "0.5"], ["0.75", "0.125", "0.125"]]
    script = (folder / "run-phases.sh").read_text(encoding="utf-8")
    assert "--phase-transition-iterations 250,750 " in script
    assert "--global-batch-size 16" in script
    assert "# About." in script


def test_llm_foundry_gets_durations_that_add_up(tmp_path):
    path = written(TARGETS["mosaicml"], make_blend(tmp_path, stages=SCHEDULE), tmp_path)
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    curriculum = value["callbacks"]["curriculum_learning"]
    durations = [curriculum["duration"], *(stage["duration"] for stage in curriculum["schedule"])]
    assert durations == ["1000tok", "2000tok", "1000tok"]
    assert value["max_duration"] == "4000tok"
    assert set(curriculum["schedule"][0]["dataset"]["streams"]) == {"code/0", "prose"}


def test_json_has_the_schedule_in_steps_and_tokens(tmp_path):
    path = written(TARGETS["json"], make_blend(tmp_path, stages=SCHEDULE), tmp_path)
    schedule = json.loads(path.read_text(encoding="utf-8"))["schedule"]
    assert [(s["step"], s["tokens"]) for s in schedule] == [(0, 0), (250, 1000), (750, 3000)]


def test_unknown_target_is_told_the_known_ones():
    with pytest.raises(InputError, match=r"'gpt-neox' is no target.*llamafactory.*levanter.*jsonl"):
        find_target("gpt-neox")


@pytest.mark.parametrize("name", ["llamafactory", "axolotl", "levanter", "torchtitan"])
def test_mixed_kinds_are_refused_where_a_file_has_one(name, tmp_path):
    blend = make_blend(tmp_path)
    mixed = blend.domains[0].__class__(**{**vars(blend.domains[0]), "kinds": ("prompt", "text")})
    blend = blend.__class__(**{**vars(blend), "domains": (mixed, *blend.domains[1:])})
    with pytest.raises(InputError, match=r"'code/0' mixes records with prompt and text"):
        written(TARGETS[name], blend, tmp_path)


@pytest.mark.parametrize(
    ("target", "change", "said"),
    [
        ("llamafactory", {"weights": {"a,b": 0.5, "c": 0.5}}, r"'a,b' has ',' in it"),
        ("llamafactory", {"weights": {" a": 0.5, "c": 0.5}}, "begins or ends with a blank"),
        ("megatron", {"folder": "/my data"}, r"'/my data' has a blank in it"),
        ("nemo", {"folder": "/my\tdata"}, "has a blank in it"),
        ("olmo-core", {"folder": "/data*"}, r"has '\*' in it"),
        ("levanter", {"kind": "prompt"}, "has prompts with completions"),
        ("levanter", {"stages": SCHEDULE, "steps": 3}, "do not fit into 3 steps"),
        ("levanter", {"stages": SCHEDULE, "batch_size": 70_000}, "largest block of 65,535"),
        ("levanter", {"weights": {"a": 0.9999, "b": 0.0001}}, "draw nothing from b"),
        ("megatron", {"stages": SCHEDULE, "steps": 1}, "do not fit into 1 steps"),
    ],
)
def test_what_a_target_cannot_take_is_one_sentence(target, change, said, tmp_path):
    with pytest.raises(InputError, match=said):
        written(TARGETS[target], make_blend(tmp_path, **change), tmp_path)


BAD_FILES = [
    ("llamafactory", "dataset: a,b\n", "'interleave_probs' is missing"),
    ("llamafactory", "dataset: a,b\ninterleave_probs: 1\n", "has 1 values for 2 data sets"),
    ("llamafactory", "dataset: a,b\ninterleave_probs: 1,x\n", "must be a weight.*'x'"),
    ("axolotl", "datasets: [{type: completion}]\n", "'path' is missing"),
    ("axolotl", "datasets: [{path: /no/such.jsonl}]\n", "there is no file /no/such.jsonl"),
    ("ms-swift", "dataset: [a, b]\ninterleave_prob: [1]\n", "has 1 values for 2"),
    ("trl", "datasets: [{path: json}]\n", "'fraction' is missing"),
    ("megatron", "0.3 a 0.7\n", "by turns, but it has 3 entries"),
    ("megatron", "a 0.3 b 0.7\n", "must be a weight.*'a'"),
    ("nemo", "dataset: {paths: /one}\n", "must be a list"),
    ("olmo-core", "sources: [{source_name: a}]\n", "'target_ratio' is missing"),
    ("olmo-core", "sources: [{source_name: a, target_ratio: -1}]\n", "must be a weight"),
    ("levanter", "data: {components: {}}\n", "'train_weights' is missing"),
    ("mosaicml", "train_loader: {dataset: {}}\n", "'streams' is missing"),
    ("json", "[1, 2]", "must be a mapping, but it is a list"),
    ("axolotl", "", "must be a mapping, but it is empty"),
    ("axolotl", "datasets: 3\n", "'datasets' must be a list of mappings"),
    ("trl", "datasets: [3]\n", "'datasets' must be a list of mappings"),
    ("olmo-core", "sources: 3\n", "'sources' must be a list of mappings"),
    ("mosaicml", "train_loader: {dataset: {streams: 3}}\n", "'streams' must be a mapping"),
    ("json", '{"weights": 3}', "'weights' must be a mapping from names to weights"),
    ("json", '{"weights": {"a": 1}, "files": 3}', "'files' must be a mapping from names"),
    ("json", '{"weights": {"a": 1}, "unit": "zz"}', "'unit' must be records or tokens, got 'zz'"),
    ("trl", "datasets: [\n", r"line \d+: not valid YAML"),
    ("datasets", "x = (\n", r"line \d: not valid Python"),
    ("datasets", "x = 1\n", "no weights are written out"),
    ("litdata", "WEIGHTS = {'a': 'b'}\n", "must be a weight"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "said"), BAD_FILES)
def test_a_bad_file_is_one_sentence_with_its_name(name, text, said, tmp_path):
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        TARGETS[name].read(path)
    assert str(path) in str(caught.value)


def test_other_peoples_python_is_read_without_being_run(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "raise SystemExit\n"
        "mix = interleave_datasets([web, load_dataset('json', data_files='d/code.jsonl')],\n"
        "                          probabilities=[0.7, 0.3], seed=1)\n",
        encoding="utf-8",
    )
    assert TARGETS["datasets"].read(path).weights == {"web": 0.7, "code": 0.3}


def test_weights_below_a_round_figure_keep_their_digits(tmp_path):
    weights = {"a": 1 / 3, "b": 2 / 3 - 1e-7, "c": 1e-7}
    blend = make_blend(tmp_path, stages=(Stage(0.0, weights),))
    found = TARGETS["json"].read(written(TARGETS["json"], blend, tmp_path)).weights
    assert found == pytest.approx(weights, rel=1e-9)
