"""Tiny models and batches for the tests of gradients, and per-sample gradients the slow way."""

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from dids.data.dataset import TokenDataset
from dids.gradients.losses import NOT_SCORED

VOCAB = 23


def tiny_llama(*, tied=True, double=True, attention="sdpa", seed=0, bias=False, key_heads=2):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_heads,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
        attention_bias=bias,
        initializer_range=0.2,
        attn_implementation=attention,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.7, 0.3)
    return model.double() if double else model


def tiny_gpt2(*, double=True):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, n_positions=32, resid_pdrop=0.5
    )
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.double() if double else model


def tiny_falcon(*, bias, double=True):
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, bias=bias
    )
    model = FalconForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.double() if double else model


def tiny_mamba(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=None
    )
    return AutoModelForCausalLM.from_config(config).double()


EXPERTS = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 12, "head_dim": 4},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 4},  # turned matrices, biases, its own gate
    "nemotron_h": {  # no gate, and shared experts
        "layers_block_type": ["attention", "moe"],
        "n_routed_experts": 4,
        "moe_intermediate_size": 12,
        "moe_shared_expert_intermediate_size": 12,
        "n_group": 1,
        "topk_group": 1,
        "head_dim": 4,
    },
}
"""What tells four mixtures of experts apart, by type."""


def tiny_experts(kind="mixtral", *, double=True, experts="eager", **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": VOCAB,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_experts_per_tok": 2,
            "pad_token_id": None,
            "bos_token_id": None,
            "eos_token_id": None,
            **EXPERTS[kind],
            **changes,
        },
    )
    # Grouped products, the default, are not to be had in float64.
    model = AutoModelForCausalLM.from_config(config, experts_implementation=experts)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.double() if double else model.float()


def checkpoint_activations(model, use_reentrant):
    """Activations are forgotten and computed again."""
    # Renamed in transformers 5.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()


def make_batch(lengths, *, prompt=1, seed=0, vocab=VOCAB, pad_to=None):
    generator = torch.Generator().manual_seed(seed)
    width = pad_to or max(lengths)
    input_ids = torch.randint(0, vocab, (len(lengths), width), generator=generator)
    labels = input_ids.clone()
    attention_mask = torch.ones_like(input_ids)
    for row, length in enumerate(lengths):
        labels[row, : min(prompt, length)] = -100
        labels[row, length:] = -100
        attention_mask[row, length:] = 0
    return {"input_ids": input_ids, "labels": labels, "attention_mask": attention_mask}


class RowsOfBatch(TokenDataset):
    """The rows of a batch, without their padding, as samples."""

    def __init__(self, batch):
        super().__init__([])
        self.batch = batch

    @property
    def lengths(self):
        return self.batch["attention_mask"].sum(1).int().numpy()

    def __getitem__(self, index):
        sample = sample_of(self.batch, index)
        return {"input_ids": sample["input_ids"][0], "labels": sample["labels"][0], "sample": index}


def sample_of(batch, row):
    """One sample alone, without its padding."""
    length = int(batch["attention_mask"][row].sum())
    return {name: tensor[row : row + 1, :length] for name, tensor in batch.items()}


def joined(batch):
    """All samples of a batch in one row, without padding, and their lengths."""
    samples = [sample_of(batch, row) for row in range(len(batch["input_ids"]))]
    for sample in samples:
        sample["labels"][0, 0] = NOT_SCORED  # else predicted from the sample before
    lengths = [sample["input_ids"].shape[1] for sample in samples]
    row = {name: torch.cat([s[name] for s in samples], 1) for name in ("input_ids", "labels")}
    return {**row, "position_ids": torch.cat([torch.arange(n) for n in lengths])[None]}, lengths


def slow_loss(model, sample):
    """Mean negative log-likelihood of the scored tokens, token by token."""
    logits = model(input_ids=sample["input_ids"]).logits[0]
    terms = [
        -logits[t - 1].log_softmax(-1)[label]
        for t, label in enumerate(sample["labels"][0].tolist())
        if t > 0 and label != -100
    ]
    return sum(terms) / len(terms) if terms else 0.0 * logits.sum()


def slow_gradients(model, batch):
    """Autograd gradients of each sample's loss alone, by parameter name."""
    was_training = model.training
    model.eval()
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = []
    for row in range(len(batch["input_ids"])):
        gradients = torch.autograd.grad(
            slow_loss(model, sample_of(batch, row)), parameters, allow_unused=True
        )
        found.append(
            {
                name: torch.zeros_like(parameter) if gradient is None else gradient
                for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
            }
        )
    model.train(was_training)
    return found


def scored(batch):
    """Scored tokens of each sample."""
    return (batch["labels"][:, 1:] != NOT_SCORED).sum(1)


def train_backward(model, batch, divisor):
    """What a trainer does whose loss is a sum over scored tokens over ``divisor``."""
    inputs = {name: rows for name, rows in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    (loss / divisor).backward()
