"""Laws that every alignment keeps, and those of each. Axes: n samples, d dimensions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.alignment import ALIGNMENTS, TASKS, Compact, Composed, Projection, Style

NAMES = list(ALIGNMENTS)
CHAINS = [[name] for name in NAMES] + [["style", "compact"], ["style", "projection", "compact"]]
seeds = st.integers(0, 10_000)


def law(**strategies):
    """Some fits each: a hundred would take a minute a law."""
    return lambda test: settings(max_examples=15)(given(**strategies)(test))


def contents(generator, num, dim, num_contents=3):
    """Samples of some contents, as far apart as they are wide."""
    centre_cd = 4 * np.eye(dim)[:num_contents]
    content_n = np.arange(num) % num_contents
    return centre_cd[content_n] + generator.normal(size=(num, dim)), content_n


def corpus(seed, sizes=(60, 60, 60), dim=6):
    generator = np.random.default_rng(seed)
    feature_nd = np.concatenate([contents(generator, size, dim)[0] for size in sizes])
    return feature_nd.astype(np.float32), np.repeat(np.arange(len(sizes)), sizes)


def disguise(generator, dim):
    """An invertible affine map, far from doing nothing."""
    rotation, _ = np.linalg.qr(generator.normal(size=(dim, dim)))
    return rotation @ np.diag(generator.uniform(0.3, 3, dim)) @ rotation.T, generator.normal(
        size=dim
    )


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@law(seed=seeds)
def test_the_order_of_samples_has_no_effect(names, seed):
    feature_nd, source_n = corpus(seed)
    task_td = corpus(seed + 1)[0][:40]
    order_n = np.random.default_rng(seed).permutation(len(feature_nd))
    first = Composed.fit(names, feature_nd, source_n, task_td)
    second = Composed.fit(names, feature_nd[order_n], source_n[order_n], task_td[::-1])
    for one, other in zip(first.parts, second.parts, strict=True):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, vars(other)[name])


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@law(seed=seeds, block=st.integers(1, 70))
def test_blocks_of_any_size_give_what_all_rows_give(names, seed, block):
    feature_nd, source_n = corpus(seed)
    fitted = Composed.fit(names, feature_nd, source_n)
    whole = fitted.aligned(feature_nd, source_n)
    blocks = [
        fitted.aligned(feature_nd[start : start + block], source_n[start : start + block])
        for start in range(0, len(feature_nd), block)
    ]
    np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@law(seed=seeds)
def test_a_composition_is_its_parts_one_after_another(names, seed):
    feature_nd, source_n = corpus(seed)
    fitted = Composed.fit(names, feature_nd, source_n)
    by_hand = feature_nd
    for name in names:
        part = ALIGNMENTS[name].fit(by_hand, source_n)
        by_hand = part.aligned(by_hand, source_n)
    np.testing.assert_array_equal(fitted.aligned(feature_nd, source_n), by_hand)


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@law(seed=seeds, size=st.integers(1, 10))
def test_a_source_of_ten_samples_or_fewer_does_not_explode(names, seed, size):
    feature_nd, source_n = corpus(seed, (200, 200, size), dim=40)
    fitted = Composed.fit(names, feature_nd, source_n)
    other_nd = corpus(seed + 1, (10, 10, 100), dim=40)[0]
    length = np.linalg.norm(fitted.aligned(other_nd, np.repeat([0, 1, 2], [10, 10, 100])), axis=1)
    assert np.isfinite(length).all()
    assert length.max() < 3 * np.linalg.norm(other_nd, axis=1).max()


@pytest.mark.parametrize("name", NAMES)
def test_sources_of_equal_samples_or_of_one_are_survived(name):
    feature_nd = np.concatenate([np.ones((20, 5)), [[0, 1, 0, 0, 0]]]).astype(np.float32)
    source_n = np.repeat([0, 1], [20, 1])
    fitted = Composed.fit([name], feature_nd, source_n)
    assert np.isfinite(fitted.aligned(feature_nd, source_n)).all()


@law(seed=seeds)
def test_rows_of_zero_stay_zero(seed):
    feature_nd, source_n = corpus(seed)
    fitted = Composed.fit(["style", "compact"], feature_nd, source_n)
    feature_nd[::7] = 0
    aligned_nd = fitted.aligned(feature_nd, source_n)
    assert (aligned_nd[::7] == 0).all() and aligned_nd[1::7].any(axis=1).all()


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
def test_what_is_saved_is_what_is_loaded(names, tmp_path):
    feature_nd, source_n = corpus(0)
    fitted = Composed.fit(names, feature_nd, source_n, feature_nd[:30])
    fitted.save(tmp_path / "alignment", "a key")
    loaded = Composed.load(tmp_path / "alignment", "a key")
    np.testing.assert_array_equal(
        loaded.aligned(feature_nd, source_n), fitted.aligned(feature_nd, source_n)
    )
    assert Composed.load(tmp_path / "alignment", "another") is None


# Style


@pytest.mark.parametrize("covariance", ["whole", "diagonal"])
@pytest.mark.parametrize("to", ["common", "tasks"])
@law(seed=seeds, size=st.integers(2, 80))
def test_style_leaves_aligned_sources_as_they_are(to, covariance, seed, size):
    rows_nd = corpus(seed, (size,), dim=5)[0]
    feature_nd, source_n = np.concatenate([rows_nd, rows_nd]), np.repeat([0, 1], size)
    fitted = Style.fit(feature_nd, source_n, rows_nd, to=to, covariance=covariance)
    np.testing.assert_allclose(
        fitted.aligned(feature_nd, source_n), feature_nd, atol=2e-3 * np.abs(feature_nd).max()
    )


@law(seed=seeds, factor=st.floats(0.01, 100), dim=st.integers(2, 100))
def test_style_undoes_shift_and_scale_of_a_source_of_any_size(seed, factor, dim):
    """To the tasks' statistics, and so for more dimensions than are matched whole."""
    feature_nd, source_n = corpus(seed, (80, 10), dim=dim + 3)
    task_td = corpus(seed + 1, (90,), dim=dim + 3)[0]
    disguised_nd = feature_nd.copy()
    shift_d = 10 * np.random.default_rng(seed).normal(size=dim + 3)
    disguised_nd[80:] = factor * feature_nd[80:] + shift_d
    plain = Style.fit(feature_nd, source_n, task_td, to="tasks")
    hidden = Style.fit(disguised_nd, source_n, task_td, to="tasks")
    # A float32 of size s + |shift| keeps 1e-7 of that, which undoing the scale magnifies.
    lost = 1e-5 * (1 + np.abs(shift_d).max() / factor)
    np.testing.assert_allclose(
        hidden.aligned(disguised_nd, source_n),
        plain.aligned(feature_nd, source_n),
        atol=20 * lost,
    )


