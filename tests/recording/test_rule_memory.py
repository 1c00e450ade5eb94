"""What a rule holds while it clips, and from one step to the next: as many copies of the gradients as it promises."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradlens import clipping
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.micro_batch_clip import MicroBatchClip
from gradlens.recording.norms import tensor_norms

CPU = torch.device("cpu")
TENSORS, ROWS, COLUMNS = 12, 40, 5000
COPY = TENSORS * ROWS * COLUMNS * 4
NUMBERS = 0.04
"""What numbers for each parameter and unit, and Python's own objects, may come to, in copies of the gradients."""
ONE_TENSOR = 1 / TENSORS

RULES = [
    (clipping.fixed(1e-3), 0.0),
    (clipping.autoclip(10), 0.0),
    (clipping.autoclip(10, window=100), 0.0),
    (clipping.per_parameter(clipping.autoclip(10)), 0.0),
    (clipping.per_group(clipping.fixed(1e-3), {"some": "w1*"}), 0.0),
    (clipping.value(1e-3), 0.0),
    (clipping.normalize(), 0.0),
    (clipping.agc(1e-3), 0.0),
    (clipping.zclip(), 0.0),
    (clipping.adagc(warmup=1), 0.0),
    (clipping.soft(0.1), 0.0),
    (clipping.rescale(0.1, 1.0), 0.0),
    (clipping.chain(clipping.value(1e-3), clipping.fixed(0.1)), 0.0),
    (clipping.match_step(clipping.per_parameter(clipping.fixed(1e-3))), 0.0),
    (clipping.match_step(clipping.agc(1e-3)), 1.0),
]
"""Rules, and how many copies of the gradients they take meanwhile."""


class Storages(TorchDispatchMode):
    """Follows the memory of every tensor that is made, from operation to operation."""

    def __init__(self) -> None:
        super().__init__()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    @property
    def now(self) -> int:
        self._live = {key: each for key, each in self._live.items() if not each[0].expired()}
        return sum(size for _, size in self._live.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        before = {StorageWeakRef(t.untyped_storage()).cdata for t in tree_leaves(args) if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())
                if reference.cdata not in before:  # neither a view nor written in place
                    self._live[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        self.most = max(self.most, self.now)
        return result


@dataclass
class Held:
    """Bytes beyond those at the start, as copies of the gradients: the most at any time, and at the end."""

    most: float = 0.0
    at_end: float = 0.0


@contextmanager
def held() -> Iterator[Held]:
    """Watches the memory of tensors that are made inside, and what Python and NumPy take."""
    found = Held()
    tracemalloc.start()
    with Storages() as storages:
        yield found
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found.most, found.at_end = (storages.most + most) / COPY, (storages.now + now) / COPY


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.randn(ROWS, COLUMNS, generator=generator)) for _ in range(TENSORS)]
    for parameter in made:
        parameter.grad = torch.randn(ROWS, COLUMNS, generator=generator)
    return made


@pytest.mark.parametrize(("rule", "copies"), RULES, ids=str)
def test_a_rule_between_backward_and_update_holds_what_it_promises(rule: clipping.ClipRule, copies: float) -> None:
    own = parameters()
    clipper = Clipper(rule, [f"w{index}" for index in range(TENSORS)], CPU)

    def clip() -> None:
        clipper.clip(own, tensor_norms([p.grad for p in own if p.grad is not None], CPU), lr=0.1)

    clip()  # what is made once, such as the state, is made
    with held() as found:
        for _ in range(3):
            clip()
    assert copies - NUMBERS <= found.most <= copies + NUMBERS
    assert found.at_end <= NUMBERS


@pytest.mark.parametrize(
    ("rule", "plain", "copies"),
    [
        (clipping.micro_batch(), False, 1),
        (clipping.per_sample(1e-3), False, 1),
        (clipping.match_step(clipping.micro_batch()), False, 2),
        (clipping.micro_batch(), True, 2),
    ],
    ids=str,
)
def test_micro_batches_are_clipped_with_one_copy_and_the_promised_others(
    rule: clipping.ClipRule, plain: bool, copies: float
) -> None:
    own = parameters()
    gradients = [parameter.grad.clone() for parameter in own if parameter.grad is not None]
    clip = MicroBatchClip(rule, own, CPU)

    def step(micro_batches: int) -> None:
        for _ in range(micro_batches):
            clip.loss_begins()
            clip.pass_begins()
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient.clone()  # what backward does; not the clip's
            clip.pass_ended(torch.tensor(1.0), (), plain=plain)
        clip.forget()

    with held() as found:
        step(5)
    of_backward = 1.0  # the gradient itself, made inside
    own_gradient = 1.0 if plain else 0.0  # handed to the probe, which asked for it
    assert copies - NUMBERS <= found.most - of_backward - own_gradient <= copies + ONE_TENSOR + NUMBERS
    assert found.at_end <= of_backward + NUMBERS
