"""Laws of stages: several cameras begin as one, what goes over is said, another size is refused."""

from pathlib import Path

import pytest
import torch

from commands.errors import UserError
from ldm.models.joint.prediction import predict
from ldm.models.joint.stages import init_from

FILE = Path("last.ckpt")
VIDEO = {"action": None, "levels": {"shares": {"video": 1.0}}}


def test_several_cameras_begin_as_one_to_the_bit(make_joint, make_joint_batch):
    """Stage 2's first frames of stage 1's camera are stage 1's; what the adapters learn changes them."""
    first = make_joint({"action": None, "adapters": False}, cameras=("head",), **VIDEO)
    second, batch = make_joint({"action": None}, **VIDEO), make_joint_batch()
    report = init_from(second, first.state_dict(), FILE)
    assert not report.dropped and any("exchange" in name for name in report.new)
    expected = predict(first, batch, "video", range(3)).frames["head"]
    assert torch.equal(predict(second, batch, "video", range(3)).frames["head"], expected)
    with torch.no_grad():
        second.network.exchange[0].exchange.to_out[0].weight.fill_(0.1)
    assert not torch.equal(predict(second, batch, "video", range(3)).frames["head"], expected)


def test_actions_are_new_in_the_third_stage_and_the_average_goes_over(make_joint):
    second, third = make_joint({"action": None}, **VIDEO), make_joint()
    with torch.no_grad():
        for mean in second.model_ema.average.parameters():
            mean.add_(1.0)
    report = init_from(third, second.state_dict(), FILE)
    assert all("action" in name or "read_state" in name or "object" in name or "stat" in name for name in report.new)
    weight = second.model_ema.average["network"].layers[0].ff[0].weight
    assert torch.equal(third.network.layers[0].ff[0].weight, weight)
    assert torch.equal(third.model_ema.average["network"].layers[0].ff[0].weight, weight)
    assert "new" in str(report) and "network.action" in str(report) and "last.ckpt" in str(report)


def test_other_sizes_and_other_models_are_one_sentence_and_touch_nothing(make_joint):
    model = make_joint()
    before = model.network.layers[0].ff[0].weight.clone()
    wide = make_joint({"stream": {"width": 32, "heads": 2, "head_channels": 8, "depth": 2, "adapters": 8}})
    with pytest.raises(
        UserError, match="another size: .* tensors have another shape, first .*overlay of configs/joint"
    ):
        init_from(model, wide.state_dict(), FILE)
    with pytest.raises(UserError, match="holds no model of video and action"):
        init_from(model, {"model.diffusion_model.out.weight": torch.zeros(1)}, FILE)
    assert torch.equal(model.network.layers[0].ff[0].weight, before)


def test_scales_of_other_data_are_refused(make_joint):
    from tests.ldm.models.policy.test_chunk_policy import make_statistics, scales

    third = make_joint(statistics=False)
    init_from(third, make_joint().state_dict(), FILE)
    with pytest.raises(UserError, match="scales of other data"):
        third.learn_statistics(make_statistics(state_mean=[0.7] * 14), scales())
