"""A network as a program of its own: StableHLO by `jax.export`, checked for equality.

A network that reads a whole window becomes one function of the window. A forward-only
network becomes a function of one frame and of its state, which is handed in and out:
zeros before the first frame, then what the call before returned. Neighbouring frames,
the running mean, moves by half a cell and the sigmoid are inside the program.

Source:
    StableHLO, https://openxla.org/stablehlo; serialization and compatibility by
    https://docs.jax.dev/en/latest/export/export.html.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.errors import refuse
from fluoro_jax.tracking.network import forward
from fluoro_jax.tracking.one_frame import Memory, advance, before_first

PLATFORMS = ("cpu", "cuda", "tpu")
MAX_DIFF = 1e-5  # ours: of a probability
MAX_STREAM_DIFF = 1e-4  # ours: of a stream and the whole sequence; 1e-5 was seen
CHECKED = 5  # frames of the comparison, after which the whole state is in use
PROBABILITY = "probability that a pixel is tumour [1]"
FRAMES = "line integrals, -ln(reading / open beam) [1]"


@dataclass(frozen=True)
class Value:
    """An input or output of a program.

    Attributes:
        name: unique among the inputs, or among the outputs.
        shape: its lengths; "batch" for one that the caller chooses.
        dtype: NumPy's name.
        meaning: what it holds, with the unit.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True)
class Program:
    """An exported network.

    Attributes:
        kind: "stream" (one frame and the state a call) or "window" (all frames).
        serialized: for `jax.export.deserialize`; cpu, cuda and tpu; of "window" with a
            batch of any size.
        mlir: StableHLO as text, weights included, batch 1; for other compilers.
        function: what was exported, of positional arrays at batch 1.
        inputs: in the order of the arguments.
        outputs: in the order of the results.
        carried: input by output: this result is that argument of the next call.
        max_abs_difference: largest difference of a probability from the network's own
            answer [1], frame by frame for a stream, over `checked_frames`.
        checked_frames: random line integrals [1]: `CHECKED` frames `[T, H, W]`, or two
            windows `[2, T, H, W]`.
        checked_answers: the network's own probabilities of these, same shape.
    """

    kind: str
    serialized: bytes
    mlir: str
    function: Callable[..., Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    carried: dict[str, str]
    max_abs_difference: float
    checked_frames: np.ndarray
    checked_answers: np.ndarray


def export_network(generator: Any, params: Any, cfg: Any) -> Program:
    """Exports a network and compares the program that is read back with it.

    Args:
        generator: module whose output has `logits` `[B, T, H, W]`.
        params: its parameters; they become constants of the program.
        cfg: the run's config (study, data.stack, evaluation.half_cells).

    Returns:
        The program: "stream" for a forward-only network with a stack of the past,
        "window" for any other.

    Raises:
        UserError: without the package flatbuffers, or if the answers differ by more
            than `MAX_DIFF`.
    """
    _need_flatbuffers()
    forward_only = not generator.bidirectional and cfg.data.stack in PAST_STACKS
    make = _stream if forward_only else _window
    return make(generator, params, cfg)


def _stream(generator: Any, params: Any, cfg: Any) -> Program:
    """One frame a call, fixed shapes."""
    size = (cfg.study.rows, cfg.study.cols)
    memory = before_first(generator, params, cfg.data.stack, size)
    inputs = _inputs(size, memory)
    outputs = (
        Value("probability", size, "float32", PROBABILITY),
        *(Value(f"{v.name}_next", v.shape, v.dtype, v.meaning) for v in inputs[1:]),
    )
    function = jax.jit(_of_arrays(generator, params, cfg.data.stack, memory))
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs]
    exported = jax.export.export(function, platforms=PLATFORMS)(*shapes)
    serialized = bytes(exported.serialize())
    frames = _random_frames(cfg)
    call = jax.jit(jax.export.deserialize(bytearray(serialized)).call)
    found = stream_answers(call, inputs, frames)
    expected = stream_answers(function, inputs, frames)
    # Frame by frame the sums are rounded otherwise than for all frames at once.
    whole = np.asarray(forward(generator, cfg.data.stack, params, frames[None])[0])
    largest_difference(expected, whole, most=MAX_STREAM_DIFF, program="streamed")
    return Program(
        kind="stream",
        serialized=serialized,
        mlir=function.lower(*shapes).as_text(),
        function=function,
        inputs=inputs,
        outputs=outputs,
        carried={f"{v.name}_next": v.name for v in inputs[1:]},
        max_abs_difference=largest_difference(found, expected),
        checked_frames=frames,
        checked_answers=expected,
    )


