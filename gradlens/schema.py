r"""The columns of a step record: the only module that spells their names.

A step record is one row saying what one training step did. Row ``t`` holds the gradient at
:math:`\theta_t`, the update that leads from :math:`\theta_t` to :math:`\theta_{t+1}`, and the
smoothness of that same segment. The Parquet schema, ``docs/columns.md``, hover texts and axis
labels all derive from the table below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA_VERSION: Final = 3
"""Version of the run folder's format, independent of the package's version."""

DType = Literal["int32", "int64", "float32", "float64", "bool", "category", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the step table, or of the micro-batch table.

    Attributes:
        name: the column's name on disk, in every table and in every API.
        dtype: how it is stored; a ``category`` is stored as text and held as a small integer.
        unit: the unit, ``"1"`` where it has none.
        meaning: what it says, in one sentence.
        measured: where in the step it is measured.
        label: the axis label.
        categories: the admissible texts of a ``category``.
    """

    name: str
    dtype: DType
    unit: str
    meaning: str
    measured: str
    label: str
    categories: tuple[str, ...] = ()


CLIP_SOURCES: Final = ("observed", "declared", "inferred", "unknown")
"""How the clip of a row is known: applied by gradlens, named by the user, computed from two norms, or not."""

SAME_BATCH: Final = "same_batch"
CONSECUTIVE: Final = "consecutive"
ESTIMATORS: Final = (SAME_BATCH, "segment", "hvp", CONSECUTIVE)
"""How a smoothness is measured."""

LANDSCAPE: Final = ("loss_min", "loss_max", "grad_change_min", "grad_change_max", "beta")
"""What is measured along a gradient; its columns begin with ``landscape_``."""

SMOOTHNESS_METHODS: Final = (
    *ESTIMATORS,
    "none: zero step",
    "none: no recorder.loss in this step",
    "none: several losses in this step",
    "none: gradient is not finite",
    "none: loss does not repeat",
    "none: half precision inside compute",
    "none: out of memory",
    "none: the optimizer steps inside backward",
    "none: gradient was changed before the step",
    "none: gradient was overwritten before the next",
    "none: no gradient at the next step",
    "none: gradients carry different loss scales",
    "none: probe failed",
)
"""The estimator of a row's smoothness or, after ``none:``, the reason why the row has none."""

