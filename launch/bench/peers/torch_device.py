"""Where PyTorch computes: on the kind of device that JAX has, with the same products.

Imported only if a torch peer is asked for: the extra `peers` brings PyTorch. On a CPU
it uses as many threads as XLA does, one a core.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor  # pyright: ignore[reportMissingImports]

from launch.bench.timing import PeerFailed

torch.set_num_threads(len(os.sched_getaffinity(0)))
# As XLA does when it compiles: the fastest of cuDNN's algorithms for each shape.
torch.backends.cudnn.benchmark = True


def device() -> str:
    """Returns "cuda" where JAX computes on an NVIDIA GPU, and "cpu" on a CPU.

    Raises:
        PeerFailed: if PyTorch has no such device.
    """
    backend = jax.default_backend()
    if backend == "cpu":
        return "cpu"
    if backend == "gpu" and torch.cuda.is_available():
        return "cuda"
    raise PeerFailed(f"JAX runs on a {backend}, and PyTorch {torch.__version__} cannot")


def tensor(values: Any) -> Tensor:
    """Returns an array's values on `device`."""
    return torch.tensor(np.asarray(values)).to(device())


def to_numpy(x: Tensor) -> np.ndarray:
    """Returns the values of a tensor, on the host."""
    return x.detach().cpu().numpy()


def waits(run: Callable[[], Any]) -> Callable[[], Any]:
    """Returns `run`, which then waits for the device's answer, as ours does."""
    if device() == "cpu":
        return run

    def waited() -> Any:
        answer = run()
        torch.cuda.synchronize()
        return answer

    return waited


def use_products(matmul_precision: str) -> None:
    """Sets how products and convolutions of float32 numbers are computed.

    cuDNN's convolutions take TF32 unless told otherwise.

    Args:
        matmul_precision: as in a config, "highest" or "tf32".
    """
    fast = matmul_precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast


def autocast(dtype: str) -> Callable[[], contextlib.AbstractContextManager]:
    """Returns a context in which networks compute in "bfloat16", or as they are."""
    if dtype == "bfloat16":
        return lambda: torch.autocast(device(), torch.bfloat16)
    return contextlib.nullcontext
