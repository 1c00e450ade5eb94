"""What the recorder refuses at once, in whole sentences."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.schedules import Schedule
from gradlens.schema import is_own


def check_optimizers(optimizer: object) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers of a training.

    Args:
        optimizer: one, or several in a sequence or as the values of a mapping.

    Raises:
        TypeError: if it is none.
        ValueError: if there is none, or two step the same parameter.
    """
    several = optimizer.values() if isinstance(optimizer, Mapping) else optimizer
    if isinstance(optimizer, torch.optim.Optimizer) or not isinstance(several, Iterable):
        several = [optimizer]
    found = []
    for each in several:
        if not isinstance(each, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer, or several in a list; got {type(each).__name__}. "
                "The order is Recorder(model, optimizer, root)."
            )
        found.append(each)
    if not found:
        raise ValueError("optimizer takes one torch.optim.Optimizer or more; got an empty list.")
    stepped = [id(p) for each in found for group in each.param_groups for p in group["params"]]
    if len(set(stepped)) < len(stepped):
        raise ValueError("two optimizers step the same parameter; give each of those a recorder of its own.")
    return tuple(found)


def check_model(model: object, optimizers: Sequence[torch.optim.Optimizer]) -> nn.Module:
    """The model of a training, several as one.

    Args:
        model: a module, or a mapping of names to modules.
        optimizers: those that train it.

    Raises:
        TypeError: if it is none.
        ValueError: if the optimizers step none of its parameters.
    """
    if isinstance(model, Mapping) and model and all(isinstance(each, nn.Module) for each in model.values()):
        model = nn.ModuleDict({str(name).replace(".", "_"): each for name, each in model.items()})
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, or a mapping of names to several; got {type(model).__name__}."
        )
    owned = {id(parameter) for parameter in model.parameters()}
    stepped = (p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])
    if owned and owned.isdisjoint(map(id, stepped)):
        raise ValueError("the optimizer holds none of this model's parameters; give the model that it trains.")
    return model


def check_arguments(
    optimizers: Sequence[torch.optim.Optimizer],
    name: str | None,
    clip: ClipRule | None,
    schedules: Mapping[str, Schedule],
    config: Mapping[str, Any] | None,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Refuse what cannot be recorded.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a combination that cannot work.
    """
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(f"scaler must be a torch.amp.GradScaler, or None; got {type(scaler).__name__}.")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be text; got {type(name).__name__}.")
    if clip is not None and not isinstance(clip, ClipRule):
        raise TypeError(
            f"clip must be a rule such as gradlens.clipping.autoclip(percentile=10), or None; got {clip!r}."
        )
    if clip is not None and any(isinstance(optimizer, torch.optim.LBFGS) for optimizer in optimizers):
        raise ValueError(
            "LBFGS evaluates its closure several times in a step; a clip inside its line search is not defined. "
            "Use clip=None to observe."
        )
    for schedule_name, schedule in schedules.items():
        if not callable(schedule):
            raise TypeError(f"{schedule_name} must be a schedule such as gradlens.every(10); got {schedule!r}.")
        schedule(0)
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping such as a dict; got {type(config).__name__}.")


def check_storage(root: str | os.PathLike[str], resume: str | os.PathLike[str] | None, max_bytes: int | None) -> None:
    """Refuse a folder or a limit of the wrong kind.

    Raises:
        TypeError: if ``root`` or ``resume`` is no path.
        OSError: if ``root`` is a file.
        ValueError: if ``max_bytes`` is no positive whole number.
    """
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(f'root takes the folder that the run folder is made in, such as "runs"; got {root!r}.')
    if Path(root).is_file():
        raise NotADirectoryError(f"root takes the folder that the run folder is made in; {root} is a file.")
    if resume is not None and not isinstance(resume, (str, os.PathLike)):
        raise TypeError(f"resume takes a run folder, such as recorder.path was; got {resume!r}.")
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1):
        raise ValueError(f"max_bytes takes a positive whole number of bytes, or None; got {max_bytes!r}.")


def check_state(state: Mapping[str, Any]) -> tuple[str | None, int, int, Mapping[str, Any] | None]:
    """The parts of a checkpointed state: run, step, samples and the clip rule's.

    Raises:
        ValueError: if it is none.
    """
    try:
        version, run, step, samples, clip = (state[key] for key in ("version", "run", "step", "samples", "clip"))
    except (KeyError, TypeError):
        raise ValueError("expected what recorder.state_dict() gave; got something else.") from None
    if version != 1:
        raise ValueError(
            f"expected a recorder's state of version 1, got {version!r}; a newer gradlens wrote it: update."
        )
    if run is not None and (not isinstance(run, str) or run in ("", ".", "..") or "/" in run or os.sep in run):
        raise ValueError(f"expected the id of a run in the recorder's state; got {run!r}.")
    if clip is not None and not (isinstance(clip, Mapping) and {"rule", "state"} <= clip.keys()):
        raise ValueError("expected the clip rule of the recorder's state; got something else.")
    return run, int(step), int(samples), clip


def check_domain(domain: str | None) -> None:
    """Refuse a domain that the table of micro-batches cannot hold.

    Raises:
        TypeError: if it is no text.
        ValueError: if it is longer than 255 bytes, or cannot be written down.
    """
    if domain is None:
        return
    if not isinstance(domain, str):
        raise TypeError(f'domain takes text, such as domain="web", or None; got {domain!r}.')
    if not domain.isprintable() or len(domain.encode(errors="replace")) > 255:
        raise ValueError(f"domain takes printable text of at most 255 bytes; got {domain[:60]!r}.")


def check_logged(scalars: Mapping[str, Any]) -> None:
    """Refuse what ``recorder.log`` cannot store.

    Raises:
        TypeError: for a value that is not a number or a one-element tensor.
        ValueError: for a name that gradlens fills itself.
    """
    for name, value in scalars.items():
        if not name.isprintable() or not name:
            raise ValueError(f"a logged name must be printable text; got {name!r}.")
        if is_own(name):
            raise ValueError(f"{name!r} is a column that gradlens fills itself; log your number under another name.")
        if isinstance(value, Tensor):
            if value.numel() != 1 or value.is_complex():
                raise TypeError(
                    f"log({name}=...) takes a number or a tensor with one element; got {tuple(value.shape)}."
                )
            continue
        try:
            float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"log({name}=...) takes a number or a tensor with one element; got {value!r}.") from error
