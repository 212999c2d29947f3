"""Where torch computes: the CPU, or an NVIDIA GPU with its name, capability and CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from aam_edge.errors import ModelError, UsageError

logger = logging.getLogger(__name__)

WARM_UPS = 3
"""Runs before a CUDA graph is recorded, so that libraries have chosen kernels and workspaces."""
HALF_SINCE = (7, 0)
"""Compute capability from which half precision pays; bf16 does from"""
BF16_SINCE = (8, 0)

Work = Callable[[], None]


@dataclass(frozen=True)
class Device:
    """A device that networks run on."""

    torch: torch.device
    name: str
    """As the maker calls it, such as `Orin`; `cpu` for the CPU."""
    capability: tuple[int, int] = (0, 0)
    """CUDA compute capability, (0, 0) for the CPU."""

    @property
    def is_cuda(self) -> bool:
        """Whether it is an NVIDIA GPU."""
        return self.capability != (0, 0)

    @property
    def words(self) -> str:
        """For health and reports."""
        return f"{self.name} ({self.torch})" if self.is_cuda else self.name

    def best_precision(self, half: str) -> str:
        """What `auto` means here for a network whose half precision is `half`."""
        since = BF16_SINCE if half == "bf16" else HALF_SINCE
        return half if self.capability >= since else "f32"

    def recorded(self, work: Work) -> Work:
        """The same work as a CUDA graph; on the CPU the work itself.

        `work` has fixed addresses, no branches on values, and is run a few times here.
        """
        return record_graph(work) if self.torch.type == "cuda" else work

    def wait(self) -> None:
        """Returns when all that was asked of it is done."""
        if self.torch.type == "cuda":
            torch.cuda.synchronize(self.torch)

    def stream(self) -> int:
        """Handle of the CUDA stream that work goes to now; 0 on the CPU."""
        if self.torch.type != "cuda":
            return 0
        return int(torch.cuda.current_stream(self.torch).cuda_stream)

    def free_mb(self) -> str:
        """Words on its free memory, for messages."""
        if self.torch.type != "cuda":
            return self.words
        free, total = torch.cuda.mem_get_info(self.torch)
        return f"{self.words}: {free >> 20} of {total >> 20} MB free"


CPU = Device(torch.device("cpu"), "cpu")


def find_device(asked: str = "auto") -> Device:
    """The device that is asked for; `auto` is the first GPU, or else the CPU.

    Raises:
        UsageError: no such name.
        ModelError: there is no such GPU.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return CPU
    kind, _, number = ("cuda" if asked == "auto" else asked).partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise UsageError("unknown device", asked, "give auto, cpu, cuda or cuda:1")
    if not torch.cuda.is_available():
        value = f"{asked}, torch {torch.__version__}"
        todo = "install torch with CUDA and the driver (docs/gpu.md), or set model.device=cpu"
        raise ModelError("torch sees no CUDA device", value, todo)
    index, count = int(number or 0), torch.cuda.device_count()
    if index >= count:
        raise ModelError("no such GPU", asked, f"give cuda:0 to cuda:{count - 1}")
    return cuda_device(index)


def cuda_device(index: int) -> Device:
    """A GPU, made the current one; single precision there is single, not TF32."""
    torch.cuda.set_device(index)
    torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name(index)
    return Device(torch.device("cuda", index), name, torch.cuda.get_device_capability(index))


def record_graph(work: Work) -> Work:
    """Warms up on a stream of its own, records, and gives what replays.

    What cannot be recorded runs as it is, which is slower and is said: a graph that waits for a
    number or copies from the host, as uncompiled ones may.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            work()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as problem:
        logger.warning("no CUDA graph (%s): slower", str(problem).splitlines()[0])
        return work
    return graph.replay