_COLUMNS: Final = (
    Column("step", "int64", "1", "Index of the optimizer step, from 0.", "at the optimizer's step", "iteration"),
    Column(
        "session",
        "int64",
        "1",
        "Which process's turn at the run wrote the row.",
        "at the optimizer's step",
        "session",
    ),
    Column("seq", "int64", "1", "Position of the row within its session.", "at the optimizer's step", "row"),
    Column("time", "float64", "s", "Wall clock, seconds since 1970.", "at the optimizer's step", "time (s)"),
    Column("epoch", "float64", "1", "Epoch of the training, as logged by the user.", "recorder.log", "epoch"),
    Column(
        "samples",
        "int64",
        "1",
        "Training samples seen up to and including this step, those of batches that were left out among them.",
        "recorder.loss",
        "samples",
    ),
    Column("tokens", "float64", "1", "Training tokens seen, as logged by the user.", "recorder.log", "tokens"),
    Column(
        "loss",
        "float64",
        "1",
        "Training loss at theta_t, the mean over the step's micro-batches.",
        "recorder.loss",
        "training loss",
    ),
    Column(
        "lr",
        "float64",
        "1",
        "Learning rate of the first parameter group; `lr[1]` is that of the second, counted over all optimizers.",
        "just before the update",
        "learning rate",
    ),
    Column(
        "grad_norm",
        "float64",
        "1",
        "Global L2 norm of the gradient at theta_t, unscaled and before any clipping: where backward left it.",
        "at the end of backward, or just before the update",
        "gradient norm",
    ),
    Column(
        "grad_norm_clipped",
        "float64",
        "1",
        "Global L2 norm of the gradient that the optimizer receives.",
        "just before the update, after the clip",
        "gradient norm after clipping",
    ),
    Column(
        "clip_threshold",
        "float64",
        "1",
        "The clip rule's threshold for the global norm.",
        "just before the update",
        "clipping threshold",
    ),
    Column(
        "clip_coef",
        "float64",
        "1",
        "Factor by which the clip scaled the gradient, 1 where it did not act; where a rule has several, the norm "
        "after it over the norm before.",
        "just before the update",
        "clip coefficient",
    ),
    Column(
        "clip_coef_mean",
        "float64",
        "1",
        "Mean factor of a rule that has one for each parameter, group, unit or micro-batch, where there is a gradient.",
        "just before the update",
        "mean clip coefficient",
    ),
    Column(
        "rho",
        "float64",
        "1",
        "Smallest norm of a micro-batch's gradient, to which micro-batch clipping brings the others.",
        "at the end of backward",
        "smallest micro-batch norm",
    ),
    Column(
        "clipped",
        "bool",
        "1",
        "Whether grad_norm was above clip_threshold; where a rule has several, whether anything was above its own.",
        "just before the update",
        "clipped",
    ),
    Column(
        "clip_source",
        "category",
        "1",
        "How the clip is known: applied by gradlens (observed), named by the training (declared), computed from the "
        "norms where backward left the gradient and where the step takes it (inferred), or not (unknown: grad_norm "
        "is of the gradient at the step, after whatever the training did to it).",
        "just before the update",
        "clip source",
        CLIP_SOURCES,
    ),
    Column(
        "loss_scale",
        "float64",
        "1",
        "What the loss was multiplied by before backward; the norms are without it.",
        "at the end of backward",
        "loss scale",
    ),
    Column(
        "stepped",
        "bool",
        "1",
        "Whether the parameters were updated; false where a loss scaler skipped the step, or zero_grad came first.",
        "at the optimizer's step",
        "stepped",
    ),
    Column(
        "update_norm",
        "float64",
        "1",
        "||theta_{t+1} - theta_t||: the step size of the AutoClip paper.",
        "around the update",
        "step size",
    ),
    Column(
        "param_norm",
        "float64",
        "1",
        "Global L2 norm of the parameters theta_t.",
        "just before the update",
        "parameter norm",
    ),
    Column(
        "update_ratio",
        "float64",
        "1",
        "update_norm over param_norm.",
        "around the update",
        "update over parameter norm",
    ),
    Column(
        "distance",
        "float64",
        "1",
        "||theta_t - theta_0||: how far the parameters are from where they were when it was first measured.",
        "just before the update",
        "distance from the start",
    ),
    Column(
        "full_grad_norm",
        "float64",
        "1",
        "L2 norm of the gradient at theta_t over a whole set, unclipped.",
        "recorder.full_gradient",
        "full gradient norm",
    ),
    Column(
        "full_loss", "float64", "1", "Loss at theta_t over the same set.", "recorder.full_gradient", "loss over the set"
    ),
    Column(
        "smoothness",
        "float64",
        "1",
        "||grad f(theta_{t+1}) - grad f(theta_t)|| / ||theta_{t+1} - theta_t|| on the step's own batch, unclipped; by "
        "`consecutive`, with the next batch at the far end, whose noise is in it.",
        "around the update",
        "local smoothness",
    ),
    Column(
        "smoothness_method",
        "category",
        "1",
        "Estimator of the row's smoothness, or the reason why there is none.",
        "around the update",
        "smoothness estimator",
        SMOOTHNESS_METHODS,
    ),
    Column(
        "smoothness_noise",
        "float64",
        "1",
        "Noise floor of the smoothness: change of the gradient when it is only repeated, or its rounding if larger, "
        "over the length of the step; null by `consecutive`, whose noise is that of two batches.",
        "around the update",
        "smoothness noise floor",
    ),
    *(
        Column(f"landscape_{name}", "float64", "1", meaning, "just before the update", label)
        for name, meaning, label in (
            (
                "loss_min",
                "Least loss over a grid of plain gradient steps from theta_t, on the step's own batch.",
                "loss",
            ),
            ("loss_max", "Largest loss over the same grid.", "loss"),
            ("grad_change_min", "Least norm of the gradient's change over the same grid.", "gradient change"),
            ("grad_change_max", "Largest norm of the gradient's change over the same grid.", "gradient change"),
            (
                "beta",
                "Effective smoothness: largest change of the gradient over the length moved.",
                "effective smoothness",
            ),
        )
    ),
    Column(
        "batch_size",
        "int64",
        "1",
        "Samples in the step: first dimension of the first tensor given to recorder.loss.",
        "recorder.loss",
        "batch size",
    ),
    *(
        Column(f"micro_batch_{name}", "float64", "1", f"`micro_batch_{name}[b]`: {meaning}", "at theta_t", label)
        for name, meaning, label in (
            (
                "alpha",
                "how much of the gradient the mean update of micro-batch clipping with b samples each would keep, "
                "estimated from the batch's single samples.",
                "gradient kept",
            ),
            ("bias", "norm of that mean update's part that is no multiple of the gradient.", "constant bias"),
            ("noise", "trace of that update's covariance.", "update noise"),
        )
    ),
    Column("micro_batches", "int64", "1", "Calls of recorder.loss in the step.", "recorder.loss", "micro-batches"),
    Column(
        "nonfinite",
        "int64",
        "1",
        "Parameter tensors whose gradient norm is NaN or infinite.",
        "just before the update",
        "non-finite gradients",
    ),
    Column(
        "zero_fraction",
        "float64",
        "1",
        "Share of the gradient's entries that are exactly zero.",
        "just before the update",
        "zero entries",
    ),
    Column(
        "nonfinite_fraction",
        "float64",
        "1",
        "Share of the gradient's entries that are NaN or infinite.",
        "just before the update",
        "non-finite entries",
    ),
    Column(
        "overhead_ms",
        "float64",
        "ms",
        "Host time that gradlens spent in the step, probes included.",
        "over the whole step",
        "recorder overhead (ms)",
    ),
)

