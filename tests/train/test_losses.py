import pytest
import torch

from srzoo.train import l1_loss


def test_l1_is_the_mean_absolute_difference_over_all_values():
    sr = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]], requires_grad=True)
    hr = torch.tensor([[[[0.5, 0.0], [0.5, 0.5]]]])
    loss = l1_loss(sr, hr)
    assert loss.item() == pytest.approx((0.5 + 1 + 0 + 0.25) / 4)
    loss.backward()
    assert torch.equal(sr.grad, torch.tensor([[[[-1.0, 1.0], [0.0, -1.0]]]]) / 4)
