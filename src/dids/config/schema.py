"""What a config may say: one frozen model a section, unit and reason under every field."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from dids.config.section import Fraction, Patterns, Section, as_tuple
from dids.config.steering import Limits, SteeredMixture, SteeredTask
from dids.mixture.policy_names import checked_policy_name

if TYPE_CHECKING:
    from dids.mixture.policy import Policy


def _none_empty(paths: tuple[str, ...]) -> tuple[str, ...]:
    if not all(path.strip() for path in paths):
        raise ValueError("a path is empty; name a file or folder (. is this one)")
    return paths


Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(as_tuple),
    Field(min_length=1),
    AfterValidator(_none_empty),
    "path",
]


AlignmentNames = Annotated[
    tuple[Literal["style", "compact", "projection"], ...], BeforeValidator(as_tuple), "name"
]


PolicyName = Annotated[str, AfterValidator(checked_policy_name), "a policy's name"]


_LONGEST_NAME = 100
_ROUNDING = 1e-9


def _named_as_files_are(name: str) -> str:
    """Sources and tasks name folders, and domains: ``SOURCE/0``."""
    if not 0 < len(name) <= _LONGEST_NAME or name != name.strip() or name.startswith("."):
        raise ValueError(
            f"a name has 1 to {_LONGEST_NAME} characters, begins with no dot, and neither begins "
            "nor ends with a blank"
        )
    if "/" in name or not name.isprintable():
        raise ValueError("a name has no slash and no control character in it")
    return name


Name = Annotated[str, AfterValidator(_named_as_files_are), "name"]


class SourceConfig(Limits):
    """Where the records of one source lie, and how far they may be drawn."""

    path: Paths
    """File, glob, folder, ``hf:NAME`` for a Hugging Face data set, or a list of these."""
    format: Literal["jsonl", "parquet", "text"] | None = None
    """None: by the file's ending. A text file is one record, or one for every four megabytes."""
    max_repeats: Annotated[int, Field(ge=0)] | None = None
    """How often a sample may be drawn again after its first time. None: no limit."""
    at_end: Literal["renormalise", "stop"] = "renormalise"
    """What happens when ``max_repeats`` is used up: the other domains share its weight, or the run
    ends."""


def _source(value: object) -> object:
    return {"path": value} if isinstance(value, (str, list, tuple)) else value


class DataConfig(Section):
    """The training data."""

    sources: Annotated[
        dict[Name, Annotated[SourceConfig, BeforeValidator(_source)]], Field(min_length=1)
    ]
    sequence_length: Annotated[int, Field(ge=8)] = 512
    """Tokens. Text is cut into pieces of this length; chats lose the front of their prompt."""
    prompt_format: Literal["chat", "plain"] = "chat"
    """How ``prompt``/``completion`` records are rendered: as a two-message chat, or verbatim."""
    on_bad_record: Literal["stop", "skip"] = "stop"
    cache: str | None = None
    """Folder for tokenised data that several runs share. None: inside the run folder."""

    @model_validator(mode="after")
    def _limits_that_some_mixture_keeps(self) -> "DataConfig":
        least = sum(source.least or 0.0 for source in self.sources.values())
        if least > 1.0 + _ROUNDING:
            raise ValueError(
                f"floors and pins of the sources add up to {least:.6g}, but all shares add up to "
                "1; lower some"
            )
        bounds = [source.greatest for source in self.sources.values()]
        most = sum(1.0 if bound is None else bound for bound in bounds)
        if most < 1.0 - _ROUNDING:
            raise ValueError(
                f"caps and pins of the sources add up to {most:.6g}, but all shares add up to 1; "
                "raise some"
            )
        return self


