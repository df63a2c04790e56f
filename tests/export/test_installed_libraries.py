"""What is exported, loaded by the libraries that it is for.

Those of the development environment always; the others where they are installed. The documentation
says with which versions these tests were run.
"""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from blends import SCHEDULE, WEIGHTS, make_blend, written

from dids.export.run_mixture import Stage
from dids.export.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore")


def module_at(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shares(texts) -> dict[str, float]:
    """Shares of the domains by the first words of their texts."""
    count = Counter(text.split()[0] for text in texts)
    return {name: count[name] / count.total() for name in WEIGHTS}


def file_in(package: str, *parts: str) -> Path:
    """A file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


# Hugging Face datasets


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_interleaves_by_the_weights(tmp_path, streaming):
    path = written(TARGETS["datasets"], make_blend(tmp_path), tmp_path)
    mixture = module_at(path).train_dataset(streaming=streaming)
    texts = [row["text"] for row in mixture]
    assert set(shares(texts)) == set(WEIGHTS)
    # All three were exhausted once; the shares of that many draws are within three deviations.
    for name, share in shares(texts).items():
        assert abs(share - WEIGHTS[name]) < 3 * (0.25 / len(texts)) ** 0.5
    assert len(set(texts)) == 120


# TRL


def test_trl_mixes_the_fractions(tmp_path):
    from trl import ScriptArguments, TrlParser
    from trl.scripts.utils import DatasetMixtureConfig, get_dataset

    path = written(TARGETS["trl"], make_blend(tmp_path), tmp_path)
    parser = TrlParser((ScriptArguments, DatasetMixtureConfig))
    _, mixture = parser.parse_args_and_config(["--config", str(path)])
    rows = get_dataset(mixture)["train"]
    # 40 records of code/0 are half of what is there without repeats: 80.
    assert Counter(row["text"].split()[0] for row in rows) == {
        "code/0": 40, "code/1": 16, "prose": 24,
    }  # fmt: skip


# LLaMA-Factory


@pytest.mark.parametrize("kind", ["text", "prompt", "messages"])
def test_llamafactory_loads_its_data_sets(tmp_path, kind):
    pytest.importorskip("llamafactory.hparams.data_args")
    import datasets
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.data_utils import merge_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams.data_args import DataArguments

    path = written(TARGETS["llamafactory"], make_blend(tmp_path, kind=kind), tmp_path)
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    seed = settings.pop("seed")
    arguments = DataArguments(**settings)
    assert arguments.interleave_probs == list(WEIGHTS.values())
    loaded = []
    for attributes in get_dataset_list(arguments.dataset, arguments.dataset_dir):
        assert attributes.load_from == "file"
        file = str(Path(arguments.dataset_dir) / attributes.dataset_name)
        rows = datasets.load_dataset("json", data_files=file, split="train")
        name = "sharegpt" if attributes.formatting == "sharegpt" else "alpaca"
        convert = get_dataset_converter(name, attributes, arguments)
        loaded.append(rows.map(convert, remove_columns=rows.column_names))
    merged = merge_dataset(loaded, arguments, seed)
    texts = [row["_prompt"][0]["content"] for row in merged]
    for name, share in shares(texts).items():
        assert abs(share - WEIGHTS[name]) < 3 * (0.25 / len(texts)) ** 0.5
    if kind != "text":
        assert merged[0]["_response"][0]["content"].endswith("yes")


# Axolotl


@pytest.mark.parametrize("kind", ["text", "prompt", "messages"])
def test_axolotl_takes_every_entry(tmp_path, kind):
    schemas = pytest.importorskip("axolotl.utils.schemas.datasets")
    path = written(TARGETS["axolotl"], make_blend(tmp_path, kind=kind), tmp_path)
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"]
    found = [schemas.SFTDataset(**entry) for entry in entries]
    assert [entry.weight for entry in found] == [1.0, 0.8, 0.4]
    known = set(schemas.SFTDataset.model_fields)
    assert all(set(entry) <= known for entry in entries)


# ms-swift


def test_ms_swift_parses_the_config(tmp_path, monkeypatch):
    main = file_in("swift", "cli", "main.py")
    module = pytest.importorskip("swift.cli.main", reason=str(main))
    path = written(TARGETS["ms-swift"], make_blend(tmp_path), tmp_path)
    argv = [str(path)]
    module.parse_yaml_args(argv)
    arguments = pytest.importorskip("swift.arguments.base_args.data_args")
    from transformers import HfArgumentParser

    (parsed,) = HfArgumentParser(arguments.DataArguments).parse_args_into_dataclasses(argv)
    assert parsed.interleave_prob == list(WEIGHTS.values())
    assert parsed.dataset == [str(tmp_path / f"{s}.jsonl") for s in ("code-0", "code-1", "prose")]
    assert parsed.stopping_strategy == "all_exhausted"
    assert parsed.data_seed == 3


# Megatron-LM, NeMo


def test_megatron_reads_the_blend(tmp_path):
    utils = pytest.importorskip("megatron.core.datasets.utils")
    path = written(TARGETS["megatron"], make_blend(tmp_path), tmp_path)
    prefixes, weights = utils.get_blend_from_list(path.read_text(encoding="utf-8").split())
    assert weights == list(WEIGHTS.values())
    assert prefixes[2] == f"{tmp_path}/own/prose_text_document"


def test_nemo_reads_the_blend(tmp_path):
    utils = pytest.importorskip("nemo_automodel.components.datasets.llm.megatron.megatron_utils")
    dataset = pytest.importorskip("nemo_automodel.components.datasets.llm.megatron_dataset")
    path = written(TARGETS["nemo"], make_blend(tmp_path), tmp_path)
    section = yaml.safe_load(path.read_text(encoding="utf-8"))["dataset"]
    module, _, name = section.pop("_target_").rpartition(".")
    assert module == dataset.__name__
    assert hasattr(dataset, name)
    config = dataset.MegatronPretrainingConfig(**section)
    assert utils.get_blend_from_list(config.paths)[1] == list(WEIGHTS.values())


# OLMo-core


def test_olmo_core_builds_the_mixture(tmp_path):
    numpy = pytest.importorskip("numpy")
    mixtures = pytest.importorskip("olmo_core.data.source_mixture")
    types = pytest.importorskip("olmo_core.data.types")
    blend = make_blend(tmp_path, unit="tokens", tokens=1000)
    path = written(TARGETS["olmo-core"], blend, tmp_path)
    for domain in blend.domains:
        folder = Path(blend.folder) / domain.stem
        folder.mkdir(parents=True)
        numpy.arange(domain.tokens, dtype=numpy.uint16).tofile(folder / "part-0.npy")
    sources = mixtures.SourceMixtureList.from_yaml(path)
    sources.validate()
    config = mixtures.SourceMixtureDatasetConfig(
        source_list=sources, requested_tokens=1000, global_batch_size=100, render_tables=False
    )
    built = config.build(npdtype=types.NumpyDatasetDType.uint16.as_np_dtype(), sequence_length=10)
    tokens = {s.name: sum(part.tokens for part in s.path_tokens) for s in built.sources}
    assert tokens == pytest.approx({name: 1000 * w for name, w in WEIGHTS.items()}, abs=10)


# torchtitan


@pytest.mark.parametrize("kind", ["text", "prompt", "messages"])
def test_torchtitan_makes_its_config(tmp_path, kind):
    loaders = pytest.importorskip("torchtitan.hf_datasets.text_datasets")
    path = written(TARGETS["torchtitan"], make_blend(tmp_path, kind=kind), tmp_path)
    config = module_at(path).dataloader()
    assert [source.weight for source in config.sources] == list(WEIGHTS.values())
    assert config.seed == 3
    if kind == "text":
        _, load, text_of = loaders._validate_dataset(config.sources[0].dataset)
        assert text_of(load("json")[0]) == "code/0 0"
    else:
        source = config.sources[0]
        rows = loaders.load_dataset(source.dataset_path, **source.load_dataset_kwargs)
        turns = source.sample_processor(rows[0])
        assert [turn["role"] for turn in turns] == ["user", "assistant"]


# LitData


def test_litdata_draws_by_the_weights(tmp_path):
    litdata = pytest.importorskip("litdata")
    torch = pytest.importorskip("torch")
    blend = make_blend(tmp_path, unit="tokens")
    for number, domain in enumerate(blend.domains):
        litdata.optimize(
            fn=_Tokens(number), inputs=list(range(200)),
            output_dir=str(Path(blend.folder) / domain.stem), chunk_size=5000, num_workers=1,
            item_loader=litdata.TokensLoader(block_size=10), verbose=False,
        )  # fmt: skip
    mixture = module_at(written(TARGETS["litdata"], blend, tmp_path)).train_dataset(10)
    drawn = Counter(int(block[0]) for block in mixture)
    for number, weight in enumerate(WEIGHTS.values()):
        share = drawn[number] / drawn.total()
        assert abs(share - weight) < 3 * (0.25 / drawn.total()) ** 0.5
    assert torch is not None


class _Tokens:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, _):
        import torch

        yield torch.full((10,), self.number, dtype=torch.int64)


# MosaicML Streaming, LLM Foundry


def test_streaming_draws_by_the_proportions(tmp_path):
    streaming = pytest.importorskip("streaming")
    blend = make_blend(tmp_path, unit="tokens")
    path = written(TARGETS["mosaicml"], blend, tmp_path)
    for domain in blend.domains:
        folder = str(Path(blend.folder) / domain.stem)
        with streaming.MDSWriter(out=folder, columns={"domain": "str"}) as writer:
            for _ in range(50):
                writer.write({"domain": domain.name})
    dataset = yaml.safe_load(path.read_text(encoding="utf-8"))["train_loader"]["dataset"]
    streams = [streaming.Stream(**values) for values in dataset.pop("streams").values()]
    mixture = streaming.StreamingDataset(streams=streams, epoch_size=200, batch_size=10, **dataset)
    drawn = Counter(row["domain"] for row in mixture)
    assert drawn == {"code/0": 100, "code/1": 40, "prose": 60}


def test_llm_foundry_takes_the_curriculum(tmp_path):
    callbacks = pytest.importorskip("llmfoundry.callbacks.curriculum_learning_callback")
    path = written(TARGETS["mosaicml"], make_blend(tmp_path, stages=SCHEDULE), tmp_path)
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = {"train_loader": value["train_loader"], "device_train_batch_size": 1, "tokenizer": {}}
    keywords = value["callbacks"]["curriculum_learning"]
    callback = callbacks.CurriculumLearning(train_config=config, **keywords)
    assert sum(stage["duration"].value for stage in callback._schedule) == 4000


# Levanter


@pytest.mark.parametrize("stages", [None, SCHEDULE])
@pytest.mark.parametrize("kind", ["text", "messages"])
def test_levanter_parses_the_data_and_its_stages(tmp_path, kind, stages):
    draccus = pytest.importorskip("draccus")
    datasets = pytest.importorskip("levanter.data.text.datasets")
    blend = make_blend(tmp_path, kind=kind, stages=stages, unit="tokens")
    path = written(TARGETS["levanter"], blend, tmp_path)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    config = draccus.decode(datasets.LmDataConfig, data)
    weights = config.train_weights
    assert config.components["prose"].source.train_urls == [str(tmp_path / "prose.jsonl")]
    if stages is None:
        assert weights == WEIGHTS
        return
    from levanter.data.mixture import MixtureDataset, rescale_mixture_schedule_for_batch_schedule
    from levanter.schedule import BatchSchedule

    schedule = BatchSchedule(blend.batch_size)
    rescaled = rescale_mixture_schedule_for_batch_schedule(weights, schedule)
    mixture = MixtureDataset(
        datasets=dict.fromkeys(WEIGHTS, object()), weights=rescaled, key=0,
        block_size=config.mixture_block_size,
    )  # fmt: skip
    counts = mixture._counts_per_block_per_stage
    for number, stage in enumerate(SCHEDULE):
        share = dict(zip(mixture.dataset_index, counts[number] / counts[number].sum(), strict=True))
        assert share == pytest.approx(dict(stage.weights), abs=len(WEIGHTS) / mixture.block_size)


def test_json_is_json(tmp_path):
    blend = make_blend(tmp_path, stages=(Stage(0.0, WEIGHTS),))
    path = written(TARGETS["json"], blend, tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["weights"] == WEIGHTS
    assert sys.version_info >= (3, 10)
