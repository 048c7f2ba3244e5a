"""AdamW over named parameters, and its state as plain tensors."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def adamw(
    module: nn.Module,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    lr_of: Callable[[str], float] | None = None,
) -> torch.optim.AdamW:
    """AdamW whose decay spares vectors (norms, biases). `lr_of(name)` gives a parameter its own learning rate.

    Each group keeps its learning rate at full height as `base_lr`; the loop multiplies it by the schedule.
    """
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((lr_of(name) if lr_of else lr, decay), []).append((name, parameter))
    return torch.optim.AdamW(
        [{"params": named, "lr": rate, "base_lr": rate, "weight_decay": d} for (rate, d), named in groups.items()],
        betas=betas,
        eps=eps,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def to_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`optimizer.<moment>.<parameter name>` -> tensor, for safetensors."""
    return {
        f"optimizer.{moment}.{name}": optimizer.state[parameter][moment]
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def from_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `to_tensors` gave."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            if f"optimizer.step.{name}" not in tensors:
                continue
            state = {moment: tensors[f"optimizer.{moment}.{name}"] for moment in MOMENTS}
            optimizer.state[parameter] = {
                "step": state["step"],
                "exp_avg": state["exp_avg"].to(parameter.device),
                "exp_avg_sq": state["exp_avg_sq"].to(parameter.device),
            }