class CheckConfig(Section):
    """What is looked for in the data before a run, and what stops it."""

    on_leak: Literal["stop", "warn"] = "stop"
    """What a run does when items of a task stand among the training records."""
    allowed_leaks: Annotated[tuple[str, ...], BeforeValidator(as_tuple), "task or task/split"] = ()
    """Where leaks are on purpose, for instance a validation set drawn from a source: `sums` or
    `sums/validation`."""
    ngram_words: Annotated[int, Field(ge=5)] = 13
    """Words in a row that an item must share with a record to be looked at."""
    containment: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of an item's words, inside such runs of one record, from which on it has leaked."""
    near_duplicates: bool = True
    """Look for records that are nearly alike, not only for equal ones."""
    similarity: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    """Jaccard similarity of their runs of five words, from which on two records are."""


class TaskConfig(SteeredTask):
    """A downstream target: what is measured during the run, and what only at its end."""

    validation: Paths
    test: Paths | None = None
    """None: half of the validation records are for the test, and the run does not follow them."""
    format: Literal["jsonl", "parquet", "text"] | None = None


def _task(value: object) -> object:
    return {"validation": value} if isinstance(value, (str, list, tuple)) else value


class TrainTokenizer(Section):
    """A byte-level BPE tokenizer trained on the sources."""

    vocab_size: Annotated[int, Field(ge=300, le=10_000_000)] = 4096


class TokenizerConfig(Section):
    """Either a tokenizer to load or one to train."""

    name: str | None = None
    """Hub name or folder. Without a `tokenizer` at all: the model's, where that has a name."""
    train: TrainTokenizer | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizerConfig":
        if (self.name is None) == (self.train is None):
            raise ValueError("give either a name or train: {vocab_size: ...}")
        return self


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class LoraSettings(Section):
    """Adapters that are trained in the place of the model's own weights; needs ``dids[lora]``."""

    r: Annotated[int, Field(ge=1)] = 8
    """Rank."""
    alpha: Annotated[float, Field(gt=0.0)] = 16.0
    """What the adapters add is multiplied by ``alpha / r``."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of an adapter's inputs that is left out of a step."""
    # The word is tried first: a config is validated twice, and Patterns would take it for a name.
    target_modules: Annotated[
        Literal["all-linear"] | Patterns | None, Field(union_mode="left_to_right")
    ] = "all-linear"
    """Ends of the names of layers that get an adapter. ``all-linear``: every linear layer but the
    last. None: no layer."""
    target_parameters: Patterns | None = None
    """Ends of the names of parameters that get one, where no layer holds them, such as those of
    experts: ``mlp.experts.down_proj``. None: no parameter."""

    @model_validator(mode="after")
    def _has_a_target(self) -> "LoraSettings":
        if self.target_modules is None and self.target_parameters is None:
            raise ValueError("give target_modules, target_parameters or both: nothing would train")
        if self.target_parameters is not None and self.dropout > 0.0:
            raise ValueError("dropout must be 0 with target_parameters, which have no inputs")
        return self


Quantization = Literal["4bit", "8bit"]


_NUMBER = re.compile(r"[+-]?(\d[\d_]*|(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?)")