def _window(generator: Any, params: Any, cfg: Any) -> Program:
    """All frames of a window at once; the batch is open."""
    size = (cfg.study.num_frames, cfg.study.rows, cfg.study.cols)
    # Neighbours wrap in training's whole breaths alone, as in `NetworkTracker`.
    mode = "edge" if cfg.data.stack == "wrap" else cfg.data.stack
    half = cfg.evaluation.half_cells
    ask = functools.partial(forward, generator, mode, params, half_cells=half)
    function = jax.jit(ask)
    (batch,) = jax.export.symbolic_shape("batch")
    open_shape = jax.ShapeDtypeStruct((batch, *size), jnp.float32)
    exported = jax.export.export(function, platforms=PLATFORMS)(open_shape)
    serialized = bytes(exported.serialize())
    frames = np.stack([_random_frames(cfg, seed) for seed in (0, 1)])
    found = jax.export.deserialize(bytearray(serialized)).call(frames)
    expected = np.asarray(ask(frames))
    return Program(
        kind="window",
        serialized=serialized,
        mlir=function.lower(jax.ShapeDtypeStruct((1, *size), jnp.float32)).as_text(),
        function=function,
        inputs=(Value("frames", ("batch", *size), "float32", FRAMES),),
        outputs=(Value("probability", ("batch", *size), "float32", PROBABILITY),),
        carried={},
        max_abs_difference=largest_difference(found, expected),
        checked_frames=frames,
        checked_answers=expected,
    )


def _of_arrays(
    generator: Any, params: Any, mode: str, memory: Memory
) -> Callable[..., tuple[Any, ...]]:
    """`one_frame.advance` with the weights inside and the memory's arrays in a row."""
    tree = jax.tree.structure(memory)

    def advance_arrays(frame, *held):
        held = jax.tree.unflatten(tree, held)
        after, answer = advance(generator, mode, params, held, frame)
        return answer, *jax.tree.leaves(after)

    return advance_arrays


def _inputs(size: tuple[int, int], memory: Memory) -> tuple[Value, ...]:
    """A frame, then the memory, in the order of its leaves."""
    less = "line integrals less their background, where the network subtracts it [1]"
    told = [
        ("seen", memory.seen, "frames before this one; 0 begins a sequence"),
        ("latest", memory.latest, f"the frames before: {less}"),
    ]
    if memory.mean is not None:
        told.append(("mean", memory.mean, f"running mean of {less}"))
    for place, leaf in enumerate(jax.tree.leaves(memory.carry)):
        meaning = "hidden or cell state of a ConvLSTM [1]"
        told.append((f"carry_{place:02d}", leaf, meaning))
    values = [Value(name, x.shape, str(x.dtype), meaning) for name, x, meaning in told]
    return (Value("frame", size, "float32", FRAMES), *values)


def _random_frames(cfg: Any, seed: int = 0) -> np.ndarray:
    """Frames `[T, H, W]` in the range of a chest's line integrals [1]."""
    count = CHECKED if cfg.data.stack in PAST_STACKS else cfg.study.num_frames
    shape = (count, cfg.study.rows, cfg.study.cols)
    return np.random.default_rng(seed).uniform(1.0, 5.0, shape).astype(np.float32)


def stream_answers(
    call: Callable[..., Any], inputs: tuple[Value, ...], frames: np.ndarray
) -> np.ndarray:
    """Returns the probabilities `[T, H, W]` of a "stream" called frame by frame.

    Args:
        call: of positional arrays; its results after the first are the next state.
        inputs: of the program.
        frames: line integrals [1], `[T, H, W]`.
    """
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs[1:]]
    state: Any = [np.zeros(s.shape, s.dtype) for s in shapes]
    answers = []
    for frame in frames:
        answer, *state = call(frame, *state)
        answers.append(np.asarray(answer))
    return np.stack(answers)


def largest_difference(
    found: Any,
    expected: np.ndarray,
    *,
    most: float = MAX_DIFF,
    program: str = "exported",
) -> float:
    """Returns the largest difference of a probability [1].

    Args:
        found: the program's probabilities.
        expected: the network's own, same shape.
        most: the largest difference that is accepted [1].
        program: which program it is, for the message.

    Raises:
        UserError: if the difference is larger than `most`, or NaN.
    """
    off = float(np.abs(np.asarray(found) - expected).max())
    # A NaN compares as false, so it is refused too.
    if not off <= most:
        refuse(
            f"the {program} program's probabilities differ by {off:.2g}",
            f"at most {most:g} from those of the network itself",
            "a program that answers otherwise has none of the measured numbers",
            "export weights that compute in float32 (gen.dtype), or report this with "
            "the output of `fluoro doctor`",
        )
    return off


def _need_flatbuffers() -> None:
    import importlib.util

    if importlib.util.find_spec("flatbuffers") is None:
        refuse(
            "the package flatbuffers is not installed",
            "the extra [export]",
            "jax.export writes its files with it",
            "pip install 'fluoro_jax[export]'",
        )
