import torch
from torch import nn

from dids.audit.checkpoint import Checkpoint


class Counting(torch.optim.SGD):
    """Keeps something beside what PyTorch's optimizers keep, as bitsandbytes' do."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.5, momentum=0.9)
        self.num_steps = 0

    def step(self, closure=None):
        self.num_steps += 1
        return super().step(closure)


def test_a_copied_optimizer_has_all_that_it_had_and_the_copied_model():
    model = nn.Linear(2, 1)
    start = Checkpoint(model, Counting(model.parameters()))
    for checkpoint in (start, start.copied(), start.copied().copied()):
        checkpoint.model(torch.ones(1, 2)).sum().backward()
        checkpoint.optimizer.step()
        checkpoint.optimizer.zero_grad()
    copied = start.copied()
    copied.model(torch.ones(1, 2)).sum().backward()
    copied.optimizer.step()
    assert (start.optimizer.num_steps, copied.optimizer.num_steps) == (1, 2)
    own = set(copied.model.parameters())
    assert own == set(copied.optimizer.state) and own.isdisjoint(start.optimizer.state)
    assert not torch.equal(model.weight, copied.model.weight)