STEP_COLUMNS: Final[dict[str, Column]] = {column.name: column for column in _COLUMNS}
"""Every column that gradlens itself writes to the step table, by name, in their order on disk."""

USER_COLUMNS: Final = frozenset({"epoch", "tokens", "loss"})
"""Columns of the step table that ``recorder.log`` may fill."""

CLOCKS: Final = ("step", "epoch", "time", "samples", "tokens")
"""Columns that count up along a training, and can be the x of a curve."""

NORMS: Final = frozenset({"grad_norm", "grad_norm_clipped", "update_norm", "param_norm"})
"""L2 norms, which those of parts make up."""

FRACTIONS: Final = ("zero_fraction", "nonfinite_fraction")
"""Shares of a gradient's entries."""

TENSOR_KINDS: Final = ("grad_norm", "grad_norm_clipped", "update_norm", "param_norm", *FRACTIONS)
"""Per-parameter quantities stored in the ``tensors`` table, float32."""

_MICRO_BATCH_COLUMNS: Final = (
    Column("step", "int64", "1", "Index of the optimizer step, from 0.", "at the optimizer's step", "iteration"),
    Column("micro_batch", "int32", "1", "Index in the step, from 0.", "recorder.loss", "micro-batch"),
    Column(
        "session", "int64", "1", "Which process's turn at the run wrote the row.", "at the optimizer's step", "session"
    ),
    Column("seq", "int64", "1", "Position of the step's record within its session.", "at the optimizer's step", "row"),
    Column("loss", "float32", "1", "Training loss of the micro-batch at theta_t.", "recorder.loss", "training loss"),
    Column(
        "grad_norm",
        "float32",
        "1",
        "Global L2 norm of the micro-batch's gradient at theta_t, without the step's loss scale and without `scale`.",
        "at the end of its backward",
        "gradient norm",
    ),
    Column(
        "scale",
        "float32",
        "1",
        "Factor with which the gradient enters the step: 1/K for `recorder.loss(..., of=K)`.",
        "recorder.loss",
        "scale",
    ),
    Column(
        "cosine",
        "float32",
        "1",
        "Cosine between the micro-batch's gradient and the mean of the step's others.",
        "just before the update",
        "cosine with the others",
    ),
    Column(
        "clip_coef",
        "float32",
        "1",
        "Factor by which the clip scaled the micro-batch's gradient, 1 where it did not act.",
        "just before the update",
        "clip coefficient",
    ),
    Column(
        "samples",
        "int64",
        "1",
        "Samples in the micro-batch: first dimension of the first tensor given to recorder.loss.",
        "recorder.loss",
        "samples",
    ),
    Column("domain", "text", "1", "Where the samples come from, as named by the user.", "recorder.loss", "domain"),
)

