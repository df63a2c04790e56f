import pytest
import torch
from tiny_models import tiny_llama

from dids.gradients import Coordinates


def test_all_entries_are_kept_in_order_when_there_is_no_limit():
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    everything = torch.cat([p.detach().flatten() for p in model.parameters()]).float()
    assert coordinates.size == everything.numel()
    assert torch.equal(coordinates.gather(dict(model.named_parameters())), everything)
    assert (coordinates.weight_p == 1).all()


def test_a_subset_keeps_inner_products_on_average():
    model = tiny_llama()
    one = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    other = {name: one[name] + torch.randn_like(p) for name, p in model.named_parameters()}
    exact = sum(float((one[name] * other[name]).sum()) for name in one)
    estimates = []
    for seed in range(60):
        coordinates = Coordinates.of(model, max_coordinates=800, seed=seed)
        assert coordinates.size <= 800
        product = coordinates.weight_p * coordinates.gather(one) * coordinates.gather(other)
        estimates.append(float(product.sum()))
    estimates = torch.tensor(estimates)
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / 60**0.5


def test_a_subset_is_a_function_of_the_seed():
    model = tiny_llama()
    tensors = dict(model.named_parameters())
    first = Coordinates.of(model, max_coordinates=500, seed=1).gather(tensors)
    assert torch.equal(first, Coordinates.of(model, max_coordinates=500, seed=1).gather(tensors))
    second = Coordinates.of(model, max_coordinates=500, seed=2).gather(tensors)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("max_coordinates", [None, 500])
def test_a_vector_of_coordinates_is_seen_in_the_kept_shapes(max_coordinates):
    model = tiny_llama()
    tensors = dict(model.named_parameters())
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    entry_2p = torch.stack([coordinates.gather(tensors)] * 2)
    for name, slot in coordinates.slots.items():
        kept = tensors[name].detach().float()
        kept = kept if slot.columns is None else kept[:, slot.columns]
        seen = slot.shaped(entry_2p[:, slot.start : slot.stop])
        assert torch.equal(seen, torch.stack([kept] * 2))
        assert seen.shape[1:] == slot.kept_shape


def test_wrong_tensors_are_named():
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    tensors = dict(model.named_parameters())
    name = coordinates.names[1]
    with pytest.raises(ValueError, match=name):
        coordinates.gather({k: v for k, v in tensors.items() if k != name})
    with pytest.raises(ValueError, match="must be"):
        coordinates.gather({**tensors, name: torch.zeros(3)})
    with pytest.raises(ValueError, match="max_coordinates"):
        Coordinates.of(model, max_coordinates=0)
