"""What several test files of this room use."""

import pytest
import torch


@pytest.fixture
def cases():
    """Logits (n, 4) that are too sure by a factor of 2.5, and labels drawn from the honest ones."""
    torch.manual_seed(3)
    honest = torch.randn(4000, 4, dtype=torch.float64) * 1.5
    labels = torch.multinomial(honest.softmax(1), 1)[:, 0]
    return honest * 2.5, labels
