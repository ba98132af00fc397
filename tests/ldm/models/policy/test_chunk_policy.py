"""Laws of the chunk policy: relative actions, scales that travel, missing actions without weight, modes that agree."""

from dataclasses import replace

import pytest
import torch

from commands.errors import UserError
from formats.prepared_episodes import Statistics
from ldm.models.policy.chunk_policy import ChunkPolicy, as_batch
from ldm.modules.policy.networks import POSE

D, K, N = 14, 4, 2
TEXT = {
    "target": "ldm.modules.encoders.modules.ByteTextEmbedder",
    "params": {"width": 8, "layers": 1, "heads": 2, "max_length": 24},
}
SIZES = {"state": 2 * D, "text": 8, "actions": D, "chunk": K, "objects": N}
NETWORKS = {
    "state": {"target": "ldm.modules.policy.networks.StateNetwork", "params": {**SIZES, "hidden": 16, "layers": 1}},
    "vision": {
        "target": "ldm.modules.policy.networks.VisionNetwork",
        "params": {
            "encoders": {"head": {"channels": 8, "keypoints": 4, "blocks": 1, "values": 2}},
            "cameras": {"head": "head"},
            **SIZES,
            "hidden": 16,
            "layers": 1,
        },
    },
}


def make_policy(network: str = "vision", **changes) -> ChunkPolicy:
    torch.manual_seed(0)
    options = {"learning_rate": 1e-3, "state_size": D, "chunk": K, "execute": 2, "cameras": {"head": 16}, "objects": N}
    options |= {"object_weight": 1.0, "ema_decay": 0.99, **changes}
    return ChunkPolicy(NETWORKS[network], TEXT, **options)


def make_statistics(chunk: int = K, **changes) -> Statistics:
    rows = [[0.1 * (step + 1)] * D for step in range(chunk)]
    return replace(
        Statistics([0.5] * D, [2.0] * D, [0.0] * D, [1.0] * D, True, rows, rows, [0.0] * D, [1.0] * D, 3, 30), **changes
    )


def scales() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(N, POSE), torch.ones(N, POSE)


def make_batch(batch: int = 3) -> dict:
    generator = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    return {
        "frames": {"head": rand(batch, 3, 16, 16)},
        "command": rand(batch, D),
        "measured": rand(batch, D),
        "actions": rand(batch, K, D),
        "action_valid": torch.ones(batch, K, dtype=torch.bool),
        "objects": rand(batch, N, POSE),
        "object_valid": torch.ones(batch, N, dtype=torch.bool),
        "instruction": ["stack blocks"] * batch,
    }


def test_joints_are_off_in_mrad_without_grippers_and_objects_in_cm():
    policy, batch = make_policy(), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    targets, objects = batch["actions"] + 0.003, batch["objects"].clone()
    targets[..., 6::7] += 1.0
    objects[..., 1] += 0.02
    assert float(policy.joints_off_mrad(targets, batch)) == pytest.approx(3.0, rel=1e-3)
    assert float(policy.objects_off_cm(objects, batch)) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_predicted_is_the_command_and_a_scaled_change(network):
    policy, batch = make_policy(network), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    change = policy.predict(batch) - batch["command"][:, None]
    torch.testing.assert_close(change, policy.plan(batch).actions * policy.action_std + policy.action_mean)
    seen = as_batch({"head": torch.zeros(3, 16, 16)}, [0.0] * D, [0.0] * D, "stack blocks")
    if network == "vision":
        assert policy.predict(seen).shape == (1, K, D), "a batch of one is what is seen now"


def test_a_perfect_plan_has_no_loss_and_a_missing_action_no_weight():
    policy, batch = make_policy("state"), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    batch["actions"] = policy.predict(batch).detach()
    assert policy.losses(batch).loss < 1e-5
    batch["actions"][:, 2:] += 100.0
    batch["action_valid"][:, 2:] = False
    assert policy.losses(batch).loss < 1e-5
    batch["action_valid"][:] = False
    result = policy.losses(batch)
    assert result.loss == 0 and result.loss.requires_grad, "every parameter stays in the graph"


def test_objects_that_are_absent_have_no_weight():
    policy, batch = make_policy(), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    batch["object_valid"][:, 1] = False
    first = policy.losses(batch).objects
    batch["objects"][:, 1] = 9.0
    assert policy.losses(batch).objects == first, "an absent one is to be told as zeros, whatever stands in its place"
    batch["object_valid"][:] = False
    assert policy.losses(batch).objects == 0, "real episodes have no objects that are known"
    assert make_policy(object_weight=0.0).losses(batch).objects is None


def test_windows_without_pictures_teach_the_actions_and_not_the_eyes():
    """They are told where the objects are; each kind of window has a mean of its own."""
    policy, batch = make_policy(object_weight=0.0), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    more = {name: value for name, value in make_batch(6).items() if name != "frames"}
    alone = policy.losses(batch).loss
    policy.losses(batch | {"more": more}).loss.backward()
    assert policy.losses(batch | {"more": more}).loss > alone
    network = policy.model["network"]
    assert all(p.grad is not None for p in network.act.parameters())
    assert all(p.grad is None for p in network.encoders.parameters())


def test_scales_travel_with_the_weights_and_those_of_other_data_are_refused():
    policy = make_policy()
    policy.learn_statistics(make_statistics(), scales())
    other = make_policy()
    other.load_state_dict(policy.state_dict())
    other.learn_statistics(make_statistics(), scales())
    with pytest.raises(UserError, match="scales of other data"):
        other.learn_statistics(make_statistics(state_mean=[0.6] * D), scales())


@pytest.mark.parametrize(
    ("settings", "statistics", "says"),
    [
        ({}, {"state_mean": [0.0] * 7}, "states of 7 numbers"),
        ({}, {"relative": False}, "--actions targets"),
        ({"execute": 9}, {}, "execute: 9 of a chunk of 4"),
        ({"chunk": 9}, {}, "network_config: its shape is"),
    ],
)
def test_what_does_not_fit_is_one_sentence(settings, statistics, says):
    with pytest.raises(UserError, match=says):
        make_policy(**settings).learn_statistics(make_statistics(**statistics), scales())


def test_the_average_predicts_inside_its_scope():
    policy, batch = make_policy(), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    before = policy.predict(batch)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.1)
    with policy.ema_scope():
        torch.testing.assert_close(policy.predict(batch), before)
    assert not torch.allclose(policy.predict(batch), before)


def test_a_sentence_means_the_same_whatever_stands_beside_it():
    """Each sentence of a batch is embedded once."""
    policy, batch = make_policy("state"), make_batch()
    policy.learn_statistics(make_statistics(), scales())
    mixed = batch | {"instruction": ["stack blocks", "hand over the block", "stack blocks"]}
    alone, together = policy.predict(batch), policy.predict(mixed)
    torch.testing.assert_close(together[[0, 2]], alone[[0, 2]])
    assert not torch.allclose(together[1], alone[1])
