"""Every value of a run, with the paper's form and levels as the default.

Command:  none; `configs/paper_group.py` and its neighbours start from here.
Hardware, time, expected result: those of the config that starts from here.

A value is the paper's only if its comment says "paper"; every other value is ours,
because the paper does not state it, and is marked "ours".
"""

from __future__ import annotations

from collections.abc import Iterable

from ml_collections import ConfigDict

from fluoro_jax.config import Config
from fluoro_jax.errors import UserError
from fluoro_jax.studies.registry import STUDIES

# name: rows = cols, voxel_mm, levels, refine_levels, base, cap, critic levels. The
# paper has 7 and 5 levels ("full"); all else in this table is ours.
SCALES = {
    "smoke": (32, 8.0, 4, 2, 4, 16, 2),
    "quickstart": (64, 4.0, 5, 3, 8, 64, 3),
    "ablation": (48, 4.0, 4, 2, 8, 32, 2),
    "cpu": (96, 4.0, 5, 3, 8, 64, 3),
    "peer": (128, 3.0, 6, 4, 16, 128, 4),
    "full": (256, 2.0, 7, 5, 16, 128, 5),
}


PRESETS = (*SCALES, "gpu")  # "gpu" is "full" as one large accelerator computes it


def base_config(scale: str = "full") -> Config:
    """The paper's group study at one of `PRESETS`."""
    check_preset(scale, PRESETS)
    size = SCALES["full" if scale == "gpu" else scale]
    pixels, voxel_mm, levels, refine_levels, base, cap, critic_levels = size
    c = ConfigDict({"name": "base", "seed": 0})  # ours: one seed
    # On which cases the recipe's choices were made: none | validation | test, or ""
    # if that is not known (fluoro_jax/choices.py). Captions print it.
    c.choices = "validation"
    # Ours: of products of float32 numbers, highest | tf32 (an accelerator's 10 bits of
    # mantissa); gen.dtype and critic.dtype say in which type a network computes.
    c.matmul_precision = "highest"
    c.platform = ""  # ours: cpu | gpu | tpu, and no other is taken; "" takes any
    c.deterministic = False  # ours: on a GPU the same bits at every call, and slower
    numbers = STUDIES["group"].numbers  # paper: 110 train, 30 test; ours: 16 val
    c.study = dict(  # the fixed cases; their ranges stand in fluoro_jax/studies
        name="group",
        seed=2020,  # ours
        num_train=numbers["train"],
        num_val=numbers["val"],
        num_test=numbers["test"],
        rows=pixels,
        cols=pixels,
        detector_mm=480.0,  # ours: height of the panel, 320 mm at the isocentre
        gantry_deg=0.0,  # ours
        collimate=False,  # ours: the panel's middle follows each set's tumour
        voxel_mm=voxel_mm,
        photons=0.0,  # ours: unattenuated quanta a pixel; 0 = no noise
        num_frames=10,  # paper
        frame_s=0.5,  # paper
    )
    c.data = dict(
        source="dataset",  # paper; ours: "simulator", fresh tumours on a pool of bodies
        # Ours, simulator: bodies of the pool, phantom | ct | mixed (every other one a
        # CT), and the folder of chest CTs, all of it for training (docs/ct.md).
        bodies="phantom",
        ct_dir="",
        # Ours, one patient's tracker: IEC angles of its views, as "0,90", in place of
        # study.gantry_deg; "" is that angle alone.
        angles_deg="",
        batch_size=4,  # ours: over all devices and processes
        # Paper: each frame with its two neighbours. Ours: those of the first and last,
        # wrap | edge | causal; "single" shows every frame alone, three times; "moving"
        # adds what differs from the clip's mean frame, "moving_past" to "causal" what
        # differs from the mean so far.
        stack="wrap",
        pool_bodies=16,  # ours, simulator: bodies in memory
        renew_every=50,  # ours, simulator: micro-batches between two new bodies
        random_start=False,  # ours, simulator: start the cycle at a random phase
        smallest_mm=20.0,  # paper, its training population: diameters from 20 mm
        largest_mm=40.0,  # paper: to 40 mm; both are read by the simulator alone
        even_in="diameter",  # ours, simulator: or "log_diameter", more small ones
        # Ours, simulator: share of tumours nearest the midline, over heart and spine.
        midline_share=0.0,
        # Ours, simulator, studies of sets: tumours lie up to so far from their place,
        # superior-inferiorly; a quarter as far otherwise.
        displaced_mm=0.0,
        # Ours, simulator: clutter, texture, warp, mirror and exposure drawn for every
        # clip (data/appearance.py), joined by +; "" is the phantom as it is.
        randomise="",
    )
    c.gen = dict(  # Generator(**cfg.gen)
        levels=levels,  # paper at "full": 7
        base=base,  # ours: channels of level 0; level i has min(base 2^i, cap)
        cap=cap,  # ours
        kernel=4,  # ours
        refine_levels=refine_levels,  # paper at "full": 5
        refine_kernel=2,  # paper: half of the coarse net's
        lstm_kernel=3,  # ours
        bidirectional=True,  # paper; False: forward in time only
        lstm="all",  # paper: all skips (ours: and the bottom) | bottom | none
        resample="stride",  # paper; ours: "pool", max pooling down, bilinear up
        group_size=4,  # ours: norm of each frame; an empty mask otherwise attracts
        remat=False,  # ours: recompute in the backward pass, to save memory
        dtype="float32",  # ours: of the computation; parameters stay float32
        input_mean=3.0,  # ours: fixed input scaling, line integrals [1]
        input_scale=2.0,  # ours
        patch=1,  # ours: pixels a side of the cells that the networks see; 1 = none
        stem=0,  # ours: channels of a cell behind the dense stem
        background_px=0.0,  # ours: sigma of a Gaussian mean taken off; 0 = none
    )
    c.critic = dict(  # Critic(**cfg.critic)
        levels=critic_levels,  # paper: fewer than the generator; ours: how many
        base=base,  # ours
        cap=cap,  # ours
        kernel=4,  # ours
        lstm_kernel=3,  # ours
        output="sigmoid",  # paper; ours: "linear", as in WGAN-GP
        group_size=4,  # ours
        dtype="float32",  # ours
    )
    c.gen_opt = dict(  # paper: Adam; every value is ours
        learning_rate=1e-3,  # ours
        b1=0.9,  # ours
        b2=0.999,  # ours
        schedule="cosine",  # ours: to 0 at the last update; or "constant"
        warmup_steps=50,  # ours: updates in which the rate rises from 0
        clip_norm=1.0,  # ours: gradients are clipped to this global norm
    )
    c.critic_opt = dict(  # paper: Adam; every value is ours
        learning_rate=1e-4,  # ours
        b1=0.5,  # ours
        b2=0.9,  # ours
        schedule="cosine",  # ours; counted from step 0, also with a later critic_start
        warmup_steps=0,  # ours
        clip_norm=1.0,  # ours
    )
    c.init = dict(  # fine-tuning
        parent="",  # name of the run whose networks it starts from; "" = fresh ones
        frozen="nothing",  # paper: bottom (ours: which layers) | ends | all_but_last
    )
    c.loss = dict(
        # Paper, eq. 5 and 9; ours is the reading: L_GAN + 100 L_1 + L_ssim + L_iou.
        l1=100.0,
        ssim=1.0,
        iou=1.0,
        log_iou=0.0,  # ours: -ln(IoU), in the warm-up too; missed tumours count more
        coarse=0.0,  # ours: the same terms on the coarse net's own answer
        adversarial=1.0,  # paper
        cross_entropy=0.0,  # ours: foreground-weighted, after the warm-up too
        foreground_weight=20.0,  # ours: a true pixel weighs 1 + this
        warmup_steps=500,  # ours: cross-entropy, L_iou, log_iou (empty masks attract)
        critic_start=0,  # ours: first step that updates the critic
        adv_start=500,  # ours: first step with the adversarial term
        gp_weight=10.0,  # paper
    )
    c.train = dict(
        num_steps=10_000,  # ours: a step = gen_updates, then critic_updates
        gen_updates=2,  # paper; WGAN-GP has 1:5
        critic_updates=1,  # paper
        accumulate=1,  # ours: micro-batches over which an update averages gradients
        ema_decay=0.999,  # ours: averaged weights are evaluated; 0 takes the last ones
        log_every=20,  # ours, as all that follows
        eval_every=500,
        save_every=500,
        keep=3,  # checkpoints
        max_skipped=20,  # non-finite updates before the run stops
        collapse_after=400,  # stop if mean p on truth is under 0.01 from here on
    )
    c.evaluation = dict(
        bootstrap=10_000,  # ours: resamples of an interval
        threshold=0.5,  # ours: masks are cut at this probability
        # Paper: the mask. Ours: "component", one a frame, the most probable one or, in
        # a window, those on the most probable path (tracking/path.py); "followed", the
        # one that a motion model follows.
        answer="mask",
        # Ours, where the network reads cells and a whole window answers at once: the
        # answer is the mean of four, to the frames as they are and moved by half a cell
        # down, right, and both.
        half_cells=False,
        # Ours: "frame", each its own; "clip", one for all frames of a window that
        # answers at once, the mean of theirs (tracking/window_answer.py).
        outline="frame",
        # Ours: a tracker that is shown frame 0 corrects its places in later frames by
        # this share of its offset there (tracking/anchored.py).
        offset_share=1.0,
        stream_lookahead=5,  # ours: frames of delay on clips longer than one cycle
    )
    if scale == "gpu":
        _use_gpu(c)
    return c


def _use_gpu(c: Config) -> None:
    """Computes in bfloat16, on a GPU alone, in batches for its 80 GB; all ours.

    On an H200 a generator update of 32 clips of 256 x 256 needs 12.2 GiB
    (docs/performance.md). So many clips are drawn from more patients, which are renewed
    after fewer batches.
    """
    c.platform = "gpu"
    c.gen.dtype = c.critic.dtype = "bfloat16"
    c.data.update(batch_size=64, pool_bodies=64, renew_every=10)


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
