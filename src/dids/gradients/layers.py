"""Hooks that read per-sample gradients off a language model's layers as it runs backward.

Covered are ``nn.Linear``, Falcon's too, and GPT-2's ``Conv1D`` (weights and biases),
``nn.Embedding``, tied or not, norms (``nn.LayerNorm`` and every ``…RMSNorm``) and experts that
people did not freeze; adapters such as LoRA's are linear layers too, or lie beside experts. The
model is not changed, and nothing stays behind.

A layer's input is kept by autograd, not by the hook: what autograd forgets and computes again
(activation checkpointing) or moves elsewhere is forgotten or moved here too.

Axes: b samples, t tokens, o outputs, i inputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dids.data.joined_row import cut_apart
from dids.errors import InputError
from dids.gradients.attention import fast_attention
from dids.gradients.expert_adapters import FACTORS, ExpertAdapter, by_base_layer
from dids.gradients.experts import ExpertsCall, expert_gradients, is_experts
from dids.gradients.layer_gradient import (
    LayerGradient,
    OuterGradient,
    RowGradient,
    VectorGradient,
    wide,
)
from dids.gradients.model_state import frozen_weights
from dids.gradients.norms import is_norm, weight_gradient
from dids.gradients.token_spans import TokenSpans

OnGradient = Callable[[LayerGradient], None]

KeptInput = Callable[[str, Tensor], Tensor]
"""What to keep of a linear layer's input, [.., i], for the parameter of this name."""


def covered_parameters(
    model: nn.Module, layers: Sequence[str] | None = None
) -> dict[str, nn.Parameter]:
    """The parameters whose per-sample gradients the hooks can read, by name, in the model's order.

    Args:
        model: Any model.
        layers: Patterns (``*`` and ``?`` stand for anything) of the names of parameters, or of
            modules with all that is in them. None: every layer.

    Returns:
        Trainable parameters of covered layers; a tied parameter appears once, under its first name.

    Raises:
        InputError: If there is none, or none that a pattern fits.
    """
    return _asked_for(model, _known_layers(model, by_base_layer(model)), layers)


def token_matrices(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> set[str]:
    """Of some parameters, names of matrices whose rows are tokens: of embeddings and the head."""
    modules: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    head = _head(model)
    if head is not None:
        modules.append(head)
    ids = {id(parameter) for module in modules for parameter in module.parameters()}
    return {
        name
        for name, parameter in parameters.items()
        if id(parameter) in ids and parameter.dim() == 2
    }


def _asked_for(
    model: nn.Module,
    known: Mapping[nn.Module, Mapping[str, Tensor]],
    layers: Sequence[str] | None,
) -> dict[str, nn.Parameter]:
    """Of the parameters of known layers those that train and that a pattern fits."""
    ids = {id(parameter) for own in known.values() for parameter in own.values()}
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in ids and parameter.requires_grad
    }
    if not found:
        others = next((name for name, p in model.named_parameters() if p.requires_grad), None)
        known_here = "" if others is None else f" (it trains {others!r}); LoRA adapters are such"
        raise InputError(
            f"{type(model).__name__} has no trainable linear, embedding or norm layer; gradients "
            f"need at least one whose weight has requires_grad=True{known_here}."
        )
    if layers is None:
        return found
    chosen = _chosen(model, found, layers)
    return {name: parameter for name, parameter in found.items() if name in chosen}


def _chosen(model: nn.Module, found: Mapping[str, nn.Parameter], layers: Sequence[str]) -> set[str]:
    """Names in ``found`` that a pattern fits; a tied parameter goes by any of its names."""
    first_name = {id(parameter): name for name, parameter in found.items()}
    parts_by_name = {
        name: list(accumulate(name.split("."), "{}.{}".format))
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in first_name
    }
    named = dict(model.named_parameters(remove_duplicate=False))
    chosen: set[str] = set()
    for pattern in layers:
        fitting = [
            name
            for name, parts in parts_by_name.items()
            if any(fnmatchcase(part, pattern) for part in parts)
        ]
        if not fitting:
            known = sorted({part for parts in parts_by_name.values() for part in parts})
            nearest = get_close_matches(pattern, known, n=1, cutoff=0.0)[0]
            raise InputError(
                f"features.layers: no trainable layer is named {pattern!r}; the nearest name is "
                f"{nearest!r}."
            )
        chosen.update(first_name[id(named[name])] for name in fitting)
    return chosen


