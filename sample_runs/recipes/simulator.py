r"""Many trainings under micro-batch clipping at once, without autograd: so that hundreds of them are affordable.

Networks of linear layers with a ReLU between them and softmax cross-entropy at the end. A sample's gradient in a layer
is the outer product of what comes back, :math:`\delta_i`, and what goes in, :math:`x_i`, so that inner products of
gradients, and with them the norms of all micro-batches, follow from two Gram matrices a layer:

.. math:: \langle g_i, g_j \rangle = \sum_\ell (\delta_i^\ell \cdot \delta_j^\ell)(x_i^\ell \cdot x_j^\ell + 1)

Micro-batch clipping, its matched-step control and the removal of samples are then weights of the samples in one
backward pass. With a penalty l2/2 |theta|^2 in the loss every sample's gradient has l2 * theta added.

Trainings stand one behind the other in a batched matrix product: all sizes of a seed, seed after seed. All sizes and
arms of a seed see the same batches from the same start. A test holds this equal to gradlens' recorder at work.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class Task:
    """Data and start of the trainings.

    Attributes:
        x: (n, d) training inputs.
        labels: (seeds, n) training labels, those of each seed.
        random: (seeds, n) which labels are random: the known draggers.
        x_test: (m, d) held-out inputs.
        y_test: (m,) their labels.
        starts: for each seed, weight and bias of each layer.
        batches: for each seed, a generator of its batches.
        classes: how many there are.
    """

    x: Tensor
    labels: Tensor
    random: Tensor
    x_test: Tensor
    y_test: Tensor
    starts: list
    batches: list
    classes: int = 10


class Networks:
    """The weights of all trainings, and their passes: of each layer (trainings, out, in) and (trainings, out)."""

    def __init__(self, layers, l2=0.0):
        self.layers = layers
        self.l2 = l2

    def forward(self, x):
        """Inputs of each layer, and the logits."""
        inputs = []
        for index, (weight, bias) in enumerate(self.layers):
            x = torch.relu(x) if index else x
            inputs.append(x)
            x = torch.baddbmm(bias[:, None], x, weight.mT)
        return inputs, x

    def back(self, inputs, error):
        """What comes back to each layer's output."""
        deltas = [error]
        for index in range(len(self.layers) - 1, 0, -1):
            deltas.insert(0, torch.bmm(deltas[0], self.layers[index][0]) * (inputs[index] > 0))
        return deltas

    def gram(self, inputs, deltas):
        """Inner products of the samples' gradients."""
        total = 0
        for x, delta in zip(inputs, deltas, strict=True):
            total = total + torch.bmm(delta, delta.mT) * (torch.bmm(x, x.mT) + 1)
        if self.l2:
            along = 0
            for (weight, bias), x, delta in zip(self.layers, inputs, deltas, strict=True):
                along = along + (torch.bmm(delta, weight) * x).sum(-1) + torch.bmm(delta, bias[:, :, None])[..., 0]
            total = (
                total + self.l2 * (along[:, :, None] + along[:, None, :]) + self.l2**2 * self.squares()[:, None, None]
            )
        return total

    def squares(self):
        """Squared norm of the parameters."""
        return sum(tensor.square().flatten(1).sum(1) for layer in self.layers for tensor in layer)

    def gradient(self, inputs, deltas, weights):
        """The weighted sum of the samples' gradients."""
        whole = weights.sum(1)
        found = []
        for (weight, bias), x, delta in zip(self.layers, inputs, deltas, strict=True):
            scaled = delta * weights[:, :, None]
            pair = torch.bmm(scaled.mT, x), scaled.sum(1)
            if self.l2:
                pair = pair[0] + self.l2 * whole[:, None, None] * weight, pair[1] + self.l2 * whole[:, None] * bias
            found.append(pair)
        return found


