"""Lightning Fabric, met in this module: one device or many, one machine or many."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from aam_edge.errors import UsageError
from aam_edge.training.run.settings import DevicesConfig

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
LEAST_SHARDED = 1_000_000
"""Numbers in a block of the body from which on it is dealt out by itself."""


class Processes:
    """The processes of a run and what they do together."""

    def __init__(self, devices: DevicesConfig):
        """UsageError where the machine has not what is asked for."""
        has_gpu = torch.cuda.is_available()
        if devices.accelerator == "gpu" and not has_gpu:
            todo = "set devices.accelerator=cpu, or see that torch finds CUDA"
            raise UsageError("no GPU is found", "devices.accelerator=gpu", todo)
        on_gpu = has_gpu and devices.accelerator != "cpu"
        count: Any = devices.devices or ("auto" if on_gpu else os.cpu_count() or 1)
        if on_gpu and isinstance(count, int) and count > torch.cuda.device_count():
            value = f"devices.devices={count}, there are {torch.cuda.device_count()}"
            raise UsageError("too few GPUs", value, "give fewer")
        is_half = devices.precision == "bf16" or (devices.precision == "auto" and on_gpu)
        self.is_sharded = devices.strategy == "fsdp"
        self.fabric = Fabric(
            accelerator="cuda" if on_gpu else "cpu",
            devices=count,
            num_nodes=devices.nodes,
            strategy=_strategy(devices, count),
            precision="bf16-mixed" if is_half else "32-true",
        )
        self.fabric.launch()

    @property
    def rank(self) -> int:
        """Of this process, over all machines."""
        return int(self.fabric.global_rank)

    @property
    def count(self) -> int:
        """Of processes."""
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.fabric.device

    def mean(self, numbers: Tensor) -> Tensor:
        """Over all processes."""
        if self.count == 1:
            return numbers
        reduced = self.fabric.all_reduce(numbers, reduce_op="mean")
        assert isinstance(reduced, Tensor)
        return reduced

    def gathered(self, own: list[Any]) -> list[Any]:
        """What all processes have, in the order of their ranks."""
        if self.count == 1:
            return own
        parts: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(parts, own)
        return [one for part in parts for one in part]

    def even_gradients(self, module: nn.Module) -> None:
        """Means over the processes, of what is not dealt out; DDP and FSDP see to theirs."""
        if not self.is_sharded or self.count == 1:
            return
        whole = [p for p in module.parameters() if p.requires_grad and not is_dealt_out(p)]
        has = torch.tensor([float(p.grad is not None) for p in whole], device=self.device)
        for parameter, is_learned in zip(whole, (self.mean(has) > 0).tolist(), strict=True):
            if is_learned:
                own = parameter.grad
                own = torch.zeros_like(parameter) if own is None else own
                parameter.grad = self.mean(own)

    def clip_gradients(self, module: nn.Module, most: float) -> None:
        """Scales all gradients so that their norm is `most` at most."""
        if not self.is_sharded:
            torch.nn.utils.clip_grad_norm_(module.parameters(), most)
            return
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        norms = [torch.linalg.vector_norm(grad) for grad in grads]
        norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
        part = (most / (torch.stack(norms).norm() + 1e-6)).clamp_max(1.0)
        for grad in grads:
            grad.mul_(float(part))

    def network_state(self, module: nn.Module) -> dict[str, Tensor]:
        """The whole state dict of a module that was set up, on the CPU."""
        if self.is_sharded:
            # Without cpu_offload, so that all processes have it.
            options = StateDictOptions(full_state_dict=True)
            state: dict[str, Any] = dict(get_model_state_dict(bare(module), options=options))
        else:
            state = bare(module).state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def load_network(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        """The way back."""
        inner = bare(module)
        if self.is_sharded:
            set_model_state_dict(inner, dict(state), options=WHOLE)
        else:
            inner.load_state_dict(state)

    def optimiser_state(
        self, module: nn.Module, optimiser: torch.optim.Optimizer
    ) -> dict[str, Any]:
        """The whole state dict."""
        if self.is_sharded:
            return dict(get_optimizer_state_dict(bare(module), _inner(optimiser), options=WHOLE))
        return optimiser.state_dict()

    def load_optimiser(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]
    ) -> None:
        """The way back."""
        if self.is_sharded:
            set_optimizer_state_dict(bare(module), _inner(optimiser), state, options=WHOLE)
        else:
            optimiser.load_state_dict(state)


def bare(module: Any) -> nn.Module:
    """The module below the wrappers of Fabric and of DDP."""
    inner = module.module
    assert isinstance(inner, nn.Module)
    return inner


def _inner(optimiser: Any) -> torch.optim.Optimizer:
    """The optimiser below Fabric's wrapper."""
    inner = optimiser.optimizer
    assert isinstance(inner, torch.optim.Optimizer)
    return inner


def _strategy(devices: DevicesConfig, count: int | str) -> str | Strategy:
    if devices.strategy == "fsdp":
        number = count if isinstance(count, int) else torch.cuda.device_count()
        return ModelParallelStrategy(
            parallelize_fn=_dealt_out,
            data_parallel_size=number * devices.nodes,
            tensor_parallel_size=1,
        )
    is_many = devices.nodes > 1 or count != 1 or "TORCHELASTIC_RUN_ID" in os.environ
    if devices.strategy == "ddp" or is_many:
        # Hearing learns from clips with sound alone, the body is held at times.
        return DDPStrategy(find_unused_parameters=True)
    return "auto"


def is_dealt_out(tensor: Tensor) -> bool:
    """Each process has a part of it."""
    return isinstance(tensor, DTensor)


def _dealt_out(module: nn.Module, mesh: Any) -> nn.Module:
    """Deals the body's weights out, blocks of a transformer apart.

    Decoder and hearing are small, and FSDP takes no single numbers: they stay whole everywhere.
    """
    from torch.distributed.fsdp import fully_shard

    along, body = mesh["data_parallel"], module.get_submodule("network.body")
    for part in body.modules():
        numbers = sum(p.numel() for p in part.parameters())
        if type(part).__name__.endswith("Block") and numbers >= LEAST_SHARDED:
            fully_shard(part, mesh=along)
    fully_shard(body, mesh=along)
    return module
