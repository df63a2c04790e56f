"""What the targets' documentation says of the fields that exports write: names, types, bounds.

Closed to other fields. Each says where it was read; the libraries themselves are in
`test_installed_libraries`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Texts = Annotated[list[str], Field(min_length=1)]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LlamaFactory(Closed):
    """https://github.com/hiyouga/LLaMA-Factory/blob/main/src/llamafactory/hparams/data_args.py"""

    dataset: str
    dataset_dir: str
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"]
    interleave_probs: str
    seed: int

    @model_validator(mode="after")
    def _as_many_probabilities_as_data_sets(self):
        assert len(self.dataset.split(",")) == len(self.interleave_probs.split(","))
        assert abs(sum(map(float, self.interleave_probs.split(","))) - 1) < 1e-8
        return self


class AxolotlPrompter(Closed):
    field_instruction: str
    field_output: str
    format: str
    no_input_format: str


class AxolotlDataset(Closed):
    path: str
    data_files: Texts | None = None
    ds_type: Literal["json", "parquet"]
    split: str
    type: str | AxolotlPrompter
    field: str | None = None
    field_messages: str | None = None
    weight: Annotated[float, Field(gt=0, le=1)]


class Axolotl(Closed):
    """https://github.com/axolotl-ai-cloud/axolotl/blob/main/src/axolotl/utils/schemas/datasets.py"""

    datasets: list[AxolotlDataset]
    seed: int


class MsSwift(Closed):
    """https://github.com/modelscope/ms-swift/blob/main/swift/arguments/base_args/data_args.py"""

    dataset: Texts
    interleave_prob: list[Positive]
    stopping_strategy: Literal["first_exhausted", "all_exhausted"]
    data_seed: int

    @model_validator(mode="after")
    def _as_many_probabilities_as_data_sets(self):
        assert len(self.dataset) == len(self.interleave_prob)
        assert abs(sum(self.interleave_prob) - 1) < 1e-8
        return self


class TrlDataset(Closed):
    path: str
    data_files: str | Texts
    split: str
    fraction: Positive


class Trl(Closed):
    """https://huggingface.co/docs/trl/script_utils"""

    datasets: list[TrlDataset]


class NemoDataset(Closed):
    target: Annotated[str, Field(alias="_target_")]
    paths: Texts


class Nemo(Closed):
    """https://docs.nvidia.com/nemo/automodel/latest/guides/llm/pretraining.html"""

    dataset: NemoDataset


class OlmoSource(Closed):
    source_name: str
    target_ratio: Annotated[float, Field(gt=0, le=1)]
    paths: Texts
    max_repetition_ratio: Annotated[float, Field(ge=1)]


class Olmo(Closed):
    """https://olmo-core.readthedocs.io/en/latest/guides/data_mixing.html"""

    sources: list[OlmoSource]

    @model_validator(mode="after")
    def _ratios_sum_to_one(self):
        assert abs(sum(source.target_ratio for source in self.sources) - 1) < 1e-5
        return self


class MosaicStream(Closed):
    local: str
    proportion: Positive


class MosaicDataset(Closed):
    streams: dict[str, MosaicStream]
    shuffle: bool
    shuffle_seed: int


class MosaicLoader(Closed):
    dataset: MosaicDataset


Tokens = Annotated[str, Field(pattern=r"^[1-9]\d*tok$")]


class MosaicStage(Closed):
    duration: Tokens
    dataset: MosaicDataset


class MosaicCurriculum(Closed):
    duration: Tokens
    schedule: Annotated[list[MosaicStage], Field(min_length=1)]


class MosaicCallbacks(Closed):
    curriculum_learning: MosaicCurriculum


class Mosaic(Closed):
    """https://docs.mosaicml.com/projects/streaming/en/stable/dataset_configuration/mixing_data_sources.html
    and
    https://github.com/mosaicml/llm-foundry/blob/main/llmfoundry/callbacks/curriculum_learning_callback.py
    """

    train_loader: MosaicLoader
    max_duration: Tokens | None = None
    callbacks: MosaicCallbacks | None = None


class LevanterSource(Closed):
    type: Literal["url"]
    train_urls: Texts


class LevanterFormat(Closed):
    type: Literal["text", "chat"]
    text_key: str | None = None
    messages_field: str | None = None


class LevanterComponent(Closed):
    source: LevanterSource
    format: LevanterFormat


class LevanterData(Closed):
    components: dict[str, LevanterComponent]
    train_weights: dict[str, float] | list[tuple[int, dict[str, float]]]
    mixture_block_size: Annotated[int, Field(gt=0, lt=1 << 16)]
    stop_strategy: Literal["restart", "first_exhausted", "all_exhausted"]

    @model_validator(mode="after")
    def _weights_are_of_components(self):
        stages = self.train_weights
        for weights in [stages] if isinstance(stages, dict) else [w for _, w in stages]:
            assert set(weights) <= set(self.components)
        return self


class Levanter(Closed):
    """https://github.com/marin-community/marin/blob/main/lib/levanter/src/levanter/data/text/datasets.py"""

    data: LevanterData


SCHEMAS = {
    "llamafactory": LlamaFactory,
    "axolotl": Axolotl,
    "ms-swift": MsSwift,
    "trl": Trl,
    "nemo": Nemo,
    "olmo-core": Olmo,
    "mosaicml": Mosaic,
    "levanter": Levanter,
}