def coefficients(gram, sizes, arm, removed):
    """By what each sample's gradient is multiplied in the update.

    Args:
        gram: (seeds, sizes, B, B).
        sizes: micro-batch sizes.
        arm: clipped, control, plain or pruned.
        removed: (seeds, sizes, B) samples that ``pruned`` leaves out.
    """
    seeds, _, batch, _ = gram.shape
    if arm == "pruned":
        kept = (~removed).to(gram)
        return kept / kept.sum(-1, keepdim=True).clamp_min(1)
    plain = torch.full_like(gram[..., 0], 1 / batch)
    if arm == "plain":
        return plain
    clipped = torch.empty_like(plain)
    for index, b in enumerate(sizes):
        blocks = gram[:, index].reshape(seeds, batch // b, b, batch // b, b).sum((2, 4)) / b**2
        norms = blocks.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        factors = norms.amin(1, keepdim=True) / norms.clamp_min(torch.finfo(norms.dtype).tiny)
        clipped[:, index] = factors.repeat_interleave(b, 1) / batch
    if arm == "clipped":
        return clipped

    def squared(weights):
        return torch.einsum("smi,smij,smj->sm", weights, gram, weights).clamp_min(0)

    return plain * (squared(clipped) / squared(plain).clamp_min(torch.finfo(gram.dtype).tiny)).sqrt()[..., None]


def simulate(task, sizes, arm, lr, steps, measure, *, batch=64, l2=0.0, dtype=torch.float32):
    """Train every seed with every size.

    Args:
        task: data and starts; its generators are used up.
        sizes: micro-batch sizes; one will do for plain and pruned, which know none.
        arm: clipped, control, plain or pruned.
        lr: function of the step.
        steps: how many.
        measure: steps before which the gradient over the whole training set is measured, and the accuracy.
        batch: B, samples in a step, drawn with replacement.
        l2: strength of the penalty.
        dtype: of everything.

    Returns:
        A dictionary of arrays: ``steps`` (k,), ``grad_norm`` and ``loss`` over the training set and held-out
        ``accuracy``, (seeds, sizes, k) each; ``weights``, the parameters at the end.
    """
    seeds, copies = len(task.starts), len(sizes)
    nets = Networks(started(task.starts, copies, dtype), l2)
    x, targets = task.x.to(dtype), one_hot(task.labels, task.classes).to(dtype)
    found = {"steps": [], "grad_norm": [], "accuracy": [], "loss": []}
    for step in range(steps + 1):
        if step in measure or step == steps:
            for name, values in zip(("grad_norm", "loss"), whole_set(nets, x, targets, copies), strict=True):
                found[name].append(values.reshape(seeds, copies).double().numpy())
            right = accuracy(nets.layers, task.x_test, task.y_test)
            found["accuracy"].append(right.reshape(seeds, copies).numpy())
            found["steps"].append(step)
        if step == steps:
            break
        chosen = torch.stack([torch.randint(len(x), (batch,), generator=generator) for generator in task.batches])
        error_at = torch.gather(targets, 1, chosen[:, :, None].expand(-1, -1, task.classes))
        inputs, logits = nets.forward(x[chosen].repeat_interleave(copies, 0))
        deltas = nets.back(inputs, logits.softmax(-1) - error_at.repeat_interleave(copies, 0))
        gram = nets.gram(inputs, deltas).reshape(seeds, copies, batch, batch) if arm in ("clipped", "control") else None
        if gram is None:
            gram = torch.empty(seeds, copies, batch, 1, dtype=dtype)
        removed = torch.gather(task.random, 1, chosen)[:, None].expand(-1, copies, -1)
        weights = coefficients(gram, sizes, arm, removed).reshape(seeds * copies, batch) * lr(step)
        for layer, change in zip(nets.layers, nets.gradient(inputs, deltas, weights), strict=True):
            for tensor, by in zip(layer, change, strict=True):
                tensor -= by
    arrays = {name: np.stack(found[name], axis=-1) for name in ("grad_norm", "loss", "accuracy")}
    ends = {"steps": np.array(found["steps"])}
    return arrays | ends | {"weights": nets.layers}


def started(starts, copies, dtype):
    """The layers of all trainings: so many copies of each seed's start."""
    layers = [[torch.stack(each).to(dtype) for each in zip(*one, strict=True)] for one in zip(*starts, strict=True)]
    return [[tensor.repeat_interleave(copies, 0) for tensor in layer] for layer in layers]


def accuracy(layers, x, y):
    """(trainings,) the share of some inputs that trained networks name rightly."""
    weight = layers[0][0]
    logits = Networks(layers).forward(x.to(weight.dtype).expand(len(weight), -1, -1))[1]
    return (logits.argmax(-1) == y).double().mean(1)


def whole_set(nets, x, targets, copies):
    """Norm of the gradient over the training set, and the loss over it."""
    every = x.expand(len(targets) * copies, -1, -1)
    inputs, logits = nets.forward(every)
    wanted = targets.repeat_interleave(copies, 0)
    deltas = nets.back(inputs, logits.softmax(-1) - wanted)
    mean = torch.full(every.shape[:2], 1 / len(x), dtype=x.dtype)
    parts = nets.gradient(inputs, deltas, mean)
    norm = sum(part.square().flatten(1).sum(1) for pair in parts for part in pair).sqrt()
    loss = -(logits.log_softmax(-1) * wanted).sum(-1).mean(-1) + 0.5 * nets.l2 * nets.squares()
    return norm, loss
