"""A mistake in a script's mixture is one sentence where it is made, not a traceback in a step."""

import pytest
from tiny_trainer import SIZES, START, concatenated, tiny_trainer

from dids.errors import InputError
from dids.training import DomainMixture


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sizes": {**SIZES, "code": 0}}, "sizes: 'code' must have 1 sample or more, but has 0"),
        (
            {"mixture": {**START, "code": "much"}},
            "mixture: the weight of 'code' must be a number, but it is 'much'",
        ),
        ({"mixture": {**START, "code": None}}, "mixture: the weight of 'code' must be a number"),
        ({"every_steps": 0}, "every_steps must be 1 or more, but it is 0"),
        ({"schedule": {-4: START}}, r"schedule: steps are whole numbers from 0 on, but are \[-4\]"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, said):
    with pytest.raises(InputError, match=said):
        DomainMixture(**{"mixture": START, "sizes": SIZES, **settings})


def test_before_training_there_is_no_sampler():
    mixture = DomainMixture(START, SIZES)
    for asked in (mixture.usage, lambda: mixture.set_mixture(START), lambda: mixture.sampler):
        with pytest.raises(InputError, match="until then give mixtures to DomainMixture"):
            asked()


@pytest.mark.parametrize("answer", [5, [0.5, 0.5], "web"])
def test_a_policy_that_answers_with_no_mapping_is_told_so(tmp_path, answer):
    mixture = DomainMixture(START, SIZES, policy=lambda view: answer, every_steps=1)
    with pytest.raises(InputError, match="policy: its answer must be a mapping"):
        tiny_trainer(tmp_path, mixture, save_strategy="no").train()


@pytest.mark.parametrize("weight", [None, "half"])
def test_a_policys_weight_that_is_no_number_is_named(tmp_path, weight):
    mixture = DomainMixture(START, SIZES, policy=lambda _: {**START, "web": weight}, every_steps=1)
    with pytest.raises(InputError, match="policy: the weight of 'web' must be a number"):
        tiny_trainer(tmp_path, mixture, save_strategy="no").train()


def test_a_set_that_is_read_from_front_to_back_is_refused():
    mixture = DomainMixture(START, SIZES)
    with pytest.raises(InputError, match="IterableDataset, which can only be read from front"):
        mixture.domains_of(concatenated().to_iterable_dataset())
