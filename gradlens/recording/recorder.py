"""The recorder: hooks on an optimizer's step, one row a step.

::

    recorder.loss -> backward -> optimizer.step: [ norms, snapshot, clip ]   update   [ update norm, smoothness ]
                                                  before the update                    after the update

A row is complete when the next step begins, or at close, so that ``log`` after ``step`` still belongs to it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.arguments import check_arguments, check_logged, check_state, check_storage
from gradlens.recording.backward_end import BackwardEnd
from gradlens.recording.closure import StepArguments, measure_first_evaluation
from gradlens.recording.eager import not_compiled
from gradlens.recording.environment import describe_environment, describe_parameters, plain
from gradlens.recording.full_gradient import batch_size
from gradlens.recording.loss_scaling import ScalerWatch
from gradlens.recording.probes import Probes
from gradlens.recording.replayed_loss import first
from gradlens.recording.row_ring import RowRing
from gradlens.recording.selection import Globs, Selection
from gradlens.recording.step_row import RowFinisher, StepRow, kept
from gradlens.recording.storage import Storage
from gradlens.recording.user_clip import CapturedClipping
from gradlens.schedules import Schedule, every, never
from gradlens.schema import NORMS

logger = logging.getLogger("gradlens")


class Recorder:
    """Records the training dynamics of one model and one optimizer, and clips if asked to.

    Row t holds the gradient at theta_t, the update from theta_t to theta_{t+1} and the smoothness of that segment. With
    ``clip=None`` the training is bit for bit what it would be without the recorder. On an accelerator no step waits for
    the device.

    Args:
        model: names the parameters; its buffers are put back after each smoothness probe.
        optimizer: its step is hooked; the gradient norm is over the parameters that it steps. Where a group is added
            later, recording goes on in a new session of the run.
        root: folder of runs; the run gets a folder of its own inside, ``recorder.path``.
        name: what people call the run; the model's class name if not given.
        clip: a rule of ``gradlens.clipping`` to apply, or None to observe only.
        norms: when to measure gradient norms, global and per parameter. The global norm is also measured at every step
            that clips or probes smoothness.
        update: when to measure the update's and the parameters' norms. Costs one copy of the parameters meanwhile.
        smoothness: when to measure same-batch smoothness. Costs two forward and backward passes a probe, and two copies
            of the gradients meanwhile; needs the loss to be computed through :meth:`loss`.
        estimator: how to measure smoothness: ``"same_batch"``, the change of the gradient over the step on its own
            batch; ``"segment(n)"``, the largest such rate at n points of the step, with n - 1 passes more; ``"hvp"``,
            the Hessian's at theta_t along the step, with one double backward.
        landscape: when to measure loss, gradient and smoothness along plain gradient steps from theta_t: a forward and
            backward pass for each of ``etas`` and one more; needs the loss to be computed through :meth:`loss`.
        etas: the step sizes to look at; 1/2, 1, 2 and 4 times the learning rate if not given.
        distance: when to measure ||theta_t - theta_0||, theta_0 being the parameters when it is first due. Costs one
            copy of the parameters for good.
        fractions: when to count which share of the gradient's entries is zero, and which is not finite.
        scaler: the gradient scaler of a mixed-precision training. Norms are recorded without its scale, and a step that
            it leaves out is a row with ``stepped`` false.
        include: shell patterns of the parameters' names, as in ``"encoder.*"``: whose norms are kept one by one. The
            global norms are of all parameters whatever is kept.
        exclude: the same, of those among them that are not.
        groups: name -> patterns of the parameters in a group. The norms of each are series of their own, as in
            ``run.series("grad_norm[encoder]")``.
        config: hyper-parameters to store with the run, JSON-like.
        resume: a run folder to go on with, in a new session, from the step after its last; the clip rule takes up the
            recorded norms. :meth:`load_state_dict` goes on from the step of a checkpoint instead. ``root`` and ``name``
            are the run's then. None begins a new run.
        max_bytes: what the run may take on disk before per-parameter detail is thinned to summaries of 256 steps, the
            oldest first; None is no limit. Step records are never thinned.
        enabled: False records nothing; the clip, which is part of the training, still acts. The environment variable
            ``GRADLENS_DISABLED=1`` does the same.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a rule that cannot run here, or a folder to resume that is no run.
        OSError: if the run folder cannot be made. Recording raises nothing after that: later failures are counted,
            logged once, and cost rows, never the training.

    >>> import tempfile, torch, gradlens
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     with gradlens.Recorder(model, optimizer, root, clip=gradlens.clipping.fixed(0.5)) as recorder:
    ...         for _ in range(3):
    ...             optimizer.zero_grad()
    ...             recorder.loss(lambda x: model(x).square().mean(), torch.ones(4, 2)).backward()
    ...             optimizer.step()
    ...     steps, norms = gradlens.open_run(recorder.path).series("grad_norm_clipped")
    >>> steps.tolist(), bool((norms <= 0.5 + 1e-9).all())
    ([0, 1, 2], True)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        root: str | os.PathLike[str],
        *,
        name: str | None = None,
        clip: ClipRule | None = None,
        norms: Schedule = every(1),  # noqa: B008 - a pure function
        update: Schedule = every(10),  # noqa: B008
        smoothness: Schedule = every(200),  # noqa: B008
        estimator: str = "same_batch",
        landscape: Schedule = never,
        etas: Sequence[float] | None = None,
        distance: Schedule = never,
        fractions: Schedule = never,
        scaler: torch.amp.GradScaler | None = None,
        include: Globs = "*",
        exclude: Globs = (),
        groups: Mapping[str, Globs] | None = None,
        config: Mapping[str, Any] | None = None,
        resume: str | os.PathLike[str] | None = None,
        max_bytes: int | None = None,
        enabled: bool = True,
    ) -> None:
        schedules = {"norms": norms, "update": update, "smoothness": smoothness, "landscape": landscape}
        schedules |= {"distance": distance, "fractions": fractions}
        check_arguments(model, optimizer, name, clip, schedules, config, scaler)
        check_storage(root, resume, max_bytes)
        self._optimizer = optimizer
        self._scaler = scaler
        self._scaler_watch: ScalerWatch | None = None
        self._captured: list[CapturedClipping] = []
        self._backward = BackwardEnd(self._on_backward_end)
        if etas is None:
            etas = [factor * float(optimizer.param_groups[0]["lr"]) or factor for factor in (0.5, 1.0, 2.0, 4.0)]
        self._make_probes = partial(
            Probes, model, optimizer, norms, update, smoothness, estimator, landscape, etas, distance, fractions,
            scaler, clip,
        )  # fmt: skip
        self._describe_parameters = partial(describe_parameters, model, optimizer)
        self._select = partial(Selection, include=include, exclude=exclude, groups=groups)
        described = self._describe_parameters()
        self._selection = self._select([name for name, *_ in described])
        self._probes = self._make_probes()
        self._clipper = None if clip is None else Clipper(clip, self._probes.device)
        self._ring = RowRing(self._probes.device)
        self._finish = RowFinisher(torch.finfo(self._probes.parameters[0].dtype).eps * self._probes.evaluations)
        self._row: StepRow | None = None
        self._step = 0
        self._calls = 0  # of the optimizer's step
        self._samples = 0
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._storage: Storage | None = None
        self._run: str | None = None  # of the checkpoint; what a disabled recorder hands on
        self._open = enabled and os.environ.get("GRADLENS_DISABLED", "") in ("", "0")
        if self._open:
            self._storage = Storage(
                Path(root),
                name or type(model).__name__,
                {
                    "config": plain(dict(config or {})),
                    "clip": None if clip is None else clip.spec(),
                    "environment": describe_environment(optimizer, self._probes.parameters) | {"smoothness": estimator},
                },
                [described[index] for index in self._selection.kept],
                wait=self._probes.device.type == "cpu",
                max_bytes=max_bytes,
                resume=None if resume is None else Path(resume),
            )
            self._at_exit = partial(_close_at_exit, self, os.getpid())
            atexit.register(self._at_exit)
            if resume is not None:
                last, self._samples, seen = self._storage.last()
                self._step = last + 1
                if self._clipper is not None:
                    self._clipper.see(seen)
        self.attach()

    # ---- what the user calls -----------------------------------------------------------------------------------------

    @not_compiled
    def loss(self, compute: Callable[..., Any], *inputs: Any, of: int = 1, **named_inputs: Any) -> Any:
        """Evaluate the loss once and note it.

        The inputs are kept until the step ends, so that a smoothness probe can evaluate the same loss again. A compiled
        model or ``compute`` stays compiled; in a training step that is compiled as a whole this call is not, so compile
        ``compute`` then.

        Args:
            compute: takes the inputs; returns the loss (a tensor with one element), or a tuple that begins with it.
                A closure without inputs will do; it sees later values of its names, so use one loss a step then.
            inputs: passed on to ``compute``; the first dimension of the first tensor among them is the batch size.
            of: how many micro-batches make up the step: the loss comes back divided by it, and is recorded undivided.
            named_inputs: passed on to ``compute``.

        Returns:
            What ``compute`` returned, its loss divided by ``of``.

        Raises:
            TypeError: if ``compute`` is no function or returns no such loss. Whatever it raises comes through.
            ValueError: if ``of`` is not a positive whole number.
        """
        if isinstance(of, bool) or not isinstance(of, int) or of < 1:
            raise ValueError(f"of takes the number of micro-batches in the step, 1 or more; got {of!r}.")
        if not callable(compute):
            raise TypeError(
                "recorder.loss takes the function and its inputs, as in recorder.loss(compute, x, y); "
                f"got {type(compute).__name__}."
            )
        call = partial(compute, *inputs, **named_inputs)
        row = None
        with self._guard():
            if self._row is not None and self._row.passes and not self._row.measured and self._probes.gradients_gone:
                self._leave_out()  # zero_grad came without a step
            row = self._open_row()
            if row is not None and row.measured:  # inside a line search: the step's own loss is noted already
                row = None
            if row is not None:
                row.of = of
                self._probes.loss_begins(row, call, of)
        result = call()
        loss = first(result)
        with self._guard():
            if row is not None:
                self._note_loss(row, loss, (*inputs, *named_inputs.values()))
                self._backward.watch(loss)
            elif not self._open:  # a checkpoint of a training that is not recorded counts all the same
                self._samples += batch_size((*inputs, *named_inputs.values())) or 0
        if of == 1:
            return result
        return (loss / of, *result[1:]) if isinstance(result, tuple) else loss / of

    @not_compiled
    def log(self, **scalars: float | Tensor) -> None:
        """Add numbers of your own to the row of the step under way; after ``step()``, to that of the step just taken.

        Args:
            scalars: numbers, or tensors with one element, which the host reads later.

        Raises:
            TypeError: for anything else.
            ValueError: for a name that gradlens fills itself.
        """
        check_logged(scalars)
        with self._guard():
            row = self._row or self._open_row()
            if row is not None:
                row.scalars.update({name: kept(value) for name, value in scalars.items()})

    def full_gradient(self, compute: Callable[..., Any], batches: Iterable[Any]) -> None:
        """Measure the gradient over a whole set at the present parameters: ``full_grad_norm`` and ``full_loss``.

        They are part of the row of the step to come, since they are of theta_t: call it before that step. A forward
        and a backward pass a batch, and two copies of the gradients meanwhile. The model is evaluated in its present
        mode, and is afterwards what it was before, random states included.

        Args:
            compute: as for :meth:`loss`: a mean over the samples of a batch.
            batches: such as a ``DataLoader``; each a tuple or list of inputs, a mapping of named ones, or one tensor.

        Raises:
            ValueError: if there is no batch, or one without a tensor. Whatever ``compute`` raises comes through.

        >>> import tempfile, torch, gradlens
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> torch.nn.init.ones_(model.weight)
        Parameter containing:
        tensor([[1.]], requires_grad=True)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with gradlens.Recorder(model, optimizer, root) as recorder:
        ...         recorder.full_gradient(lambda x: model(x).mean(), [torch.ones(3, 1), torch.full((1, 1), 5.0)])
        ...         recorder.loss(lambda x: model(x).mean(), torch.ones(2, 1)).backward()
        ...         optimizer.step()
        ...     gradlens.open_run(recorder.path).series("full_grad_norm")[1].tolist()
        [2.0]
        """
        row = self._open_row()
        if row is not None:
            begin = time.perf_counter()
            self._probes.full_gradient(row, compute, batches)
            row.overhead += time.perf_counter() - begin

    @not_compiled
    def clip_grad_norm_(
        self,
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> Tensor:
        """``torch.nn.utils.clip_grad_norm_``, with its threshold in the row: for trainings that clip by themselves.

        Does exactly what torch's function does, with the same arguments and the same result. The row then has
        ``clip_source`` = declared.
        """
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not any(captured.active for captured in self._captured):
            self._on_user_clip(parameters, float(max_norm), float(norm_type))
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)

    def capture_clipping(self) -> CapturedClipping:
        """See every call of ``torch.nn.utils.clip_grad_norm_`` on this optimizer's parameters, threshold included.

        Until the result's ``remove()``, the end of a ``with`` around it, or :meth:`close`.

        >>> import tempfile, torch, gradlens
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with gradlens.watch(model, optimizer, root) as recorder, recorder.capture_clipping():
        ...         model(torch.ones(4, 2)).square().mean().backward()
        ...         norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        ...         optimizer.step()
        ...     row = gradlens.open_run(recorder.path).steps().iloc[0]
        >>> row["clip_source"], float(row["clip_threshold"]), bool(abs(row["grad_norm"] - norm.item()) < 1e-5)
        ('declared', 0.001, True)
        """
        self._captured.append(CapturedClipping(self._on_user_clip))
        return self._captured[-1]

    def attach(self) -> None:
        """Hook into the optimizer's step; done at construction."""
        if not self._hooks:
            self._hooks = [
                self._optimizer.register_step_pre_hook(self._on_step),
                self._optimizer.register_step_post_hook(self._on_stepped),
            ]
            if self._scaler is not None:
                self._scaler_watch = ScalerWatch(self._scaler, self._optimizer, lambda: self._calls, self._on_left_out)

    def detach(self) -> None:
        """Take the hooks off: nothing is measured or clipped until :meth:`attach`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._scaler_watch is not None:
            self._scaler_watch.remove()
            self._scaler_watch = None
        for captured in self._captured:
            captured.remove()
        self._captured = []

    def close(self, outcome: str = "finished") -> None:
        """Detach, and write what remains. A second call does nothing.

        Args:
            outcome: ``"finished"``, or ``"stopped"`` where the training ended early.

        Raises:
            ValueError: for another outcome.
        """
        if outcome not in ("finished", "stopped"):
            raise ValueError(f'close takes "finished" or "stopped"; got {outcome!r}.')
        self.detach()
        if self._storage is None or not self._open:
            return
        atexit.unregister(self._at_exit)
        with self._guard():
            self._end_row()
            self._drain(everything=True)
        self._open, self._row = False, None
        self._probes.release()
        self._storage.close(outcome)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs so that :meth:`load_state_dict` can go on: plain numbers, text and CPU tensors.

        Taken after ``optimizer.step()``, as the optimizer's own. Waits for the device.
        """
        return {
            "version": 1,
            "run": self._run if self.path is None else self.path.name,
            "step": self._step,
            "samples": self._samples,
            "clip": None if self._clipper is None else self._clipper.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: its step, its count of samples and the memory of its clip rule.

        Where the run that the checkpoint was taken from is under the same root, recording goes on in it, in a new
        session: rows that it has from that step on are superseded, not deleted. A run that this recorder has just begun
        and not yet written to is then removed. Elsewhere the rows go to this recorder's run.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is no such state, or the run cannot be read.
            OSError: if the run cannot be written to.
        """
        run, step, samples, clip = check_state(state)
        self._end_row()
        self._drain(everything=True)
        self._probes.release()
        if self._storage is not None and self._open:
            self._storage.go_on(run)
        self._run = run
        self._step, self._samples = step, samples
        if self._clipper is not None and clip is not None and not self._clipper.load_state_dict(clip):
            logger.warning("gradlens: the checkpoint's clip rule is another one; this one begins without a history.")

    @property
    def path(self) -> Path | None:
        """The run folder, where it is now; None if disabled."""
        return None if self._storage is None else self._storage.path

    @property
    def acknowledged(self) -> int:
        """Step of the last row that survives the death of the process, -1 before the first."""
        return -1 if self._storage is None else self._storage.acknowledged

    @property
    def dropped(self) -> int:
        """Rows lost, because the disk did not take them."""
        return 0 if self._storage is None else self._storage.dropped

    @property
    def skipped(self) -> int:
        """Measurements that failed and were left out."""
        return self._probes.skipped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("finished" if kind is None else "stopped")

    # ---- what the optimizer calls ------------------------------------------------------------------------------------

    @not_compiled
    def _on_backward_end(self, seed: Tensor) -> None:
        """At the end of a backward pass through a loss of :meth:`loss`."""
        with self._guard(), torch.no_grad():
            row = self._row
            if self._hooks and row is not None and not row.measured and not row.stepped:
                self._probes.backward_ended(row, seed)

    @not_compiled
    def _on_user_clip(self, parameters: Sequence[Tensor], max_norm: float, norm_type: float) -> None:
        """Before a clip of the training's own."""
        with self._guard(), torch.no_grad():
            own = {id(parameter) for parameter in self._probes.parameters}
            clipped = {id(parameter) for parameter in parameters}
            row = None if own.isdisjoint(clipped) else self._open_row()
            if row is not None and not row.measured:  # a line search clips again and again
                self._probes.before_user_clip(row)
                row.declared.append(max_norm if own <= clipped and norm_type == 2 else None)

    def _on_left_out(self) -> None:
        """The scaler has left a step out."""
        with self._guard(), torch.no_grad():
            self._leave_out()

    def _leave_out(self) -> None:
        row = self._row
        if not self._open:
            self._step += 1
        elif row is not None and not row.stepped:
            row.scalars["time"] = time.time()
            self._probes.left_out(row)
            row.stepped = True
            self._step += 1

    @not_compiled
    def _on_step(
        self, _optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> StepArguments | None:
        """Before the update, or inside the closure that leads to it."""
        self._calls += 1
        stepped_with = measure_first_evaluation(args, kwargs, self._before_update)
        if stepped_with is None:
            self._before_update()
        return stepped_with

    @torch.no_grad()
    def _before_update(self) -> None:
        norm = None
        with self._guard():
            if self._open and self._probes.outgrown:
                self._regroup()
            row = self._open_row()
            if row is not None:
                row.scalars["time"] = time.time()
                row.measured = True
                norm = self._probes.before_update(row)
        if self._clipper is not None:
            self._clip(self._clipper, norm)

    def _clip(self, clipper: Clipper, norm: Tensor | None) -> None:
        """Not guarded: a clip that fails is a failure of the training, not of its recording."""
        begin = time.perf_counter()
        norms = self._probes.gradient_norms() if norm is None else norm.reshape(1)
        done = clipper.clip(self._probes.gradients(), norms, self._optimizer)
        if self._row is not None:
            self._row.scalars.update(done)
            self._row.overhead += time.perf_counter() - begin

    @not_compiled
    @torch.no_grad()
    def _on_stepped(self, _optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        with self._guard():
            self._step += 1
            if self._row is not None:
                self._row.stepped = True
                self._probes.after_update(self._row)

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _open_row(self) -> StepRow | None:
        """The row of the step under way, None if disabled or detached; a step that has ended is sent off first."""
        if not self._open or not self._hooks:
            return None
        if self._row is not None and self._row.stepped:
            self._end_row()
            self._drain()
        if self._row is None:
            self._row = StepRow(self._step)
        return self._row

    def _regroup(self) -> None:
        """The optimizer has other parameters than before: measure them, in a session that names them."""
        self._drain(everything=True)
        before, self._probes = self._probes, self._make_probes()
        self._probes.go_on_from(before)
        if self._storage is not None:
            described = self._describe_parameters()
            self._selection = self._select([name for name, *_ in described])
            self._storage.rename_parameters([described[index] for index in self._selection.kept])

    def _note_loss(self, row: StepRow, loss: Tensor, inputs: tuple[Any, ...]) -> None:
        row.add_loss(loss)
        size = batch_size(inputs)
        if size is not None:
            self._samples += size
            row.scalars |= {"batch_size": row.scalars.get("batch_size", 0) + size, "samples": self._samples}

    def _end_row(self) -> None:
        row, self._row = self._row, None
        if row is not None and row.stepped:
            host = {"step": row.step, "smoothness_method": row.smoothness, "overhead_ms": row.overhead * 1e3}
            self._ring.push({**row.scalars, **host}, row.tensors)

    def _drain(self, *, everything: bool = False) -> None:
        for arrived in self._ring.drain(everything=everything):
            if self._storage is not None:
                row, norms = self._finish(arrived.scalars, arrived.tensors)
                for kind in NORMS & norms.keys():
                    row |= self._selection.group_norms(kind, norms[kind], finite=isfinite(row.get(kind) or 0.0))
                self._storage.append(row, {kind: self._selection.detail(values) for kind, values in norms.items()})
                self._probes.doubtful = self._finish.doubtful

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Time what is inside, and let no exception of the recording reach the training."""
        begin = time.perf_counter()
        try:
            yield
        except Exception as error:
            self._probes.skip("a measurement", self._step, error)
        if self._row is not None:
            self._row.overhead += time.perf_counter() - begin


def _close_at_exit(recorder: Recorder, owner: int) -> None:
    if os.getpid() != owner:  # a forked child ends; the run is its parent's
        return
    # The interpreter notes an exception that nobody caught; a training that it ended is not a finished one.
    recorder.close("stopped" if getattr(sys, "last_value", None) is not None else "finished")
