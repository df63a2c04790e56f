"""One law for each slip in the authors' released code: every test here remembers a bug of theirs.

Shi et al., arXiv:2504.13227; the paper's formulas are right where its code is not.
"""

import numpy as np
import pytest
import torch

from dids.check.leaks import LeakGuard
from dids.check.words import WordBatch
from dids.config.schema import ModelConfig
from dids.data.dataset import PaddingCollator, TokenDataset
from dids.data.records import Origin, Record
from dids.data.rendering import encode_record
from dids.data.token_store import token_store_key, write_token_store
from dids.data.tokenizer import load_tokenizer, tokenizer_hash, train_tokenizer
from dids.domains.clustering import cluster_features
from dids.errors import InputError
from dids.evaluation.task_loss import task_loss
from dids.gradients.compute_features import compute_features
from dids.gradients.coordinates import Coordinates
from dids.gradients.feature_store import FeatureStore
from dids.gradients.projection import Projection
from dids.gradients.sample_features import sample_features
from dids.gradients.statistics import gradient_statistics
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.mixture.limits import MixtureLimits
from dids.mixture.observation import Observation
from dids.mixture.policies.dids_paper import DidsPaper, gain_of_tasks, impact_shares
from dids.mixture.policy import make_policy
from dids.mixture.potential import potential
from dids.mixture.task_progress import filled, progress_of_tasks
from dids.sampling.sampler import MixtureSampler
from dids.training.domain_data import DomainData
from dids.training.models import build_model
from dids.training.train import train_model

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "fly", "over", "it"]


def record(number):
    """Prompts and completions of several lengths, none like another."""
    words = [WORDS[(number * 5 + i * i) % len(WORDS)] for i in range(4 + number % 5)]
    prompt, completion = " ".join(words[:2]), " ".join([*words[2:], str(number)])
    return Record(Origin("made-up", number + 1), prompt=prompt, completion=completion)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([" ".join(WORDS)] * 5), 300)


@pytest.fixture(scope="module")
def dataset(tokenizer, tmp_path_factory):
    store = write_token_store(
        tmp_path_factory.mktemp("tokens") / "store",
        (record(number) for number in range(24)),
        tokenizer,
        name="made-up",
        key="key",
        sequence_length=48,
    )
    return TokenDataset([store])


def tiny_model(vocab_size, seed=0):
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "tie_word_embeddings": True, "initializer_range": 0.2}
    config = ModelConfig(config={"model_type": "llama", **size, **heads})
    return build_model(config, vocab_size=vocab_size, seed=seed)


def batch_of(dataset, samples):
    return PaddingCollator(0)(dataset.__getitems__(samples))


def gradient(model, dataset, sample):
    """The slow way: autograd on one sample alone, the loss written out token by token."""
    ids, labels = dataset[sample]["input_ids"], dataset[sample]["labels"]
    nats = -model(input_ids=ids[None]).logits[0].log_softmax(-1)
    scored = [t for t in range(1, len(ids)) if labels[t] != -100]
    loss = sum(nats[t - 1, ids[t]] for t in scored) / len(scored)
    parameters = [p for name, p in model.named_parameters()]
    parts = torch.autograd.grad(loss, parameters)
    return torch.cat([part.flatten() for part in parts]), float(loss.detach())


def test_slip_1_the_closer_a_step_comes_to_the_tasks_own_the_higher_its_impact():
    # A similarity went into a formula for distances, so the most harmful domain drew most.
    target = torch.tensor([[3.0, 4.0]])
    impact = ImpactMatrices.of(
        update_kp=torch.cat([target, 0.0 * target, -target]),
        target_tp=target,
        fisher_tp=torch.tensor([[2.0, 0.5]]),
        domain_names=("with it", "idle", "against it"),
        task_names=("task",),
    )
    # Distances are 0, 1/2 and 2 times the task's squared step; cosines are 1, 0 and -1.
    shares = impact_shares(impact, "distance")[:, 0]
    np.testing.assert_allclose(shares, [4 / 7, 3 / 7, 0.0], atol=1e-7)
    shares = impact_shares(impact, "cosine")[:, 0]
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3, 0.0], atol=1e-7)


def test_slip_2_the_fisher_information_is_the_mean_of_squared_per_sample_gradients(
    tokenizer, dataset
):
    # The gradient of a batch's mean was squared: too small by about the batch size.
    model = tiny_model(len(tokenizer)).double()
    samples = list(range(8))
    slow_np = torch.stack([gradient(model, dataset, sample)[0] for sample in samples])
    found = gradient_statistics(
        model, [batch_of(dataset, samples)], Coordinates.of(model), with_squares=True
    )
    torch.testing.assert_close(found.square_p, slow_np.square().mean(0), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found.mean_p, slow_np.mean(0), rtol=1e-9, atol=1e-14)
    assert found.square_p.sum() > 2 * found.mean_p.square().sum()


