"""Constants of the exported graph; it deliberately does not know what they mean."""

import torch
from numpy import ndarray
from torch import nn


def fixed(array: ndarray) -> nn.Parameter:
    """Return a constant of the graph; float32 unless it holds integers."""
    tensor = torch.from_numpy(array)
    return nn.Parameter(tensor.float() if tensor.is_floating_point() else tensor, requires_grad=False)
