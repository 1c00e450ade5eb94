"""The network of the paper's figure 1, what it is trained to do, and how well it separates.

A bidirectional LSTM over the log magnitudes of a short-time Fourier transform gives a mask for each of two speakers, or
an embedding of every bin.

References:
    Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation networks",
    MLSP 2020, arXiv 2007.14469.
    Wang, Le Roux and Hershey, "Alternative objective functions for deep clustering", ICASSP 2018.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019, arXiv 1811.02508.
"""

import torch
from torch import nn

WINDOW, HOP = 256, 64  # 32 ms and 8 ms at 8 kHz
BINS = WINDOW // 2 + 1
SPEAKERS = 2
EMBEDDING = 20
RIDGE = 1e-4


def stft(signals):
    """Short-time Fourier transform with a square-root Hann window: (..., samples) -> (..., frames, 129), complex."""
    window = torch.hann_window(WINDOW, device=signals.device).sqrt()
    flat = signals.reshape(-1, signals.shape[-1])
    spectra = torch.stft(flat, WINDOW, HOP, window=window, return_complex=True).transpose(1, 2)
    return spectra.reshape(*signals.shape[:-1], *spectra.shape[1:])


def istft(spectra, samples):
    """The signals that :func:`stft` came from."""
    window = torch.hann_window(WINDOW, device=spectra.device).sqrt()
    flat = spectra.reshape(-1, *spectra.shape[-2:]).transpose(1, 2)
    return torch.istft(flat, WINDOW, HOP, window=window, length=samples).reshape(*spectra.shape[:-2], samples)


class Separator(nn.Module):
    """Log magnitudes (batch, frames, 129), standardised -> sigmoid masks, or unit embeddings for ``loss="wkm"``."""

    def __init__(self, layers, hidden, loss="mi"):
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is one of {', '.join(LOSSES)}; got {loss!r}.")
        self.loss = loss
        self.recurrent = nn.LSTM(BINS, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, BINS * (SPEAKERS if loss == "mi" else EMBEDDING))
        self.register_buffer("centre", torch.zeros(BINS))
        self.register_buffer("spread", torch.ones(BINS))

    def standardise(self, spectra):
        """Take the scale of each bin's log magnitude from some mixtures."""
        self.spread, self.centre = torch.std_mean(log_magnitude(spectra), dim=(0, 1))

    def forward(self, spectra):
        """Masks (batch, 2, frames, 129) of mixtures (batch, frames, 129); or embeddings (batch, frames * 129, 20)."""
        states, _ = self.recurrent((log_magnitude(spectra) - self.centre) / self.spread)
        values = torch.sigmoid(self.head(states))
        batch, frames = spectra.shape[:2]
        if self.loss == "mi":
            return values.reshape(batch, frames, SPEAKERS, BINS).transpose(1, 2)
        return nn.functional.normalize(values.reshape(batch, frames * BINS, EMBEDDING), dim=-1)


def log_magnitude(spectra):
    return torch.log(spectra.abs() + 1e-3)


def mask_inference(masks, mixture, sources):
    r"""L_MI: distance from the truncated phase-sensitive targets, under the better of the two assignments.

    .. math:: \min_\pi \frac{1}{2 T F} \sum_{s, t, f} | M_{\pi(s)} |X| - T_s |, \qquad
        T_s = \min(\max(|S_s| \cos(\angle S_s - \angle X), 0), |X|)

    Args:
        masks: (batch, 2, frames, 129).
        mixture: (batch, frames, 129), complex.
        sources: (batch, 2, frames, 129), complex.

    Returns:
        The mean over the batch, in the magnitude's own unit: a louder mixture counts for more, as in the paper.
    """
    magnitude = mixture.abs()[:, None]
    projected = (sources * mixture[:, None].conj()).real / magnitude.clamp_min(1e-8)
    targets = projected.clamp_min(0).minimum(magnitude)
    errors = (masks * magnitude)[:, :, None] - targets[:, None]
    distances = errors.abs().mean(dim=(-2, -1))  # (batch, mask, source)
    straight = distances[:, 0, 0] + distances[:, 1, 1]
    crossed = distances[:, 0, 1] + distances[:, 1, 0]
    return torch.minimum(straight, crossed).mean() / SPEAKERS