@law(seed=seeds)
def test_style_undoes_each_axis_of_a_disguise_along_the_axes(seed):
    feature_nd, source_n = corpus(seed, (300, 300), dim=4)
    task_td = feature_nd[:300] @ np.diag([2.0, 1.0, 0.5, 0.25]).astype(np.float32)
    generator = np.random.default_rng(seed)
    disguised_nd = feature_nd.copy()
    disguised_nd[300:] = feature_nd[300:] * generator.uniform(0.3, 3, 4) + generator.normal(size=4)
    settings = {"to": "tasks", "covariance": "whole", "shrinkage": 0.0}
    mean_d, covariance_de = task_td.mean(0), np.cov(task_td.T, bias=True)
    for rows_nd in (feature_nd, disguised_nd):
        aligned_nd = Style.fit(rows_nd, source_n, task_td, **settings).aligned(rows_nd, source_n)
        np.testing.assert_allclose(aligned_nd[300:].mean(0), mean_d, atol=1e-3)
        np.testing.assert_allclose(np.cov(aligned_nd[300:].T, bias=True), covariance_de, atol=2e-2)


@law(seed=seeds)
def test_a_disguise_by_any_affine_map_is_undone_up_to_a_rotation(seed):
    """Two moments cannot say more: distances by the source's own covariance are the same."""
    feature_nd, source_n = corpus(seed, (300, 300), dim=4)
    task_td = feature_nd[:300]
    matrix_de, shift_d = disguise(np.random.default_rng(seed), 4)
    disguised_nd = feature_nd.copy()
    disguised_nd[300:] = feature_nd[300:] @ matrix_de.T + shift_d
    inverse_de = np.linalg.inv(np.cov(task_td.T, bias=True))
    found = []
    for rows_nd in (feature_nd, disguised_nd):
        fitted = Style.fit(rows_nd, source_n, task_td, to="tasks", shrinkage=0.0)
        centred_nd = fitted.aligned(rows_nd, source_n)[300:] - task_td.mean(0)
        found.append(centred_nd @ inverse_de @ centred_nd.T)
    np.testing.assert_allclose(found[0], found[1], atol=0.02 * np.abs(found[0]).max())


