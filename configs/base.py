"""Every value of a run, with the paper's full size as the default.

Not run by itself: `configs/paper_group.py` and its neighbours start from here. Where
the paper is silent the value is ours and the comment says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from ml_collections import ConfigDict

from fluoro_jax.config import Config
from fluoro_jax.errors import UserError

# name: rows = cols, voxel_mm, levels, refine_levels, base, cap, critic levels
SCALES = {
    "smoke": (32, 8.0, 4, 2, 4, 16, 2),
    "quickstart": (64, 4.0, 5, 3, 8, 64, 3),
    "ablation": (48, 4.0, 4, 2, 8, 32, 2),
    "cpu": (96, 4.0, 5, 3, 8, 64, 3),
    "peer": (128, 3.0, 6, 4, 16, 128, 4),
    "full": (256, 2.0, 7, 5, 16, 128, 5),
}


def base_config(scale: str = "full") -> Config:
    """The paper's group study at one of `SCALES`."""
    check_preset(scale, SCALES)
    pixels, voxel_mm, levels, refine_levels, base, cap, critic_levels = SCALES[scale]
    c = ConfigDict({"name": "base", "seed": 0})
    c.study = dict(  # the fixed cases; sizes from the paper, ranges in studies/
        name="group",
        seed=2020,
        num_train=110,
        num_val=16,  # ours: watched while training, in neither split
        num_test=30,
        rows=pixels,
        cols=pixels,
        detector_mm=480.0,  # height of the panel, of square pixels; 320 mm at isocentre
        gantry_deg=0.0,
        collimate=False,  # ours: the panel's middle follows each set's tumour
        voxel_mm=voxel_mm,
        photons=0.0,  # unattenuated quanta a pixel; 0 = noiseless line integrals
        num_frames=10,
        frame_s=0.5,
    )
    c.data = dict(
        source="dataset",  # or "simulator": fresh tumours on a pool of bodies
        batch_size=4,  # over all devices and processes
        stack="wrap",  # neighbours of the first and last frame: wrap | edge | causal;
        # "single" shows every frame alone, three times
        pool_bodies=16,  # simulator: bodies in memory
        renew_every=50,  # simulator: micro-batches between two new bodies
        random_start=False,  # simulator: start the cycle at a random phase
        smallest_mm=20.0,  # simulator: tumour diameters, from
        largest_mm=40.0,  # to; 20-40 is the study's own training population
    )
    c.gen = dict(  # Generator(**cfg.gen)
        levels=levels,
        base=base,  # channels of level 0; level i has min(base 2^i, cap)
        cap=cap,
        kernel=4,
        refine_levels=refine_levels,
        refine_kernel=2,  # the paper says only "half"
        lstm_kernel=3,
        bidirectional=True,  # False: forward in time only
        lstm="all",  # coarse net: in all skips and the bottom | bottom | none
        resample="stride",  # or "pool": max pooling down, bilinear up
        group_size=4,  # ours: norm of each frame; an empty mask otherwise attracts
        remat=False,
        dtype="float32",  # of the computation; parameters stay float32
        input_mean=3.0,  # ours: fixed input scaling, line integrals [1]
        input_scale=2.0,
        patch=1,  # ours: pixels a side of the cells that the networks see; 1 = none
        stem=0,  # ours: channels of a cell behind the dense stem
        background_px=0.0,  # ours: sigma of a Gaussian mean taken off; 0 = none
    )
    c.critic = dict(  # Critic(**cfg.critic)
        levels=critic_levels,
        base=base,
        cap=cap,
        kernel=4,
        lstm_kernel=3,
        output="sigmoid",  # the paper's; "linear" is WGAN-GP's
        group_size=4,
        dtype="float32",
    )
    c.gen_opt = dict(  # Adam; rates and betas are not in the paper
        learning_rate=1e-3, b1=0.9, b2=0.999, warmup_steps=50, clip_norm=1.0
    )
    c.critic_opt = dict(
        learning_rate=1e-4, b1=0.5, b2=0.9, warmup_steps=0, clip_norm=1.0
    )
    c.init = dict(  # fine-tuning
        parent="",  # name of the run whose networks it starts from; "" = fresh ones
        frozen="nothing",  # nothing | bottom | ends | all_but_last
    )
    c.loss = dict(
        l1=100.0,  # eq. 5 and 9 as read: L_GAN + 100 L_1 + L_ssim + L_iou
        ssim=1.0,
        iou=1.0,
        coarse=0.0,  # ours: the same terms on the coarse net's own answer
        adversarial=1.0,
        cross_entropy=0.0,  # ours: foreground-weighted, after the warm-up too
        foreground_weight=20.0,  # ours: a true pixel weighs 1 + this
        warmup_steps=500,  # ours: cross-entropy + L_iou only (the empty mask attracts)
        critic_start=0,  # ours: first step that updates the critic
        adv_start=500,  # ours: first step with the adversarial term
        gp_weight=10.0,
    )
    c.train = dict(
        num_steps=10_000,  # a step = gen_updates, then critic_updates
        gen_updates=2,  # the paper's 2:1; WGAN-GP has 1:5
        critic_updates=1,
        accumulate=1,  # micro-batches of batch_size whose gradients an update means
        ema_decay=0.999,
        log_every=20,
        eval_every=500,
        save_every=500,
        keep=3,
        max_skipped=20,  # non-finite updates before the run stops
        collapse_after=400,  # stop if mean p on truth is under 0.01 from here on
    )
    c.evaluation = dict(
        bootstrap=10_000,
        threshold=0.5,
        stream_lookahead=5,  # frames of delay on clips longer than one cycle
    )
    return c


def check_preset(preset: str, known: Iterable[str]) -> None:
    """Raises `UserError` that names the presets unless `preset` is one of them."""
    names = ", ".join(known)
    if preset not in names.split(", "):
        raise UserError(
            f"preset {preset!r} of the config",
            needed=f"one of {names}",
            why="a preset is a size that the config file itself defines",
            fix="write one of them after the colon, as in FILE.py:smoke",
        )