def _with_numbers(value: Any) -> Any:  # noqa: ANN401
    """Texts that are numbers as numbers: a variable is text, and so is 1e-6 to YAML."""
    if isinstance(value, dict):
        return {name: _with_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("+-").replace("_", "").isdecimal() else float(value)


ModelArguments = Annotated[dict[str, Any], BeforeValidator(_with_numbers), "setting"]


class ModelConfig(Section):
    """A causal language model: loaded by name, or built from a ``transformers`` config."""

    name: str | None = None
    """Hub name or folder; weights are read from safetensors alone."""
    config: ModelArguments | None = None
    """Arguments of ``AutoConfig.for_model``; needs ``model_type``. Weights start at random."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    lora: LoraSettings | None = None
    """Train adapters. None: train all weights."""
    quantization: Quantization | None = None
    """Keep the model's own weights in so few bits while adapters train (QLoRA); needs ``lora``,
    ``name`` and ``dids[quantization]``. None: in ``dtype``."""

    @model_validator(mode="after")
    def _quantized_beside_adapters(self) -> "ModelConfig":
        if self.quantization is not None and self.lora is None:
            raise ValueError(
                "quantization needs lora: weights of so few bits have no gradients, adapters "
                "beside them do"
            )
        if self.quantization is not None and self.name is None:
            raise ValueError("quantization needs a name: random weights are not worth few bits")
        return self

    @model_validator(mode="after")
    def _one_of_two(self) -> "ModelConfig":
        if (self.name is None) == (self.config is None):
            raise ValueError("give either a name or config: {model_type: ...}")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("config needs model_type, for instance llama")
        return self


class ProxyConfig(Section):
    """The small model whose gradients stand in for the trained model's."""

    name: str | None = None
    config: ModelArguments | None = None
    """Neither name nor config: the model itself, at its start."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps on a uniform draw first, because gradients of an untrained model say little. None:
    200 for a model built from a config, none for one with trained weights."""


class FeaturesConfig(Section):
    """Per-sample gradient features of the proxy."""

    dim: Annotated[int, Field(ge=32, le=65_536)] = 1024
    projection: Literal["one-sided", "exact"] = "one-sided"
    dtype: Literal["float16", "float32"] = "float16"
    """On disk."""
    share: Annotated[Fraction, Field(gt=0.0, le=1.0)] = 1.0
    """Fraction of the samples that get a feature, drawn from clusters of like text; the rest joins
    domains by its text alone."""
    batch_tokens: Annotated[int, Field(ge=1)] = 4096
    """Tokens of one forward and backward pass, padding included."""
    layers: Patterns | None = None
    """Patterns of the proxy's parameter or module names, ``*`` for anything. None: every layer."""
    alignment: AlignmentNames | None = None
    """Transforms between features and domains, in this order: ``style``, ``compact``,
    ``projection``. None: none."""


class DomainsConfig(Section):
    """How samples are grouped by their gradient features."""

    number: Annotated[int, Field(ge=1)] | Literal["auto", "sources"] = "auto"
    within: Literal["source", "all"] = "source"
    min_samples: Annotated[int, Field(ge=1)] = 32
    """Smaller domains join their nearest neighbour: their gradient could not be estimated."""


class ImpactConfig(Section):
    """What is spent on measuring impact, each round."""

    domain_gradients: Literal["training", "samples"] = "training"
    """Where the domains' gradients come from: the steps that train the model, or extra samples."""
    domain_samples: Annotated[int, Field(ge=2)] = 4
    """Extra samples of each domain where training did not draw from it, at most."""
    task_samples: Annotated[int, Field(ge=2)] = 8
    """Validation samples of each task, at most; the next ones every round."""
    proxy_domain_samples: Annotated[int, Field(ge=2)] = 48
    """Samples of each domain before training, on a proxy that is not the model itself, at most. It
    is small, and what a task of long answers asks for takes a hundred samples to be heard."""
    proxy_task_samples: Annotated[int, Field(ge=2)] = 128
    """Validation samples of each task there, at most."""
    validation_samples: Annotated[int, Field(ge=1)] = 32
    """Samples of each task whose loss is followed: the same ones every round."""
    overhead: Annotated[Fraction, Field(gt=0.0, le=1.0)] | None = 0.02
    """Cost of measuring over the cost of training, at most: decides how many samples of the tasks
    are taken, how often, and how many training steps give the domains' gradients. None: the samples
    above, every round, and all steps; so it is where ``domain_gradients`` is ``samples``."""
    min_measurements: Annotated[int, Field(ge=0)] | None = None
    """A run too short to pay for so many measurements with its ``overhead`` makes them all the
    same, each with few samples. 0: the overhead is never exceeded. None: as many as the policy
    asks for, 2 for ``dids``, 4 for those that follow the last measurement."""
    max_share: Annotated[float, Field(gt=0.0)] = 0.33
    """Gradient samples of a round, at most, as a fraction of the samples it trains on; those on the
    proxy, as a fraction of the samples that the whole run trains on."""
    max_coordinates: Annotated[int, Field(ge=1000)] | None = 125_000
    """Parameters in the inner products: a seeded subset of each matrix's columns, at least one,
    unbiased, other ones at each measurement. Half of them are of the embedding and the head, at
    least eight columns of these, whatever the vocabulary. None: all."""
    metric: Literal["fisher", "damped", "step"] = "fisher"
    """What steps of domains and tasks are compared in: the task's Fisher information; the same,
    damped where it is far above the optimizer's second moments; or the optimizer's own metric,
    where impact is the loss that one step saves. `dids audit` says which of them holds for a run.
    """
    robust_tasks: bool = True
    """Whether a task's sample whose step is longer than the median of the task's samples' is
    shortened to it, so that a few long gradients are not taken for what the task asks. Not where a
    task's gradients take more than 256 MB: samples times ``max_coordinates`` above 134 million."""
    labels: Literal["data", "model"] = "data"
    """Labels of the Fisher information: the data's (empirical), or drawn from the model (true)."""

    @model_validator(mode="before")
    @classmethod
    def _overhead_from_training(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("domain_gradients") == "samples":
            if value.get("overhead") is not None:
                raise ValueError("overhead needs domain_gradients: training; leave one of them out")
            return {**value, "overhead": None}
        return value


class MixtureConfig(SteeredMixture):
    """The rule that makes the next mixture, and what every mixture keeps."""

    policy: PolicyName = "dids"
    """The rule that makes the next mixture: one of these, or a class of your own."""
    unit: Literal["samples", "tokens"] = "samples"
    """What weights are shares of. In tokens they are corrected for the samples' lengths."""
    rounds: Annotated[int, Field(ge=1)] = 25
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """The policy's own settings, for instance ``ema``: numbers, words, lists, mappings."""

    def new_policy(self) -> "Policy":
        """The policy, as a run begins with it.

        Raises:
            InputError: If there is none of that name, or it has no such setting.
        """
        from dids.mixture.policy import make_policy  # takes seconds

        return make_policy(self.policy, **self.settings)


class BudgetConfig(Section):
    """How much the run trains on."""

    tokens: Annotated[int, Field(ge=1)]
    """Tokens of the drawn samples, prompts included, padding not."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Samples of one optimizer step, whatever the number of processes: gradients are accumulated as
    it takes. None: ``per_device_train_batch_size × gradient_accumulation_steps``, times the number
    of processes."""


class EvaluationConfig(Section):
    """How the trained models are tested."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    base: bool = True
    """Test the model as it is before training, too, where it has trained weights (`model.name`)."""
    accuracy_limit: Annotated[int, Field(ge=1)] | None = None
    """Items of each task whose choices are scored: each choice is a pass of its own. None: all."""
    lm_eval: bool = True
    """Score tasks that have choices through lm-eval too, where it is installed."""
    lm_eval_limit: Annotated[int, Field(ge=1)] | None = None
    """Items of each task that go through lm-eval, which is slow. None: all."""


class Config(Section):
    """One run: data, tasks, models, budget."""

    run: str
    """The run folder."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig
    tasks: Annotated[dict[Name, Annotated[TaskConfig, BeforeValidator(_task)]], Field(min_length=1)]
    check: CheckConfig = CheckConfig()
    tokenizer: Annotated[TokenizerConfig, BeforeValidator(_named)]
    model: Annotated[ModelConfig, BeforeValidator(_named)]
    proxy: Annotated[ProxyConfig, BeforeValidator(_named)] = ProxyConfig()
    features: FeaturesConfig = FeaturesConfig()
    domains: DomainsConfig = DomainsConfig()
    impact: ImpactConfig = ImpactConfig()
    mixture: MixtureConfig = MixtureConfig()
    budget: BudgetConfig
    training: dict[str, Any] = Field(default_factory=dict)
    """``transformers.TrainingArguments`` by their own names."""
    control: Literal["uniform", "proportional"] | None = "uniform"
    """Policy of a second run on the same budget to compare with; None: no such run."""
    evaluation: EvaluationConfig = EvaluationConfig()
    trust_remote_code: bool = False
    """Whether models and tokenizers may run code of their own."""

    @model_validator(mode="before")
    @classmethod
    def _the_models_own_tokenizer(cls, values: Any) -> Any:  # noqa: ANN401
        if not isinstance(values, dict) or values.get("tokenizer") is not None:
            return values
        model = _named(values.get("model"))
        name = model.get("name") if isinstance(model, dict) else None
        return {**values, "tokenizer": name} if isinstance(name, str) else values

    @field_validator("proxy", mode="before")
    @classmethod
    def _no_proxy_is_the_model_itself(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("proxy")
    @classmethod
    def _not_two_proxies(cls, value: ProxyConfig) -> ProxyConfig:
        if value.name is not None and value.config is not None:
            raise ValueError("give a name or a config, not both")
        return value

    @model_validator(mode="after")
    def _something_to_align(self) -> "Config":
        if self.features.alignment and self.domains.number == "sources":
            raise ValueError(
                "features.alignment needs domains made of features; with domains.number: sources "
                "there are none, so leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _no_source_called_as_a_task_is(self) -> "Config":
        for name, task in self.task_stores.items():
            if name in self.data.sources:
                raise ValueError(
                    f"data.sources.{name} has the name that a run gives to files of the task "
                    f"'{task}'; name the source otherwise"
                )
        return self

    @property
    def task_stores(self) -> dict[str, str]:
        """What a run calls the files of a task, which a source cannot be called; and the task."""
        return {f"{task}-{split}": task for task in self.tasks for split in ("validation", "test")}

    @model_validator(mode="after")
    def _a_domain_for_each_source(self) -> "Config":
        number, num_sources = self.domains.number, len(self.data.sources)
        if self.domains.within == "source" and isinstance(number, int) and number < num_sources:
            raise ValueError(
                f"domains.number is {number}, but clusters that stay within their source need at "
                f"least {num_sources}, one for each source; raise it, or let clusters mix sources "
                "with domains.within: all"
            )
        return self

    @model_validator(mode="after")
    def _few_bits_in_one_place(self) -> "Config":
        if self.model.quantization is not None and self.training.get("fsdp"):
            raise ValueError(
                "training.fsdp shards a model over GPUs, and weights of few bits "
                "(model.quantization) are whole on each; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _one_batch_size(self) -> "Config":
        if self.budget.batch_size is not None and "gradient_accumulation_steps" in self.training:
            raise ValueError(
                "budget.batch_size and training.gradient_accumulation_steps: the one follows from "
                "the other, so leave one of them out"
            )
        return self

    @field_validator("tasks")
    @classmethod
    def _some_task_counts(cls, value: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        if all(task.weight == 0.0 for task in value.values()):
            raise ValueError("every task has weight 0; give one of them a weight above it")
        return value

    @property
    def warmup_steps(self) -> int:
        """Steps that the proxy is warmed up for."""
        if self.proxy.warmup_steps is not None:
            return self.proxy.warmup_steps
        return 0 if self.proxy_model.config is None else 200

    @property
    def has_own_proxy(self) -> bool:
        """Whether another model stands in for the one that is trained."""
        return self.proxy.name is not None or self.proxy.config is not None

    @property
    def base_model(self) -> ModelConfig | None:
        """The model before training, without adapters; None where its weights are random."""
        return None if self.model.name is None else self.model.model_copy(update={"lora": None})

    @property
    def proxy_model(self) -> ModelConfig:
        """The model config of the proxy: its own, or the trained model's, without adapters."""
        if not self.has_own_proxy:
            return self.model.model_copy(update={"lora": None, "quantization": None})
        return ModelConfig(name=self.proxy.name, config=self.proxy.config, dtype=self.proxy.dtype)
