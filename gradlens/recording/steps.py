"""What happens at each moment of a training's step: measure, clip, keep the row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradlens.recording.apply_clip import Clipper
from gradlens.recording.backward_end import BackwardEnd
from gradlens.recording.curvature import inside_backward
from gradlens.recording.eager import not_compiled
from gradlens.recording.full_gradient import batch_size
from gradlens.recording.ledger import Ledger
from gradlens.recording.micro_batch_clip import MicroBatchClip
from gradlens.recording.probes import Probes
from gradlens.recording.replayed_loss import replaying
from gradlens.recording.step_hooks import StepHooks
from gradlens.recording.step_row import Evaluated, StepRow, kept


class Steps:
    """The moments of a step, in the order in which a training comes to them.

    ::

        loss_begins  loss_ends  backward_ended  [ before_update  update  after_update ]  over

    Whatever fails in measuring is counted and does not reach the training; a clip that fails does.

    Args:
        probes: measure.
        clipper: clips, if anything does.
        ledger: keeps the rows; None if nothing is recorded.
        micro_clip: clips micro-batches, if anything does.
        regroup: makes other probes and another clipper where an optimizer has got other parameters.

    Attributes:
        step: index of the step under way, or to come.
        samples: training samples seen so far.
        hooks: on the optimizers; None while detached.
        probes: see above.
        ledger: see above.
        clipper: see above.
        micro_clip: see above.
    """

    def __init__(
        self,
        probes: Probes,
        clipper: Clipper | None,
        micro_clip: MicroBatchClip | None,
        ledger: Ledger | None,
        regroup: Callable[[], tuple[Probes, Clipper | None, MicroBatchClip | None]],
    ) -> None:
        self.step = 0
        self.samples = 0
        self.hooks: StepHooks | None = None
        self.probes, self.clipper, self.micro_clip, self.ledger = probes, clipper, micro_clip, ledger
        self._regroup = regroup
        self._backward = BackwardEnd(self.backward_begins, self.backward_ended)

    def row(self) -> StepRow | None:
        """The row of the step under way; None if nothing is recorded."""
        return None if self.ledger is None or self.hooks is None else self.ledger.open(self.step)

    def loss_begins(self, call: Callable[[], Any], of: int) -> StepRow | None:
        """Before a loss is evaluated; returns the row that it belongs to, if any."""
        if replaying() or (self.hooks is not None and self.hooks.evaluating and self._begun):
            return None  # a probe's evaluation, or a line search's: the step's own loss is noted already
        if self.micro_clip is not None and self.hooks is not None:  # not guarded, as every clip
            self.micro_clip.loss_begins()
        row = None
        with self._guard():
            under_way = None if self.ledger is None else self.ledger.row
            if under_way is not None and under_way.passes and not under_way.begun and self.probes.gradients_gone:
                if not under_way.ended:
                    self.over()  # zero_grad came without a step
            elif self.hooks is not None:
                self.hooks.end()
            if self._begun:
                self._drop()
            row = self.row()
            if row is not None:
                row.of = of
                self.probes.loss_begins(row, call, of)
        return row

    @property
    def _begun(self) -> bool:
        """Whether an optimizer has begun this step, and none has ended it."""
        row = None if self.ledger is None else self.ledger.row
        return row is not None and row.begun and not row.ended

    def _drop(self) -> None:
        """The step failed: what is known of it is not of the one that follows."""
        if self.ledger is not None:
            self.ledger.row = None
            self.probes.forget_step()
        if self.micro_clip is not None:
            self.micro_clip.forget()

    def loss_ends(self, row: StepRow | None, loss: Tensor, inputs: Sequence[Any], domain: str | None = None) -> None:
        """It is evaluated, and its backward pass is to come."""
        if replaying():
            return
        with self._guard():
            size = batch_size(inputs)
            noted = Evaluated(0.0) if row is None else row.add_loss(loss, size, domain)
            if row is not None or (self.micro_clip is not None and self.hooks is not None):
                self._backward.watch(loss, noted)
            if row is None and self.ledger is not None:
                return
            # A checkpoint of a training that is not recorded counts all the same.
            self.samples += size or 0
            if row is not None and size is not None:
                row.scalars["samples"] = self.samples

    @property
    def _waits(self) -> bool:
        """Whether a backward pass is of the step under way: no optimizer has begun it."""
        row = None if self.ledger is None else self.ledger.row
        return self.hooks is not None and not (row is not None and (row.begun or row.ended))

    @not_compiled
    def backward_begins(self) -> None:
        """A backward pass has come to a loss of the step."""
        if self.micro_clip is not None and self._waits:
            self.micro_clip.pass_begins()

    @not_compiled
    def backward_ended(self, seed: Tensor, notes: list[Evaluated]) -> None:
        """At the end of a backward pass through losses of the step."""
        row = None if self.ledger is None else self.ledger.row
        waits, own = self._waits, None
        with torch.no_grad():
            if self.micro_clip is not None and waits:  # not guarded, as every clip
                plain = row is not None and self.probes.plain_due(row.step)
                own = self.micro_clip.pass_ended(seed, notes, plain=plain)
            if row is not None and waits:
                with self._guard():
                    self.probes.backward_ended(row, seed, notes, self.micro_clip, own)

    @not_compiled
    def user_clips(self, parameters: Sequence[Tensor], max_norm: float, norm_type: float) -> None:
        """Before a clip of the training's own."""
        with self._guard(), torch.no_grad():
            own = {id(parameter) for parameter in self.probes.parameters}
            clipped = {id(parameter) for parameter in parameters}
            row = None if own.isdisjoint(clipped) else self.row()
            if row is not None and not row.begun:  # a line search clips again and again
                self.probes.before_user_clip(row)
                row.declared.append(max_norm if own <= clipped and norm_type == 2 else None)

    @torch.no_grad()
    def before_update(self, which: int, *, first: bool) -> None:
        """Between the gradient and an optimizer's update."""
        if first and self.probes.outgrown:
            self._outgrown()
        if self.clipper is not None and first:
            self.probes.scales.unscale_others(which)
        if self.micro_clip is not None and first:
            self._check_micro_batches(self.micro_clip)
        norms = None
        with self._guard():
            if first and self._begun:
                self._drop()
            row = self.row()
            if row is not None and self.ledger is not None:
                row.scalars["time"] = time.time()
                self.probes.told(doubtful=self.ledger.doubtful)
                norms = self.probes.before_update(row, which, self.ledger.waiting, self.micro_clip, first=first)
                if first:
                    self.ledger.let_go()
        if self.clipper is not None and first:
            self._clip(self.clipper, norms, which)

    def _outgrown(self) -> None:
        """The optimizers have other parameters: measure and clip those, recorded or not."""
        with self._guard():
            if self.ledger is not None:
                self.ledger.drain(self.step, everything=True)
        self.probes, self.clipper, self.micro_clip = self._regroup()

    def _check_micro_batches(self, clip: MicroBatchClip) -> None:
        """A clip that would silently not be applied is refused."""
        clip.put_back()
        if inside_backward():
            raise RuntimeError(
                "this training steps inside backward, before a micro-batch's gradient is there as a whole; use "
                "clip=None to observe."
            )
        if not clip.active and not self.probes.gradients_gone:
            raise RuntimeError(
                "a rule on micro-batches tells them apart by recorder.loss, which this step did not go through; "
                "compute each micro-batch's loss by recorder.loss(compute, x, y, of=K)."
            )

    def _clip(self, clipper: Clipper, norms: Tensor | None, which: int) -> None:
        """Not guarded: a clip that fails is a failure of the training, not of its recording."""
        if inside_backward():
            raise RuntimeError(
                "this training steps inside backward, where the whole gradient is never there at once, so that no clip "
                "can be applied; use clip=None to observe."
            )
        begin = time.perf_counter()
        scale = self.probes.scales.of(which)
        norms = self.probes.gradient_norms(which) if norms is None else norms
        done = clipper.clip(self.probes.parameters, norms, self.probes.learning_rate, scale=scale)
        row = None if self.ledger is None else self.ledger.row
        if row is not None:
            row.scalars.update(done)
            row.overhead += time.perf_counter() - begin

    @torch.no_grad()
    def after_update(self, which: int) -> None:
        """An optimizer has stepped."""
        with self._guard():
            if self.ledger is not None and self.ledger.row is not None:
                self.probes.after_update(self.ledger.row, which)

    @torch.no_grad()
    def left_out(self, which: int) -> None:  # noqa: ARG002 - which of them does not matter
        """The scaler has left an optimizer's step out."""
        with self._guard():
            self.row()

    @torch.no_grad()
    def over(self) -> None:
        """Every optimizer has had its turn."""
        row = None if self.ledger is None else self.ledger.row
        self.step += 1
        if row is not None:
            row.ended = True
            row.note_losses()
            row.scalars.setdefault("time", time.time())
            with self._guard():
                clipped = self.micro_clip is not None and self.micro_clip.active
                self.probes.over(row, self.micro_clip if clipped else None)
        if self.micro_clip is not None:
            self.micro_clip.forget()

    def log(self, scalars: Mapping[str, float | Tensor]) -> None:
        """Add the user's numbers to the row of the step under way; after it, to that of the step just taken."""
        with self._guard():
            row = None if self.ledger is None or self.hooks is None else self.ledger.row or self.row()
            if row is not None:
                row.scalars.update({name: kept(value) for name, value in scalars.items()})

    def finish(self) -> None:
        """Send off what there is, and wait for it."""
        with self._guard():
            if self.hooks is not None:
                self.hooks.end()
            if self.ledger is not None:
                self.ledger.end()
                self.ledger.drain(self.step, everything=True)
            self.probes.release()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Time what is inside, and let no exception of the recording reach the training."""
        begin = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.probes.skip("a measurement", self.step, error)
        row = None if self.ledger is None else self.ledger.row
        if row is not None:
            row.overhead += time.perf_counter() - begin
