"""Trackers trained at build time: their parts, and a disc that they follow."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blobs import VIEW, blob_clip
from draws import random_params
from flax import linen as nn
from marks import further
from scipy import ndimage

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines import crops, propagation, siamese
from fluoro_jax.tracking.baselines.crops import (
    crop,
    make_examples,
    square_px,
    train,
    trained_once,
    uncrop,
    vary,
)
from fluoro_jax.tracking.baselines.propagation import PropagationTracker, corrupt
from fluoro_jax.tracking.baselines.siamese import (
    CELLS,
    SiameseNetwork,
    SiameseTracker,
    correlate,
    read_map,
)
from fluoro_jax.tracking.baselines.tune_learned import arrays_of
from fluoro_jax.tracking.tracker import Tracker, track_clip

crop = jax.jit(crop, static_argnums=3)
uncrop = jax.jit(uncrop, static_argnums=3)
KINDS = (SiameseTracker, PropagationTracker)


def disc_clip(seed, frames=6, radius=7.0):
    """A textured disc that moves by fractions of a pixel over a still texture."""
    rng = np.random.default_rng(seed)
    texture = lambda sigma: ndimage.gaussian_filter(
        rng.standard_normal((96, 96)), sigma
    )
    still, inside = 4.0 * texture(4.0), 3.0 * texture(2.0) + 1.0
    steps = np.cumsum(rng.uniform(-2.5, 2.5, (frames, 2)), axis=0)
    places = np.array([46.0, 48.0]) + steps - steps[:1]
    rows, cols = np.mgrid[:96, :96]
    pictures, masks = [], []
    for row, col in places:
        away = np.hypot(rows - row, cols - col)
        # An edge one pixel wide, so that a fraction of a pixel shows.
        share = np.clip(radius + 0.5 - away, 0.0, 1.0)
        moved = ndimage.shift(inside, (row - 46.0, col - 48.0), order=1, mode="wrap")
        pictures.append(still + share * moved + 5.0)
        masks.append(away <= radius)
    return Clip(
        frames=np.stack(pictures).astype(np.float32),
        time_s=0.5 * np.arange(frames),
        geometry=VIEW,
        mask=np.stack(masks).astype(np.float32),
        centroid_px=places,
    )


@functools.cache
def discs():
    return arrays_of([disc_clip(seed) for seed in range(1, 17)])


def test_a_crop_of_the_frame_itself_is_the_frame():
    image = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    same = crop(image, np.float32([15.5, 15.5]), np.float32([32.0, 32.0]), 32)
    np.testing.assert_allclose(same, image, atol=1e-6)


def test_a_crop_shows_its_middle_and_goes_back_where_it_was():
    rows, cols = np.mgrid[:64, :64].astype(np.float32)
    middle, side = np.float32([30.25, 20.5]), np.float32([16.0, 16.0])
    for ramp, place in ((rows, 30.25), (cols, 20.5)):
        part = np.asarray(crop(ramp, middle, side, 32))
        np.testing.assert_allclose(part.mean(), place, atol=1e-4)
    disc = (np.hypot(rows - 30.25, cols - 20.5) <= 5.0).astype(np.float32)
    back = uncrop(crop(disc, middle, side, 32), middle, side, (64, 64))
    # The edge is blurred by half a pixel at most, so that the cut mask is the same.
    np.testing.assert_array_equal(np.asarray(back) >= 0.5, disc >= 0.5)
    assert np.asarray(back)[:, 40:].max() == 0.0


def test_the_square_of_a_square_box_is_twice_as_wide():
    mask = np.zeros((40, 40))
    mask[5:15, 20:30] = 1.0
    assert square_px(mask) == 20.0
    mask[5:15, 20:24] = 0.0
    assert square_px(mask) == pytest.approx(np.sqrt(18.0 * 14.0))


def test_a_varied_crop_has_mean_0_and_sd_1():
    part = np.random.default_rng(0).standard_normal((48, 48)).astype(np.float32)
    other = np.asarray(jax.jit(vary)(jax.random.key(1), part))
    np.testing.assert_allclose([other.mean(), other.std()], [0.0, 1.0], atol=1e-4)


def test_correlation_by_fourier_transforms_is_the_sum_of_products():
    rng = np.random.default_rng(0)
    found = rng.standard_normal((2, 9, 8, 3)).astype(np.float32)
    kernel = rng.standard_normal((2, 4, 3, 3)).astype(np.float32)
    direct = np.zeros((2, 6, 6, 3))
    for u, v in np.ndindex(6, 6):
        part = found[:, u : u + 4, v : v + 3]
        direct[:, u, v] = (part * kernel).sum(axis=(1, 2))
    np.testing.assert_allclose(jax.jit(correlate)(found, kernel), direct, atol=1e-5)


def test_a_map_is_read_to_a_fraction_of_a_cell():
    cells = np.stack(np.mgrid[:CELLS, :CELLS], -1) - CELLS // 2
    true = np.array([2.3, -1.4])
    scores = -0.5 * np.square((cells - true) / 0.7).sum(-1)
    place, confidence = read_map(scores, true - cells)
    np.testing.assert_allclose(place, true, atol=1e-9)
    assert 0.8 < confidence <= 1.0
    # Without a best cell, no answer is likely.
    _, confidence = read_map(np.zeros((CELLS, CELLS)), np.zeros_like(cells))
    assert confidence < 0.1


def test_what_is_searched_for_has_no_mean():
    network = SiameseNetwork()
    exemplar, search = (np.ones((1, n, n), np.float32) for n in (48, 96))
    params = {"params": random_params(network, exemplar, exemplar, search)}
    scores, offsets = jax.eval_shape(network.apply, params, exemplar, exemplar, search)
    assert scores.shape == (1, CELLS, CELLS) and offsets.shape == (*scores.shape, 2)
    varied = np.random.default_rng(0).standard_normal((1, 48, 48)).astype(np.float32)
    run = functools.partial(network.apply, method=SiameseNetwork.kernel)
    kernel = np.asarray(jax.jit(run)(params, varied, exemplar))
    np.testing.assert_allclose(kernel.sum((1, 2)), 0.0, atol=1e-4)


def test_a_previous_mask_is_corrupted_within_its_limits():
    mask = np.zeros((64, 64), np.float32)
    mask[24:40, 24:40] = 1.0
    middle, side = np.float32([31.5, 31.5]), np.float32([64.0, 64.0])
    run = jax.jit(lambda k: corrupt(k, jnp.asarray(mask), middle, side, 16.0))
    sums = np.array(
        [float(run(k).sum()) for k in jax.random.split(jax.random.key(0), 99)]
    )
    blank = (sums == 0.0).mean()
    assert 0.02 < blank < 0.25
    # Stretched by 10 % at most, and dilated by 3 pixels on every side.
    assert sums[sums > 0.0].min() > 256.0 / 1.15**2
    assert sums.max() < (16.0 / 0.9 + 8.0) ** 2


def test_pairs_are_of_one_clip_and_need_a_tumour():
    arrays = arrays_of([blob_clip(), blob_clip()])
    arrays["mask"][1, 2] = 0
    pairs = np.asarray(make_examples(arrays).pairs)
    assert len(pairs) == 16 + 9
    near = np.asarray(make_examples(arrays, apart=1).pairs)
    assert {tuple(p) for p in near[near[:, 0] == 1]} == {(1, 0, 1), (1, 1, 0)}
    arrays["mask"][:] = 0
    with pytest.raises(UserError, match="two frames"):
        make_examples(arrays)


def test_training_falls_to_the_least_loss_and_reports_every_step():
    examples = make_examples(arrays_of([blob_clip()]))
    seen = []
    found = train(
        lambda x, key, examples: jnp.square(x - 2.0).sum(),
        jnp.zeros(1),
        examples,
        steps=80,
        learning_rate=0.2,
        seed=0,
        progress=lambda step, loss: seen.append((step, loss)),
    )
    np.testing.assert_allclose(found, 2.0, atol=0.05)
    assert [step for step, _ in seen] == list(range(80)) and seen[0][1] == 4.0


def test_the_same_arrays_are_trained_once(monkeypatch):
    monkeypatch.setattr(crops, "_TRAINED", {})
    arrays, made = arrays_of([blob_clip()]), []
    make = lambda: made.append(1) or len(made)
    once = lambda a, settings=(1,): trained_once("any", a, settings, make)
    assert once(arrays) == once({k: v.copy() for k, v in arrays.items()}) == 1
    assert once(arrays, (2,)) == 2
    other = dict(arrays, frames=arrays["frames"] + 1.0)
    assert once(other) == 3
    for number in range(crops.KEPT):
        once(arrays, (number + 5,))
    assert len(crops._TRAINED) == crops.KEPT and once(arrays) == crops.KEPT + 4


@pytest.fixture(
    scope="module", params=[KINDS[0], further(KINDS[1])], ids=lambda kind: kind.__name__
)
def untrained(request):
    """A tracker after one step of training: what holds for any weights."""
    init = nn.Module.init

    def compiled(net, *args):  # as single operations it takes several times as long
        return jax.jit(functools.partial(init, net))(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "init", compiled)
        return request.param.fit(arrays_of([blob_clip()]), steps=1)


def test_answers_come_from_no_later_frame_and_states_do_not_change(untrained):
    assert isinstance(untrained, Tracker) and untrained.causal
    clip = blob_clip()
    state = untrained.init(VIEW, (clip.frames[0], clip.mask[0]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.frame = 3
    first, track = untrained.step(state, clip.frames[0], 0.0)
    with pytest.raises(UserError, match="not finite"):
        untrained.step(first, np.full((96, 96), np.nan), 0.5)
    untrained.step(first, clip.frames[2], 0.5)
    # The same state answers the same frame alike, whatever was tried in between.
    again = untrained.step(state, clip.frames[0], 0.0)[1]
    np.testing.assert_array_equal(track.probability, again.probability)
    _, second = untrained.step(first, clip.frames[1], 0.5)
    assert second.frame == 1 and 0.0 <= second.confidence <= 1.0
    assert untrained.flush(first) == []


def test_a_missing_reference_and_other_domains_are_refused(untrained):
    clip = blob_clip()
    with pytest.raises(UserError, match="no reference"):
        untrained.init(VIEW)
    with pytest.raises(UserError, match="counts"):
        untrained.init(VIEW, (clip.frames[0], clip.mask[0]), domain="counts")


def test_after_an_empty_prediction_the_place_stays(monkeypatch):
    clip = blob_clip()
    tracker = PropagationTracker(params=None)
    nothing = lambda *_: np.zeros((96, 96), np.float32)
    monkeypatch.setattr(propagation, "_segment", nothing)
    state = tracker.init(VIEW, (clip.frames[0], clip.mask[0]))
    after, track = tracker.step(state, clip.frames[0], 0.0)
    assert track.status == "missed" and not after.before.any()
    np.testing.assert_array_equal(after.place_px, state.place_px)


def test_the_exemplar_is_large_enough_for_what_training_tumours_moved(monkeypatch):
    for module in (siamese, propagation):
        monkeypatch.setattr(module, "fit_network", lambda *_, **__: None)
    clip = blob_clip(np.array([[0.0, 0.0], [10.0, -3.0], [10.0, 2.0]]))
    tracker = SiameseTracker.fit(arrays_of([clip]))
    assert tracker.least_side_px == pytest.approx(10.0 / siamese.SHIFT)
    other = PropagationTracker.fit(arrays_of([clip]))
    assert other.least_side_px == pytest.approx(40.0)


# Errors of propagated masks add up from frame to frame.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "limit_px"), [(SiameseTracker, 0.5), (PropagationTracker, 1.5)]
)
def test_a_textured_disc_is_followed(kind, limit_px):
    tracker = kind.fit(discs(), steps=300)
    away = []
    for seed in (101, 102, 103):
        clip = disc_clip(seed)
        tracks = track_clip(tracker, clip, (clip.frames[0], clip.mask[0]))
        away.append(np.stack([t.centroid_px for t in tracks]) - clip.centroid_px)
    errors = np.linalg.norm(np.concatenate(away), axis=1)
    print(
        f"{kind.__name__}: median {np.median(errors):.2f}, most {errors.max():.2f} px"
    )
    assert np.median(errors) < limit_px