@law(seed=seeds)
def test_a_disguise_that_stretches_is_undone_to_the_last_sample(seed):
    """A symmetric map with positive stretches, in any directions, of what looked like the tasks."""
    rows_nd = corpus(seed, (300,), dim=4)[0]
    generator = np.random.default_rng(seed)
    direction_de = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    stretch_de = (direction_de * generator.uniform(0.4, 2.5, 4)) @ direction_de.T
    disguised_nd = (rows_nd @ stretch_de + generator.normal(size=4)).astype(np.float32)
    feature_nd, source_n = np.concatenate([rows_nd, disguised_nd]), np.repeat([0, 1], 300)
    fitted = Style.fit(feature_nd, source_n, rows_nd, to="tasks", shrinkage=0.0)
    undone_nd = fitted.aligned(feature_nd, source_n)[300:]
    np.testing.assert_allclose(undone_nd, rows_nd, atol=5e-3 * np.abs(rows_nd).max())


@law(seed=seeds)
def test_style_brings_contents_of_disguised_sources_together(seed):
    generator = np.random.default_rng(seed)
    feature_nd, content_n = contents(generator, 300, 4)
    source_n = np.repeat([0, 1], 150)
    disguised_nd = feature_nd.copy()
    disguised_nd[150:] = 2 * feature_nd[150:] + 20
    aligned_nd = Style.fit(disguised_nd, source_n).aligned(disguised_nd, source_n)
    centre_scd = np.array(
        [
            [aligned_nd[(source_n == s) & (content_n == c)].mean(0) for c in range(3)]
            for s in range(2)
        ]
    )
    distance_cc = np.linalg.norm(centre_scd[0][:, None] - centre_scd[1], axis=2)
    assert (distance_cc.argmin(1) == np.arange(3)).all()


def test_an_enlarged_source_enlarges_all_alike():
    """Common statistics: no source decides their shape by its size in the features."""
    feature_nd, source_n = corpus(0, (50, 50))
    feature_nd -= np.repeat([feature_nd[:50].mean(0), feature_nd[50:].mean(0)], 50, axis=0)
    enlarged_nd = feature_nd * np.where(source_n == 1, 9.0, 1.0)[:, None].astype(np.float32)
    plain_nd = Style.fit(feature_nd, source_n).aligned(feature_nd, source_n)
    other_nd = Style.fit(enlarged_nd, source_n).aligned(enlarged_nd, source_n)
    np.testing.assert_allclose(other_nd, 3.0 * plain_nd, atol=1e-3)


def test_tasks_statistics_without_tasks_are_refused():
    feature_nd, source_n = corpus(0)
    with pytest.raises(ValueError, match="two of their samples"):
        Style.fit(feature_nd, source_n, to="tasks")


