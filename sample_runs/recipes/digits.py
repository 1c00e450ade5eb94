"""scikit-learn's digits, for the micro-batch samples: data that need no download."""

import torch
from sklearn.datasets import load_digits

TRAINING, CLASSES = 1437, 10


def split_digits():
    """The 1,797 digits of 8 x 8 pixels in [0, 1], 360 of them held out.

    Returns:
        Training inputs and labels; held-out inputs and labels.
    """
    data = load_digits()
    pixels, targets = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    train, test = order[:TRAINING], order[TRAINING:]
    return pixels[train], targets[train], pixels[test], targets[test]