@contextmanager
def layer_gradients(
    model: nn.Module,
    on_gradient: OnGradient,
    *,
    weight_gradients: bool = False,
    layers: Sequence[str] | None = None,
    kept_input: KeptInput | None = None,
    spans: Callable[[], TokenSpans | None] | None = None,
    lengths: Sequence[int] | None = None,
) -> Iterator[None]:
    """Call ``on_gradient`` with every covered layer's gradient while a backward pass runs inside.

    Args:
        model: The model that is called inside, with ``input_ids`` of shape [b, t].
        on_gradient: Receives one layer at a time, in backward order, on the model's device; outside
            any autocast. The two sides of a matrix come in the precision they have there: sum them
            up in float32.
        weight_gradients: Whether ``.grad`` is filled as usual; if not, weights are frozen for the
            duration, that third of the work is saved, and so is all that lies before the first
            layer that is asked for. In evaluation mode attention then runs in float32 where that
            is faster (:mod:`dids.gradients.attention`).
        layers: Patterns of names, as for :func:`covered_parameters`; others are left alone.
        kept_input: Makes less of a linear layer's input on its way forward: kept whole, inputs
            cost 4 % of a pass on a CPU. ``right_bti`` is then what it returned.
        spans: Says which tokens of the batch that runs backward can have a gradient. None: all may.
        lengths: Tokens of each sample, where samples are joined to one row: ``input_ids`` is
            [1, n]. They are cut apart here, and padded to the longest. None: each has a row.

    Yields:
        Nothing.

    Raises:
        InputError: If the model has no covered layer, or one that mixes the samples of a batch.
    """
    # Before any pass: while a layer runs, sharded parameters are replaced by whole ones.
    adapters = by_base_layer(model)
    known = _known_layers(model, adapters)
    names = _names_by_layer(known, _asked_for(model, known, layers))
    hooks = _Hooks(
        names,
        adapters,
        on_gradient,
        kept_input,
        spans,
        _head(model),
        starts_graph=not weight_gradients,
        lengths=lengths,
    )
    with ExitStack() as stack:
        if not weight_gradients:
            stack.enter_context(frozen_weights(model))
        stack.callback(hooks.forget)
        start = model.register_forward_pre_hook(hooks.begin, with_kwargs=True)
        stack.callback(start.remove)
        stack.callback(model.register_forward_hook(hooks.end).remove)
        for module in names:
            hook: Callable[[Any, tuple[Any, ...], Tensor], Tensor | None] = hooks.after
            if isinstance(module, nn.Embedding):
                hook = hooks.after_embedding
            elif is_experts(module):
                hook = hooks.after_experts
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def _known_layers(
    model: nn.Module, adapters: Mapping[nn.Module, Sequence[ExpertAdapter]]
) -> dict[nn.Module, dict[str, Tensor]]:
    """Layers whose gradients the hooks know, each with parameters by attribute or adapter's key.

    Not those whose weights someone else multiplies by, so that no hook sees what they do. In one
    walk over the modules: a training step begins with it.
    """
    others = {
        adapter.layer(factor) for own in adapters.values() for adapter in own for factor in FACTORS
    }
    known: dict[nn.Module, dict[str, Tensor]] = {}
    for module in model.modules():
        if "dt_proj" in module._modules and "A_log" in module._parameters:  # Mamba's mixer
            others.add(module.dt_proj)  # type: ignore[arg-type]
        if module not in others and _is_covered(module):
            known[module] = dict(module.named_parameters(recurse=False))
    for base, own in adapters.items():
        if is_experts(base):
            known[base] |= {a.key(factor): a.weight(factor) for a in own for factor in FACTORS}
    return known


