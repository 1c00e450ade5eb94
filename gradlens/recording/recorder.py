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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.arguments import (
    check_arguments,
    check_domain,
    check_logged,
    check_model,
    check_optimizers,
    check_state,
    check_storage,
)
from gradlens.recording.eager import not_compiled
from gradlens.recording.environment import describe_environment, describe_parameters, plain
from gradlens.recording.ledger import Ledger
from gradlens.recording.micro_batch_clip import MicroBatchClip
from gradlens.recording.plan import Plan, usual_etas
from gradlens.recording.probes import Probes
from gradlens.recording.replayed_loss import first
from gradlens.recording.row_finisher import RowFinisher
from gradlens.recording.selection import Globs, Selection
from gradlens.recording.step_hooks import StepHooks, warn_of_others
from gradlens.recording.steps import Steps
from gradlens.recording.storage import Storage
from gradlens.recording.user_clip import CapturedClipping
from gradlens.schedules import Schedule, every, never

logger = logging.getLogger("gradlens")


class Recorder:
    """Records the training dynamics of a model and its optimizer, or optimizers, and clips if asked to.

    Row t holds the gradient at theta_t, the update from theta_t to theta_{t+1} and the smoothness of that segment. With
    ``clip=None`` the training is bit for bit what it would be without the recorder. On an accelerator no step waits for
    the device.

    Args:
        model: names the parameters; its buffers are put back after each smoothness probe. Several models that train
            together are a mapping, as in ``{"encoder": encoder, "decoder": decoder}``.
        optimizer: its step is hooked; the gradient norm is over the parameters that it steps. Where a group is added
            later, recording goes on in a new session of the run. Several that step in turn (``[muon, adamw]``, or one
            for each parameter) make one step together, which is over when each has stepped, or with the next loss;
            norms are over those that did. Where they step inside backward, norms and updates are measured; what needs
            the gradient as a whole (a clip by its norm, smoothness, the landscape) is not. Trainings that take turns (a
            generator and its critic) want a recorder each.
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
            the Hessian's at theta_t along the step, with one double backward; ``"consecutive"``, the change from the
            gradient of one batch to that of the next, which costs no pass, needs no :meth:`loss`, holds the noise of
            two batches and so supports no claim about correlation. It costs a copy of the gradients from one step to
            the next where they are clipped or written to; the row is written one step later.
        landscape: when to measure loss, gradient and smoothness along plain gradient steps from theta_t: a forward and
            backward pass for each of ``etas`` and one more; needs the loss to be computed through :meth:`loss`.
        etas: the step sizes to look at; 1/2, 1, 2 and 4 times the learning rate if not given.
        micro_batches: when to measure each micro-batch of a step: norm, cosine with the others, loss, weight and
            domain, for ``run.micro_batches()``. Costs a copy of the gradients for each, meanwhile; needs the losses to
            be computed through :meth:`loss`.
        frozen_weights: when to estimate, from the gradients of the batch's single samples, what micro-batch clipping
            would do with micro-batches of every size: the series ``micro_batch_alpha[b]``, ``micro_batch_bias[b]`` and
            ``micro_batch_noise[b]``. Costs tens of training steps a probe, and some tenths of a second on the host;
            needs the loss to be computed through :meth:`loss` with its inputs.
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
        model: nn.Module | Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer],
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
        micro_batches: Schedule = never,
        frozen_weights: Schedule = never,
        scaler: torch.amp.GradScaler | None = None,
        include: Globs = "*",
        exclude: Globs = (),
        groups: Mapping[str, Globs] | None = None,
        config: Mapping[str, Any] | None = None,
        resume: str | os.PathLike[str] | None = None,
        max_bytes: int | None = None,
        enabled: bool = True,
    ) -> None:
        optimizers = check_optimizers(optimizer)
        model = check_model(model, optimizers)
        plan = Plan(
            norms, update, smoothness, landscape, distance, fractions, micro_batches, frozen_weights, estimator,
            usual_etas(optimizers[0]) if etas is None else etas,
        )  # fmt: skip
        check_arguments(optimizers, name, clip, plan.schedules, config, scaler)
        check_storage(root, resume, max_bytes)
        self._model, self._optimizers, self._scaler = model, optimizers, scaler
        self._select = partial(Selection, include=include, exclude=exclude, groups=groups)
        described = describe_parameters(model, optimizers)
        selection = self._select([name for name, *_ in described])
        by_micro_batch = clip is not None and clip.scope == "micro_batch"
        self._make_probes = partial(
            Probes, model, optimizers, plan, scaler, clipping=clip is not None and not by_micro_batch
        )
        probes = self._make_probes()
        clipper = micro_clip = None
        if clip is not None and by_micro_batch:
            micro_clip = MicroBatchClip(clip, probes.parameters, probes.device)
        elif clip is not None:
            clipper = Clipper(clip, [name for name, *_ in described], probes.device)
        self._captured: list[CapturedClipping] = []
        self._closed = False
        self._storage: Storage | None = None
        self._run: str | None = None  # of the checkpoint; what a disabled recorder hands on
        ledger = None
        if enabled and os.environ.get("GRADLENS_DISABLED", "") in ("", "0"):
            self._storage = Storage(
                Path(root),
                name or type(model).__name__,
                {
                    "config": plain(dict(config or {})),
                    "clip": None if clip is None else clip.spec(),
                    "environment": describe_environment(optimizers, probes.parameters) | {"smoothness": estimator},
                },
                [described[index] for index in selection.kept],
                wait=probes.device.type == "cpu",
                max_bytes=max_bytes,
                resume=None if resume is None else Path(resume),
            )
            finish = RowFinisher(torch.finfo(probes.parameters[0].dtype).eps * probes.evaluations)
            ledger = Ledger(probes.device, finish, self._storage, selection, plan.watching)
            self._at_exit = partial(_close_at_exit, self, os.getpid())
            atexit.register(self._at_exit)
        self._steps = Steps(probes, clipper, micro_clip, ledger, self._regroup)
        if self._storage is not None and resume is not None:
            last, self._steps.samples, seen = self._storage.last()
            self._steps.step = last + 1
            if clipper is not None and not clipper.see(seen):
                logger.warning(
                    "gradlens: the memory of %s does not follow from the run's global norms; it begins without one. "
                    "load_state_dict takes it from a checkpoint.",
                    clip,
                )
        self.attach()

    # ---- what the user calls -----------------------------------------------------------------------------------------

    @not_compiled
    def loss(
        self, compute: Callable[..., Any], *inputs: Any, of: int = 1, domain: str | None = None, **named_inputs: Any
    ) -> Any:
        """Evaluate the loss once and note it.

        The inputs are kept until the step ends, so that a smoothness probe can evaluate the same loss again. A compiled
        model or ``compute`` stays compiled; in a training step that is compiled as a whole this call is not, so compile
        ``compute`` then.

        Args:
            compute: takes the inputs; returns the loss (a tensor with one element), or a tuple that begins with it.
                A closure without inputs will do; it sees later values of its names, so use one loss a step then.
            inputs: passed on to ``compute``; the first dimension of the first tensor among them is the batch size.
            of: how many micro-batches make up the step: the loss comes back divided by it, and is recorded undivided.
            domain: where the samples come from, for the table of micro-batches: text of at most 255 bytes.
            named_inputs: passed on to ``compute``.

        Returns:
            What ``compute`` returned, its loss divided by ``of``.

        Raises:
            TypeError: if ``compute`` is no function or returns no such loss, or ``domain`` is no text. Whatever
                ``compute`` raises comes through.
            ValueError: if ``of`` is not a positive whole number, or ``domain`` is too long.
            RuntimeError: under a rule on micro-batches, if something else has written to the gradient that the ones
                before have left.
        """
        if isinstance(of, bool) or not isinstance(of, int) or of < 1:
            raise ValueError(f"of takes the number of micro-batches in the step, 1 or more; got {of!r}.")
        if not callable(compute):
            raise TypeError(
                "recorder.loss takes the function and its inputs, as in recorder.loss(compute, x, y); "
                f"got {type(compute).__name__}."
            )
        check_domain(domain)
        call = partial(compute, *inputs, **named_inputs)
        row = self._steps.loss_begins(call, of)
        result = call()
        self._steps.loss_ends(row, loss := first(result), (*inputs, *named_inputs.values()), domain)
        if of == 1:
            return result
        if hasattr(result, "_fields"):  # a named tuple stays one
            return result._replace(**{result._fields[0]: loss / of})
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
        self._steps.log(scalars)

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
        row = self._steps.row()
        if row is not None:
            begin = time.perf_counter()
            self._steps.probes.full_gradient(row, compute, batches)
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
            self._steps.user_clips(parameters, float(max_norm), float(norm_type))
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
        self._captured.append(CapturedClipping(self._steps.user_clips))
        return self._captured[-1]

    def attach(self) -> None:
        """Hook into the optimizers' steps; done at construction.

        Raises:
            RuntimeError: after :meth:`close`, from where on nothing would be recorded.
        """
        self._refuse_if_closed()
        if self._steps.hooks is None:
            warn_of_others(self._optimizers)
            self._steps.hooks = StepHooks(self._optimizers, self._scaler, self._steps)

    def detach(self) -> None:
        """Take the hooks off: nothing is measured or clipped until :meth:`attach`."""
        if self._steps.hooks is not None:
            self._steps.hooks.remove()
            self._steps.hooks = None
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
        self._closed = True
        if self._storage is None or self._steps.ledger is None:
            self.detach()
            return
        atexit.unregister(self._at_exit)
        self._steps.finish()
        self.detach()
        self._steps.ledger = None
        self._storage.close(outcome)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs so that :meth:`load_state_dict` can go on: plain numbers, text and CPU tensors.

        Taken after ``optimizer.step()``, as the optimizer's own. Waits for the device.
        """
        if self._steps.hooks is not None:
            self._steps.hooks.end()
        return {
            "version": 1,
            "run": self._run if self.path is None else self.path.name,
            "step": self._steps.step,
            "samples": self._steps.samples,
            "clip": None if self._steps.clipper is None else self._steps.clipper.state_dict(),
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
        self._steps.finish()
        if self._storage is not None and self._steps.ledger is not None:
            self._storage.go_on(run)
        self._run = run
        self._steps.step, self._steps.samples = step, samples
        clipper = self._steps.clipper
        if clipper is not None and clip is not None and not clipper.load_state_dict(clip):
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
        return self._steps.probes.skipped

    def __enter__(self) -> Self:
        self._refuse_if_closed()
        return self

    def _refuse_if_closed(self) -> None:
        """A training that believes itself recorded and clipped would go on without."""
        if self._closed:
            raise RuntimeError(
                "this recorder is closed: it would neither record nor clip. Keep one recorder around all epochs, or "
                "make another, with resume=recorder.path to go on with the run."
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("finished" if kind is None else "stopped")

    def _regroup(self) -> tuple[Probes, Clipper | None, MicroBatchClip | None]:
        """An optimizer has other parameters than before: measure and clip them, in a session that names them."""
        probes = self._make_probes()
        probes.go_on_from(self._steps.probes)
        described = describe_parameters(self._model, self._optimizers)
        clipper = self._steps.clipper
        if clipper is not None:
            clipper = clipper.over([name for name, *_ in described])
        if self._storage is not None and self._steps.ledger is not None:
            selection = self._select([name for name, *_ in described])
            self._steps.ledger.selection = selection
            self._storage.rename_parameters([described[index] for index in selection.kept])
        micro_clip = self._steps.micro_clip
        if micro_clip is not None:  # from the next step on: this one's micro-batches are clipped already
            micro_clip.follow(probes.parameters)
        return probes, clipper, micro_clip


def _close_at_exit(recorder: Recorder, owner: int) -> None:
    if os.getpid() != owner:  # a forked child ends; the run is its parent's
        return
    # The interpreter notes an exception that nobody caught; a training that it ended is not a finished one.
    recorder.close("stopped" if getattr(sys, "last_value", None) is not None else "finished")