def whitened_kmeans(embeddings, mixture, sources):
    r"""L_WKM: k-means on whitened embeddings, with bins weighted by their share of the mixture's magnitude.

    .. math:: D - tr((V^T V)^{-1} V^T Y (Y^T Y)^{-1} Y^T V)

    Args:
        embeddings: (batch, frames * 129, D), V before its rows are weighted.
        mixture: (batch, frames, 129), complex.
        sources: (batch, 2, frames, 129), complex; the louder one owns a bin, which is Y.

    Returns:
        The mean over the batch, from D - 2 (each speaker one point) to D.
    """
    magnitude = mixture.abs().flatten(1)
    weights = (magnitude / magnitude.sum(dim=1, keepdim=True).clamp_min(1e-8)).sqrt()[..., None]
    owner = sources.abs().flatten(2).argmax(dim=1)
    v = weights * embeddings
    y = weights * nn.functional.one_hot(owner, SPEAKERS).to(v.dtype)
    dimensions = v.shape[-1]
    vv = v.mT @ v + RIDGE * torch.eye(dimensions, dtype=v.dtype, device=v.device)
    yy = y.square().sum(dim=1).clamp_min(1e-8)  # Y'Y is diagonal: a bin has one owner
    vy = v.mT @ y
    explained = (torch.linalg.solve(vv, vy) * vy).sum(dim=1) / yy
    return dimensions - explained.sum(dim=1).mean()


LOSSES = {"mi": mask_inference, "wkm": whitened_kmeans}


@torch.no_grad()
def separate(model, mixture):
    """Two signals (batch, 2, samples) of mixtures (batch, samples)."""
    spectra = stft(mixture)
    masks = model(spectra) if model.loss == "mi" else _cluster(model(spectra), spectra)
    return istft(masks * spectra[:, None], mixture.shape[-1])


def _cluster(embeddings, spectra):
    """Binary masks: 2-means over the embeddings of the bins within 40 dB of the loudest, then the nearest centre."""
    from sklearn.cluster import KMeans  # a second to load, for one of the two losses

    masks = []
    for points, magnitude in zip(embeddings.cpu(), spectra.abs().flatten(1).cpu(), strict=True):
        loud = magnitude > 0.01 * magnitude.max()
        clusters = KMeans(SPEAKERS, n_init=4, random_state=0).fit(points[loud].double().numpy())
        owner = torch.from_numpy(clusters.predict(points.double().numpy())).long()
        masks.append(nn.functional.one_hot(owner, SPEAKERS).T.reshape(SPEAKERS, *spectra.shape[1:]))
    return torch.stack(masks).to(spectra.device)


def si_sdr(estimates, sources):
    r"""Scale-invariant signal-to-distortion ratio in dB, (...) of signals (..., samples); means are taken off.

    .. math:: 10 \log_{10} \frac{\|\alpha s\|^2}{\|\hat s - \alpha s\|^2}, \qquad \alpha = \hat s^T s / \|s\|^2
    """
    estimates = (estimates - estimates.mean(dim=-1, keepdim=True)).double()
    sources = (sources - sources.mean(dim=-1, keepdim=True)).double()
    scale = (estimates * sources).sum(dim=-1, keepdim=True) / sources.square().sum(dim=-1, keepdim=True).clamp_min(
        1e-12
    )
    target = scale * sources
    noise = (estimates - target).square().sum(dim=-1)
    return 10 * torch.log10(target.square().sum(dim=-1).clamp_min(1e-12) / noise.clamp_min(1e-12))


def best_si_sdr(estimates, sources):
    """The better assignment's mean SI-SDR of each mixture: (batch, 2, samples) twice -> (batch,)."""
    pairs = si_sdr(estimates[:, :, None], sources[:, None])  # (batch, estimate, source)
    straight, crossed = pairs[:, 0, 0] + pairs[:, 1, 1], pairs[:, 0, 1] + pairs[:, 1, 0]
    return torch.maximum(straight, crossed) / SPEAKERS
