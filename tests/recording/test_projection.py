"""Inner products survive the projection, without bias and with the variance that theory gives."""

import numpy as np
import pytest
import torch
from nets import NoCopies

from gradlens.recording import projection
from gradlens.recording.projection import project

CPU = torch.device("cpu")
WORD = 1 << 64


def mixed(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % WORD
    return x ^ (x >> 31)


def naive(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Entry by entry, in whole numbers without a sign."""
    golden = 0x9E3779B97F4A7C15
    found = np.zeros((len(rows), k))
    for index in range(rows.shape[1]):
        drawn = mixed(((index + 1) * golden + mixed(seed * golden % WORD)) % WORD)
        found[:, drawn % (WORD // 2) % k] += rows[:, index] * (-1 if drawn >= WORD // 2 else 1)
    return found


@pytest.mark.parametrize("seed", [0, 7, 123_456_789])
def test_is_what_the_naive_twin_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_PIECE", 11)
    parts = [torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 1), torch.randn(3, 30)]
    whole = torch.cat([part.reshape(3, -1).double() for part in parts], dim=1)
    found = project(parts, 8, seed, CPU)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(naive(whole.numpy(), 8, seed), abs=1e-12)


def test_inner_products_are_unbiased_with_the_known_variance() -> None:
    rng = np.random.default_rng(0)
    k, seeds = 16, 2000
    x, y = rng.standard_normal(120), rng.standard_normal(120) + 0.3
    y[:3] = 4.0
    rows = torch.from_numpy(np.stack([x, y]))
    found = np.array([(lambda p: float(p[0] @ p[1]))(project([rows], k, seed, CPU)) for seed in range(seeds)])
    variance = ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 * y**2).sum()) / k
    assert abs(found.mean() - x @ y) < 3 * np.sqrt(variance / seeds)
    assert found.var() == pytest.approx(variance, rel=0.1)
    errors = found - x @ y
    assert abs(np.corrcoef(errors[:-1], errors[1:])[0, 1]) < 3 / np.sqrt(seeds)  # seeds in a row are independent


def test_a_thousand_dimensions_keep_inner_products_to_three_per_cent() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 200_000, generator=generator) + 0.1 * torch.randn(200_000, generator=generator)
    small = project([rows], 1024, 3, CPU)
    norms = rows.norm(dim=1)
    errors = (small @ small.T - rows @ rows.T) / (norms[:, None] * norms)
    assert errors.square().mean().sqrt().item() == pytest.approx(1 / 32, rel=0.15)
    assert errors.abs().max().item() < 6 / 32


def test_few_entries_come_back_as_they_are() -> None:
    parts = [torch.randn(2, 3), torch.randn(2, 2, 2, dtype=torch.float16)]
    found = project(parts, 7, 0, CPU)
    assert torch.equal(found, torch.cat([parts[0], parts[1].float().reshape(2, 4)], dim=1))
    assert project(parts, 6, 0, CPU).shape == (2, 6)


def test_complex_gradients_keep_the_real_inner_product() -> None:
    rows = torch.view_as_complex(torch.randn(2, 5, 2))
    found = project([rows], 100, 0, CPU)
    assert (found @ found.T).numpy() == pytest.approx((rows @ rows.conj().T).real.numpy(), rel=1e-5)


def test_no_random_state_is_touched_and_nothing_read() -> None:
    state = torch.get_rng_state()
    project([torch.ones(2, 50)], 8, 1, CPU)
    assert torch.equal(state, torch.get_rng_state())
    with NoCopies():
        found = project([torch.ones(2, 50, device="meta")], 8, 1, torch.device("meta"))
    assert (found.shape, found.device.type) == ((2, 8), "meta")