MICRO_BATCH_COLUMNS: Final[dict[str, Column]] = {column.name: column for column in _MICRO_BATCH_COLUMNS}
"""Every column of the ``micro_batches`` table, by name, in their order on disk."""

MICRO_BATCH_KEYS: Final = ("step", "micro_batch", "session", "seq")
"""Those of them that say which row it is; the others are measured, and may be null."""


def is_text(name: str) -> bool:
    """Whether a column holds text, and is no series.

    >>> is_text("clip_source"), is_text("loss"), is_text("accuracy")
    (True, False, False)
    """
    return name in STEP_COLUMNS and STEP_COLUMNS[name].dtype == "category"


def label(name: str) -> str:
    """Axis label of a series, its own name where the user logged it.

    >>> label("update_norm"), label("accuracy"), label("grad_norm[encoder]")
    ('step size', 'accuracy', 'gradient norm, encoder')
    """
    whole, bracket, group = name.partition("[")
    column = STEP_COLUMNS.get(whole)
    if column is None or (bracket and not group.endswith("]")):
        return name
    return f"{column.label}, {group[:-1]}" if bracket else column.label


def is_own(name: str) -> bool:
    """Whether gradlens fills a series itself, be it of a group of parameters.

    >>> is_own("lr"), is_own("lr[1]"), is_own("accuracy[1]")
    (True, True, False)
    """
    return name.partition("[")[0] in STEP_COLUMNS and name not in USER_COLUMNS


def columns_markdown() -> str:
    """The text of ``docs/columns.md``."""
    head = (
        "# Columns of the step table\n\n"
        "One row is one optimizer step. Row t holds the gradient at theta_t, the update that leads from theta_t to\n"
        "theta_{t+1}, and the smoothness of that same segment. Any further name given to `recorder.log` is a column\n"
        "of its own. This page is generated from `gradlens/schema.py`; a test keeps the two equal.\n\n"
        "| column | type | unit | meaning | measured |\n|---|---|---|---|---|\n"
    )
    rows = _rows(_COLUMNS)
    values = "".join(
        f"\n`{c.name}` is one of: " + ", ".join(f"`{text}`" for text in c.categories) + ".\n"
        for c in _COLUMNS
        if c.categories
    )
    kinds = (
        "\n# The tensor table\n\nOne row per parameter, kind and block of 256 steps, with the block's minimum,\n"
        "maximum, mean, last value and the list of its steps and values (float32). Kinds: "
        + ", ".join(f"`{kind}`" for kind in TENSOR_KINDS)
        + ",\neach the L2 norm of one parameter tensor's gradient before clipping, or after a clip of the training's "
        "own,\nof its update, or of its value; or the share of the gradient's entries that is zero, or not finite.\n"
    )
    micro_batches = (
        "\n# The micro-batch table\n\nOne row per micro-batch of those steps in which they were measured; what was\n"
        "not is null. `samples` alone is a whole number, since float32 counts no further than 16,777,216.\n\n"
        "| column | type | unit | meaning | measured |\n|---|---|---|---|---|\n"
    )
    return head + rows + values + kinds + micro_batches + _rows(_MICRO_BATCH_COLUMNS)


def _rows(columns: tuple[Column, ...]) -> str:
    return "".join(f"| `{c.name}` | {c.dtype} | {c.unit} | {_cell(c.meaning)} | {c.measured} |\n" for c in columns)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