# Compact


@law(seed=seeds)
def test_compact_without_strength_is_the_identity(seed):
    feature_nd, source_n = corpus(seed)
    fitted = Compact.fit(feature_nd, source_n, spread=1.0, margin=1.0)
    np.testing.assert_allclose(fitted.aligned(feature_nd, source_n), feature_nd, atol=1e-5)


@law(seed=seeds)
def test_compact_shrinks_clusters_by_its_factor_and_widens_margins(seed):
    generator = np.random.default_rng(seed)
    content_n = np.arange(200) % 2
    feature_nd = generator.normal(size=(200, 3)) + np.array([[-20, 0, 0], [20, 0, 0]])[content_n]
    feature_nd = feature_nd.astype(np.float32)
    fitted = Compact.fit(feature_nd, content_n, spread=0.5, margin=1.5)
    sure_n = fitted.assigned(feature_nd).confidence_m >= 0.9
    aligned_nd = fitted.aligned(feature_nd, content_n)
    # A component's centre is the mean of all its samples; the rare ones among them do not move.
    for content in range(2):
        mine = sure_n & (content_n == content)
        centre_d = feature_nd[content_n == content].mean(0)
        expected_nd = 1.5 * (centre_d - feature_nd.mean(0)) + feature_nd.mean(0)
        expected_nd = expected_nd + 0.5 * (feature_nd[mine] - centre_d)
        np.testing.assert_allclose(aligned_nd[mine], expected_nd, atol=1e-3)
    np.testing.assert_array_equal(aligned_nd[~sure_n], feature_nd[~sure_n])


@law(seed=seeds)
def test_confidence_is_low_between_clusters_and_far_from_all(seed):
    generator = np.random.default_rng(seed)
    content_n = np.arange(400) % 2
    feature_nd = generator.normal(size=(400, 2)) + np.array([[-6, 0], [6, 0]])[content_n]
    fitted = Compact.fit(feature_nd, np.zeros(400, dtype=int), num_components=2)
    asked_md = np.array([[-6, 0], [6, 0], [0, 0], [100, 0], [0, 80]], dtype=np.float32)
    found = fitted.assigned(asked_md)
    assert (found.confidence_m[:2] > 0.9).all() and (found.confidence_m[2:] < 0.05).all()
    assert found.component_m[0] != found.component_m[1]


# Projection


@law(seed=seeds)
def test_projecting_twice_is_projecting_once(seed):
    feature_nd, source_n = corpus(seed, (100, 100), dim=60)
    fitted = Projection.fit(feature_nd, source_n)
    once_nd = fitted.aligned(feature_nd, source_n)
    np.testing.assert_allclose(fitted.aligned(once_nd, source_n), once_nd, atol=1e-4)


@law(seed=seeds)
def test_a_combination_of_prototypes_is_its_own_projection(seed):
    feature_nd, source_n = corpus(seed, (100, 100), dim=60)
    fitted = Projection.fit(feature_nd, source_n)
    generator = np.random.default_rng(seed)
    mixed_md = generator.uniform(size=(5, len(fitted.prototype_kd))) @ fitted.prototype_kd
    aligned_md = fitted.aligned(mixed_md.astype(np.float32), np.full(5, TASKS))
    np.testing.assert_allclose(aligned_md, mixed_md, atol=1e-3)


@law(seed=seeds)
def test_what_is_at_right_angles_to_the_sources_vanishes(seed):
    feature_nd, source_n = corpus(seed, (100, 100), dim=60)
    feature_nd[:, 50:] = 0
    fitted = Projection.fit(feature_nd, source_n)
    strange_md = np.eye(60, dtype=np.float32)[50:]
    np.testing.assert_allclose(fitted.aligned(strange_md, np.full(10, TASKS)), 0, atol=1e-5)