def test_slip_3_gradients_and_tests_score_the_same_tokens_the_completions(tokenizer, dataset):
    # Prompts and padding were scored in gradients and Fisher, answers alone in the tests.
    encoded = encode_record(record(3), tokenizer)
    scored = [i for i, s in zip(encoded.token_ids, encoded.is_scored, strict=True) if s]
    assert tokenizer.decode(scored) == record(3).completion + tokenizer.eos_token
    model = tiny_model(len(tokenizer)).double()
    everything = list(range(len(dataset)))
    padded = gradient_statistics(
        model, [batch_of(dataset, everything)], Coordinates.of(model), with_squares=False
    )
    slow = [gradient(model, dataset, sample) for sample in everything]
    slow_losses = torch.tensor([loss for _, loss in slow], dtype=torch.float64)
    torch.testing.assert_close(padded.losses_n, slow_losses, rtol=1e-9, atol=0.0)
    slow_mean = torch.stack([vector for vector, _ in slow]).mean(0)
    torch.testing.assert_close(padded.mean_p, slow_mean, rtol=1e-9, atol=1e-14)
    tested = task_loss(model, dataset, PaddingCollator(0), batch_size=5)
    assert tested.loss == pytest.approx(float(slow_losses.mean()), rel=1e-12)


def test_slip_4_the_tokenizer_is_the_users_and_the_model_must_fit_it(tokenizer, tmp_path):
    # One tokenizer was fixed, whatever the model: ids meant other words, or none.
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert tokenizer_hash(loaded) == tokenizer_hash(tokenizer)
    other = train_tokenizer(iter(["zebras quiz foxes"] * 9), 280)
    keys = {
        token_store_key("content", tokenizer_hash(t), 48, "chat", "train", "stop")
        for t in (tokenizer, other)
    }
    assert len(keys) == 2
    embeddings = tiny_model(len(loaded)).get_input_embeddings()
    assert embeddings.num_embeddings == len(tokenizer)
    too_small = {"model_type": "llama", "vocab_size": len(tokenizer) - 1}
    with pytest.raises(InputError, match=f"tokenizer has {len(tokenizer)} entries"):
        build_model(ModelConfig(config=too_small), vocab_size=len(tokenizer), seed=0)


def test_slip_5_features_belong_to_their_data_and_every_sample_has_one(
    tokenizer, dataset, tmp_path
):
    # Other data met the cache of the last, and floor division dropped the samples after it.
    model, projection = tiny_model(len(tokenizer)), Projection(64, seed=0)
    store = FeatureStore.create(tmp_path, "data A", 10, 64, shard_size=4, dtype="float32")
    compute_features(model, dataset, PaddingCollator(0), projection, store, batch_tokens=64)
    assert [len(store.shard_range(shard)) for shard in range(store.num_shards)] == [4, 4, 2]
    alone = [sample_features(model, batch_of(dataset, [i]), projection)[0] for i in range(10)]
    found = torch.from_numpy(np.array(store[np.arange(10)], dtype=np.float32))
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-4, atol=1e-6)
    assert FeatureStore.open(tmp_path, "data A").is_complete
    assert FeatureStore.open(tmp_path, "data B") is None
    again = FeatureStore.open_or_create(tmp_path, "data B", 10, 64, shard_size=4, dtype="float32")
    assert again.missing_shards() == [0, 1, 2]


def test_slip_6_every_sample_is_drawn_once_before_any_is_drawn_again():
    # Drawn at random but removed from the front: some repeated, some were never seen.
    sampler = MixtureSampler(
        [np.arange(0, 12), np.arange(12, 18)], np.full(18, 10), batch_size=6, seed=0,
        max_repeats=[None, None], mixture=[2 / 3, 1 / 3],
    )  # fmt: skip
    for epoch in range(5):
        drawn = np.concatenate([sampler.plan(step) for step in range(3 * epoch, 3 * epoch + 3)])
        assert sorted(drawn.tolist()) == list(range(18))


def test_slip_7_counts_follow_the_weights_and_what_runs_out_is_shared_by_weight():
    # Counts were floored and the shortfall spread evenly; an empty domain's share was lost.
    share_k = np.array([0.5, 0.3, 0.2])

    def drawn(batch_size, num_steps, first_size=99):
        sampler = MixtureSampler(
            [range(first_size), range(99, 198), range(198, 297)], 10, batch_size=batch_size,
            seed=0, mixture=share_k, max_repeats=[0 if first_size < 99 else None, None, None],
        )  # fmt: skip
        return sampler.draws_by_domain(num_steps)

    assert drawn(7, 1).tolist() == [4, 2, 1]  # 3.5, 2.1 and 1.4 are due
    for step in range(1, 200):
        assert (np.abs(drawn(7, step) - 7 * step * share_k) < 1.0).all()
    assert drawn(50, 1, first_size=0).tolist() == [0, 30, 20]
    # 48 are left for 0.3 and 0.2: 28.8 and 19.2.
    assert drawn(50, 1, first_size=2).tolist() == [2, 29, 19]


