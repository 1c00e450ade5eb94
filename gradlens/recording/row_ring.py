"""From the device to the host without waiting: each step's numbers travel as one packed vector."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.recording.norms import wide

SLOTS = 64


@dataclass(frozen=True, slots=True)
class HostRow:
    """One step's numbers on the host.

    Attributes:
        scalars: name -> number or text.
        tensors: kind -> (parameters,) float64.
    """

    scalars: dict[Any, Any]
    tensors: dict[str, NDArray[np.float64]]


@dataclass(slots=True)
class _Pending:
    scalars: dict[Any, Any]
    names: list[Any]
    kinds: list[tuple[str, int]]
    packed: Tensor
    event: Any
    arrays: dict[str, NDArray[np.float64]] | None = None


class RowRing:
    """A queue of steps whose numbers are on their way to the host.

    Pushing packs all tensors of a step into one vector and starts one asynchronous copy to pinned memory; draining
    takes the steps whose copy has finished, in order. Only a full ring waits. On the CPU there is nothing to wait for.

    Args:
        device: where the numbers are.
        slots: how many steps may be on their way.
    """

    def __init__(self, device: torch.device, slots: int = SLOTS) -> None:
        self._device = device
        self._slots = slots
        self._pending: deque[_Pending] = deque()
        self._free: dict[int, list[Tensor]] = {}

    def push(self, scalars: Mapping[Any, Any], tensors: Mapping[str, Tensor]) -> None:
        """Send one step on its way.

        Args:
            scalars: name -> 0-d tensor on the device, or a value that the host has already.
            tensors: kind -> (parameters,) tensor on the device.
        """
        if self._device.type == "cpu":  # nothing to wait for, and nothing to pack
            numbers = {name: float(v) if isinstance(v, Tensor) else v for name, v in scalars.items()}
            arrays = {kind: values.numpy().astype(np.float64) for kind, values in tensors.items()}
            self._pending.append(_Pending(numbers, [], [], torch.empty(0), None, arrays))
            return
        on_device = {name: value for name, value in scalars.items() if isinstance(value, Tensor)}  # see step_row.kept
        parts = [value.detach().reshape(-1) for value in (*on_device.values(), *tensors.values())]
        dtype = wide(self._device)
        packed = torch.cat([part.to(self._device, dtype) for part in parts]) if parts else torch.zeros(0)
        packed, event = self._to_host(packed)
        self._pending.append(
            _Pending(
                scalars={name: value for name, value in scalars.items() if name not in on_device},
                names=list(on_device),
                kinds=[(kind, len(values)) for kind, values in tensors.items()],
                packed=packed,
                event=event,
            )
        )

    def drain(self, *, everything: bool = False) -> Iterator[HostRow]:
        """Yield the steps that have arrived, oldest first.

        Args:
            everything: wait for the rest as well, at the end of a training.
        """
        while self._pending:
            oldest = self._pending[0]
            if oldest.event is not None and not oldest.event.query():
                if not everything and len(self._pending) < self._slots:
                    return
                oldest.event.synchronize()
            self._pending.popleft()
            yield self._unpack(oldest)

    def _to_host(self, packed: Tensor) -> tuple[Tensor, Any]:
        if packed.device.type == "meta":
            return packed, None
        if packed.device.type != "cuda":  # others have no pinned memory to copy into asynchronously
            return packed.cpu(), None
        spare = self._free.setdefault(len(packed), [])
        slot = spare.pop() if spare else torch.empty(len(packed), dtype=packed.dtype, pin_memory=True)
        slot.copy_(packed, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(packed.device))
        return slot, event

    def _unpack(self, row: _Pending) -> HostRow:
        if row.arrays is not None:
            return HostRow(row.scalars, row.arrays)
        numbers = row.packed.numpy().astype(np.float64)  # a copy: the pinned slot is used again
        if row.event is not None:
            self._free[len(row.packed)].append(row.packed)
        scalars = dict(row.scalars)
        scalars.update(zip(row.names, numbers.tolist(), strict=False))
        tensors, start = {}, len(row.names)
        for kind, count in row.kinds:
            tensors[kind] = numbers[start : start + count]
            start += count
        return HostRow(scalars, tensors)