def _names_by_layer(
    known: Mapping[nn.Module, Mapping[str, Tensor]], parameters: Mapping[str, nn.Parameter]
) -> dict[nn.Module, dict[str, str]]:
    """By layer, and by attribute or key, the names in the model of parameters asked for."""
    name_by_id = {id(parameter): name for name, parameter in parameters.items()}
    names = {
        module: {
            attribute: name_by_id[id(parameter)]
            for attribute, parameter in own.items()
            if id(parameter) in name_by_id
        }
        for module, own in known.items()
    }
    return {module: own for module, own in names.items() if own}


def _head(model: nn.Module) -> nn.Module | None:
    named = getattr(model, "get_output_embeddings", None)
    head: nn.Module | None = None if named is None else named()
    return head


def _is_covered(module: nn.Module) -> bool:
    """Whether the hooks know this module's gradient; not that of subclasses with other math."""
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward or _is_falcon_linear(module)
    if isinstance(module, nn.Embedding):
        # Gemma's embedding multiplies by embed_scale; other subclasses look up something else.
        return type(module).forward is nn.Embedding.forward or hasattr(module, "embed_scale")
    return isinstance(module, Conv1D) or is_norm(module) or is_experts(module)


def _is_falcon_linear(module: nn.Linear) -> bool:
    """Whether it is Transformers' own layer that writes ``input @ weight.T + bias`` out.

    By name, so that nobody else waits for Falcon to be imported.
    """
    kind = type(module)
    is_theirs = kind.__module__ == "transformers.models.falcon.modeling_falcon"
    return is_theirs and kind.__name__ == "FalconLinear"