def test_slip_8_an_unknown_potential_is_neutral_and_bad_utilities_change_nothing():
    # A constant 1 swamped every change of the loss in the first rounds.
    early = {"a": [(0, 3.0), (100, 2.7)], "b": [(0, 3.0), (100, 2.97)]}
    gains = gain_of_tasks(progress_of_tasks(["a", "b"], early, 100))
    np.testing.assert_allclose(gains, [0.3 / 2.7, 0.03 / 2.97], rtol=1e-12)
    # The fit had no bounds: a rising loss promised gains, a falling one more than it was.
    rising = [(n, 1.0 + 0.1 * n) for n in range(8)]
    assert potential(rising, 10).drop_nats == 0.0
    steep = [(n, 0.5 - 0.05 * n) for n in range(8)]
    assert 0.0 <= potential(steep, 10**9).drop_nats <= 0.5  # the line itself goes to -5e7
    # A fit that failed meant 0, as if the task had nothing left to gain.
    assert filled([0.2, None, 0.4]).tolist() == pytest.approx([0.2, 0.3, 0.4])
    # All-negative utilities became the uniform mixture.
    decision = DidsPaper().mixture(worsening())
    np.testing.assert_array_equal(decision.mixture, worsening().previous)


def worsening():
    """Every task is getting worse, so every domain has a negative utility."""
    impact = ImpactMatrices(
        gram_tkk=np.eye(3)[None],
        kernel_kt=np.array([[0.5], [0.1], [-0.5]]),
        target_norm_t=np.ones(1),
        domain_names=("a", "b", "c"),
        task_names=("task",),
    )
    return Observation(
        round=1, step=10, tokens=200, horizon_tokens=100, impact=impact,
        task_losses={"task": [(0, 2.0), (100, 3.0)]}, task_weights=np.ones(1),
        sizes_k=np.array([9, 9, 9]), draws_k=np.array([3, 3, 3]),
        previous=np.array([0.7, 0.2, 0.1]), prior=np.full(3, 1 / 3),
        limits=MixtureLimits.with_floor(3, 0.0),
    )  # fmt: skip


def test_slip_9_a_round_restarts_nothing(tokenizer, dataset, tmp_path):
    # Optimizer and schedule restarted every round, and all of it on a GPU alone.
    weights = {}
    for num_rounds in (1, 4):
        model = tiny_model(len(tokenizer))
        train_model(
            tmp_path / str(num_rounds),
            model=model,
            tokenizer=tokenizer,
            data=DomainData(dataset, ["a", "b"], np.split(np.arange(24), 2), [None, None]),
            policy=make_policy("uniform"),
            limits=MixtureLimits.with_floor(2, 0.0),
            prior=np.full(2, 0.5),
            seed=0,
            arguments={"per_device_train_batch_size": 4, "learning_rate": 0.01, "use_cpu": True},
            num_rounds=num_rounds,
            num_steps=12,
        )
        weights[num_rounds] = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(weights[4], weights[1], rtol=0.0, atol=0.0)


def test_slip_9_a_source_of_fewer_samples_than_clusters_is_clustered_all_the_same():
    # K-means stopped the run when a domain had fewer samples than clusters.
    feature_nd = np.random.default_rng(0).normal(size=(43, 8)).astype(np.float32)
    source_n = np.repeat([0, 1], [3, 40]).astype(np.int32)
    domains = cluster_features(feature_nd, source_n, 20, source_names=["few", "many"])
    assert 1 <= (domains.source_counts_ks[:, 0] > 0).sum() <= 3
    assert domains.source_counts_ks.sum(0).tolist() == [3, 40]


def test_slip_10_a_tasks_own_items_among_the_training_records_are_counted():
    # Tasks' own evaluation items were training domains, and nothing said so.
    items = [
        Record(Origin("test", 1), prompt="What is the sum of 2 and 40?", completion="42"),
        Record(Origin("test", 2), prompt="Name the largest of the planets.", completion="Jupiter"),
    ]
    guard = LeakGuard()
    guard.add(("quiz", "test"), items)
    copied = "Exercise 7. WHAT is the sum of 2 and 40 -- think!"
    records = [Record(Origin("train", 1), text=copied), record(0), record(1)]
    batch = WordBatch.of([" ".join(some.texts) for some in records])
    (hit,) = guard.hits([some.origin for some in records], batch)
    assert (hit.kind, hit.record) == ("verbatim", records[0].origin)


def test_slip_11_measuring_takes_no_more_than_its_share_of_what_a_round_trains_on(
    tokenizer, dataset
):
    # Impact took the gradients of more samples than a round trained on.
    budget = MeasuringBudget.within(
        domain_samples=40, task_samples=40, validation_samples=4, num_domains=2, num_tasks=1,
        trained_samples=60, max_share=0.33,
    )  # fmt: skip
    assert (budget.domain_samples, budget.task_samples) == (6, 6)  # 120 * 0.165 = 19.8 = 3 * 6.6
    estimator = ImpactEstimator(
        dataset=dataset,
        members_by_domain=np.split(np.arange(24), 2),
        domain_names=["a", "b"],
        tasks={"task": dataset},
        collate=PaddingCollator(0),
        budget=budget,
        max_coordinates=None,
        labels="data",
        seed=0,
    )
    measured = estimator.measure(tiny_model(len(tokenizer)), None, index=0)
    assert measured.num_gradient_samples == 3 * 6
    assert measured.num_gradient_samples <= 0.33 * 60