@dataclass(eq=False)
class _Hooks:
    """What the hooks remember between a forward pass and its backward pass."""

    names: Mapping[nn.Module, Mapping[str, str]]
    """By layer and attribute."""
    adapters: Mapping[nn.Module, Sequence[ExpertAdapter]]
    """Of experts."""
    on_gradient: OnGradient
    kept_input: KeptInput | None
    spans: Callable[[], TokenSpans | None] | None
    head: nn.Module | None
    """The layer that makes logits, where the model says which it is."""
    starts_graph: bool
    """Whether weights are frozen, so that gradients must begin at the first covered layer."""
    lengths: Sequence[int] | None
    """Of samples that are joined to one row."""
    num_samples: int = 0
    num_tokens: int = 0
    """Of a row."""
    uses: dict[str, int] = field(default_factory=dict)
    handles: list[Any] = field(default_factory=list)
    is_forward: bool = False
    """Whether the model's own forward pass runs, and not a part of it again for the backward."""
    attention: ExitStack = field(default_factory=ExitStack)

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the batch's shape as a new forward pass starts."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = kwargs["inputs_embeds"]
        self.num_samples, self.num_tokens = int(ids.shape[0]), int(ids.shape[1])
        if self.lengths is not None:
            self.num_samples = len(self.lengths)
        self.uses = {}
        self.handles = []
        self.is_forward = True
        if self.starts_graph and not model.training:
            # A pass of our own. One that trains is the trainer's, and may run parts of it again.
            self.attention.enter_context(fast_attention(ids.device))

    def end(self, model: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """Note that the forward pass is over."""
        self.is_forward = False
        self.attention.close()

    def forget(self) -> None:
        """Detach from a graph that somebody still holds, and from a forward pass that failed."""
        self.attention.close()
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Follow a linear layer's or a norm's output to its gradient."""
        weight, bias = self._used(module, "weight"), self._used(module, "bias")
        followed = self._followed(output)
        if followed is None:
            return None
        kept = None if weight is None else self._kept(module, weight, args[0])
        emit = partial(self._emit_layer, module, weight, bias, kept, self.uses)
        self._at_gradient(followed, emit)
        return followed

    def _emit_layer(
        self,
        module: nn.Module,
        weight: str | None,
        bias: str | None,
        kept: Any,  # noqa: ANN401
        uses: Mapping[str, int],
        gradient: Tensor,
    ) -> None:
        layer = type(module).__name__
        gradient_bto = self._by_sample(gradient, layer)
        inputs = None if kept is None else kept._saved_other
        if weight is not None and inputs is not None and is_norm(module):
            input_bto = self._by_sample(wide(inputs), layer)
            vector_bo = weight_gradient(module, input_bto, wide(gradient_bto))
            self.on_gradient(VectorGradient(weight, uses[weight], vector_bo))
        elif weight is not None and inputs is not None:
            sides = (gradient_bto, self._by_sample(inputs, layer))
            left, right = sides[::-1] if isinstance(module, Conv1D) else sides
            span_b = self._spans(module, gradient_bto.shape[1])
            self.on_gradient(OuterGradient(weight, uses[weight], left, right, span_b))
        if bias is not None:
            self.on_gradient(VectorGradient(bias, uses[bias], wide(gradient_bto).sum(1)))

    def after_embedding(
        self, module: nn.Embedding, args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        """Follow an embedding's output to its gradient."""
        name = self._used(module, "weight")
        followed = self._followed(output)
        if followed is None or name is None:
            return None
        ids: Tensor = args[0]
        if ids.shape[0] == 1 < self.num_samples and self.lengths is None:
            # Position tables look up once for all samples, which would sum their gradients.
            ids = ids.expand(self.num_samples, *ids.shape[1:])
            followed = followed.expand(self.num_samples, *followed.shape[1:])
        self._at_gradient(followed, partial(self._emit_rows, module, name, ids, self.uses))
        return followed

    def _emit_rows(
        self,
        module: nn.Embedding,
        name: str,
        ids: Tensor,
        uses: Mapping[str, int],
        gradient: Tensor,
    ) -> None:
        scale, padding = getattr(module, "embed_scale", None), module.padding_idx
        value_bti = wide(gradient) if scale is None else wide(gradient) * scale
        if padding is not None:  # as autograd does: the padding row never learns
            value_bti = value_bti.masked_fill((ids == padding).unsqueeze(-1), 0.0)
        if self.lengths is not None:
            layer = type(module).__name__
            ids = self._by_sample(ids.unsqueeze(-1), layer).squeeze(-1)
            value_bti = self._by_sample(value_bti, layer)
        self.on_gradient(RowGradient(name, uses[name], ids, value_bti, module.num_embeddings))

    def after_experts(
        self, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        """Follow the output of experts to its gradient."""
        for attribute in self.names[module]:
            self._used(module, attribute)
        followed = self._followed(output)
        if followed is None:
            return None
        hidden, experts, weights = args
        kept_hidden, kept_weights = self._saved(hidden.detach()), self._saved(weights.detach())
        emit = partial(
            self._emit_experts, module, kept_hidden, experts.detach(), kept_weights, self.uses
        )
        self._at_gradient(followed, emit)
        return followed

    def _emit_experts(
        self,
        module: nn.Module,
        kept_hidden: Any,  # noqa: ANN401
        experts: Tensor,
        kept_weights: Any,  # noqa: ANN401
        uses: Mapping[str, int],
        gradient: Tensor,
    ) -> None:
        hidden, weights = kept_hidden._saved_other, kept_weights._saved_other
        if hidden is None or weights is None:
            return
        layer = type(module).__name__

        def by_token(tensor: Tensor, fill: int = 0) -> Tensor:
            return self._by_sample(tensor, layer, fill=fill).flatten(0, 1)

        no_expert = int(module.num_experts)  # type: ignore[arg-type]
        call = ExpertsCall(by_token(hidden), by_token(experts, no_expert), by_token(weights))
        gradient_nh = by_token(gradient)
        own, adapters = self.names[module], self.adapters.get(module, ())
        for found in expert_gradients(
            module, own, uses, call, gradient_nh, self.num_samples, adapters
        ):
            self.on_gradient(found)

    def _followed(self, output: Tensor) -> Tensor | None:
        """An output whose gradient comes by; None where none does."""
        if not torch.is_grad_enabled():
            return None
        if not output.requires_grad:
            if not self.starts_graph:
                return None
            output = output.detach().requires_grad_()
        if output.is_leaf or output._is_view():
            # A view that the model changes in place loses its hook without a word; a leaf can't be.
            output = torch.ops.aten._unsafe_view(output, output.shape)
        return output

    def _kept(self, module: nn.Module, weight: str, inputs: Tensor) -> Any:  # noqa: ANN401
        """A node of no graph that holds a layer's input as autograd holds what it needs.

        A product with no rows computes nothing and saves its other factor; a tenth of the time of
        an autograd function in Python.
        """
        inputs = inputs.detach()
        device_type = inputs.device.type
        is_cast = torch.is_autocast_enabled(device_type) and inputs.dtype != torch.float64
        if is_cast and not is_norm(module):
            inputs = inputs.to(torch.get_autocast_dtype(device_type))  # as the layer itself does
        if self.kept_input is not None and isinstance(module, nn.Linear):
            with _without_autocast(device_type):
                inputs = self.kept_input(weight, inputs)
        return self._saved(inputs)

    def _saved(self, tensor: Tensor) -> Any:  # noqa: ANN401
        """The node whose ``_saved_other`` is a tensor."""
        no_rows = tensor.new_empty((0, *[1] * tensor.dim()), requires_grad=True)
        return (no_rows * tensor).grad_fn

    def _at_gradient(self, output: Tensor, emit: Callable[[Tensor], None]) -> None:
        hook = partial(_in_full, emit)
        self.handles.append(output.register_hook(hook))  # type: ignore[no-untyped-call]

    def _spans(self, module: nn.Module, num_tokens: int) -> Sequence[tuple[int, int]] | None:
        """For each sample, where the gradient at a layer's output can be other than zero."""
        spans = None if self.spans is None else self.spans()
        if spans is None or num_tokens != spans.num_tokens:  # it sees tokens in another shape
            return None
        return spans.head if module is self.head else spans.body

    def _used(self, module: nn.Module, attribute: str) -> str | None:
        name = self.names[module].get(attribute)
        if name is not None and self.is_forward:
            self.uses[name] = self.uses.get(name, 0) + 1
        return name

    def _by_sample(self, tensor: Tensor, layer: str, *, fill: int = 0) -> Tensor:
        """The same numbers as [b, t, features], for layers that see tokens in other shapes."""
        if self.lengths is not None:
            return self._out_of_row(tensor, self.lengths, layer, fill)
        if tensor.dim() >= 3 and tensor.shape[0] == self.num_samples:
            return tensor.flatten(1, -2)
        if tensor.dim() == 2 and tensor.shape[0] == self.num_samples * self.num_tokens:
            return tensor.view(self.num_samples, self.num_tokens, -1)
        if tensor.dim() == 2 and tensor.shape[0] == self.num_samples:
            return tensor.unsqueeze(1)
        raise InputError(
            f"a {layer} layer sees shape {tuple(tensor.shape)} for {self.num_samples} samples of "
            f"{self.num_tokens} tokens, so gradients cannot be told apart by sample; freeze it."
        )

    def _out_of_row(self, tensor: Tensor, lengths: Sequence[int], layer: str, fill: int) -> Tensor:
        """Cut apart where the row's tokens lie: [n, features], [1, n, .., features] or later."""
        shape = tuple(tensor.shape)
        tokens = shape[:-1].index(self.num_tokens) if self.num_tokens in shape[:-1] else None
        if tokens is None or (tokens > 0 and shape[0] != 1):
            raise InputError(
                f"a {layer} layer sees shape {shape} for a row of {self.num_tokens} tokens that "
                f"{len(lengths)} samples are joined to, so gradients cannot be told apart by "
                "sample; freeze it."
            )
        return cut_apart(tensor.movedim(tokens, 0), lengths, fill=fill).flatten(1, -2)


def _in_full(emit: Callable[[Tensor], None], gradient: Tensor | None) -> None:
    """Hand on an output's gradient, in the precision that it has."""
    if gradient is None:
        raise InputError(
            "the model's gradients end before its first layers: one that they go through "
            "knows no backward pass (bitsandbytes' 4-bit layers on a CPU do not, once "
            "they were evaluated; set their support_avx512bf16_for_cpu to False)."
        )
    with _without_autocast(gradient.device.type):
        emit(gradient)


def _without_autocast(device_type: str) -> AbstractContextManager[None]:
    """Autocast off, where it is on at all: to enter and leave it takes as long as a short layer."""
    if torch.is_autocast_enabled(device_type):
        off: AbstractContextManager[None] = torch.autocast(device_type, enabled=False)
        return off
    return nullcontext()
