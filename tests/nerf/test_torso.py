"""The torso: it learns, its pose numbers are angles, it is deterministic behind a given head."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch
from puppet import SHIRT, puppet
from scipy.spatial.transform import Rotation

from geneface_kit.nerf import torso_motion
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.config import AvatarConfig, HeadConfig, TorsoConfig
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.grid_head import GridField
from geneface_kit.nerf.renderer import HeadImage, HeadRenderer
from geneface_kit.nerf.torso import TorsoField, TorsoTask, euler, unit_pixels
from geneface_kit.nerf.vanilla import positional_encoding
from geneface_kit.person import camera
from geneface_kit.person.segmentation import SURE_NOT
from geneface_kit.person.spans import ONE
from geneface_kit.render.fused import has_amx
from geneface_kit.runs import training

SMALL = TorsoConfig(
    steps=120, n_pixels=1024, n_head_frames=4, n_levels=5, finest=32, log2_rows=10, hidden=16,
    precision="float32", lr_grid=3e-2, lr_network=1e-2,
)  # fmt: skip


def untrained_head(n_train: int) -> HeadRenderer:
    torch.manual_seed(0)
    config = HeadConfig(
        hidden=16, condition=8, attention_frames=1, n_levels=4, finest=32, log2_rows=10,
        occupancy=8, step_length=0.3, precision="float32",
    )  # fmt: skip
    return HeadRenderer(GridField(config, n_train).train(False))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    dataset, generator = RayDataset(puppet()), torch.Generator().manual_seed(0)
    task = TorsoTask.make(SMALL, dataset, untrained_head(dataset.n_train), generator)
    folder = tmp_path_factory.mktemp("torso")
    history = training.fit(task, folder, name="torso", steps=SMALL.steps, generator=generator)
    return task, history


def shown(field: TorsoField, pose: torch.Tensor, head: HeadImage):
    renderer = HeadRenderer(untrained_head(20).trained, AvatarConfig(exact=True))
    return Avatar(renderer, field, torch.zeros(32, 32, 3), 50.0).torso_image(head, pose)


def nothing(size: int) -> HeadImage:
    return HeadImage(
        torch.zeros(size, size, 3), torch.zeros(size, size), torch.zeros(size, size), 0
    )


def test_training_lowers_the_loss(trained):
    _, history = trained
    image = [row["image"] for row in history.rows if "image" in row]
    assert np.mean(image[-10:]) < 0.2 * np.mean(image[:5])


def test_the_shirt_is_where_the_shirt_is(trained):
    task, _ = trained
    colour, alpha = shown(task.field, task.dataset.poses[0], nothing(32))
    assert float(alpha[28].mean()) > 0.8 and float(alpha[:16].max()) < 0.15
    seen = colour[28].mean(0) / alpha[28].mean()
    np.testing.assert_allclose(seen.numpy(), np.array(SHIRT) / 255, atol=0.1)


def test_inference_is_deterministic(trained):
    task, _ = trained
    first = shown(task.field, task.dataset.poses[1], nothing(32))
    second = shown(task.field, task.dataset.poses[1], nothing(32))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_torso_knows_the_head_only_when_asked_to():
    head = nothing(32)
    lit = dataclasses.replace(head, alpha=torch.ones(32, 32))
    for aware in (True, False):
        torch.manual_seed(0)
        field = TorsoField(dataclasses.replace(SMALL, head_aware=aware), 20, 32).train(False)
        changed = not torch.equal(
            shown(field, torch.eye(4), head)[0], shown(field, torch.eye(4), lit)[0]
        )
        assert changed == aware


def test_heads_are_held_a_few_at_a_time_and_renewed():
    """As in profile paper: every update trains on one more frame, whatever their number."""
    dataset, generator = RayDataset(puppet()), torch.Generator().manual_seed(0)
    config = dataclasses.replace(SMALL, n_head_frames=2, renew_every=1)
    head = HeadRenderer(untrained_head(dataset.n_train).trained, AvatarConfig(exact=True))
    task = TorsoTask.make(config, dataset, head, generator)
    seen = [(task.step(index, generator), task.frames.clone())[1] for index in range(5)]
    assert task.heads.shape == (2, 32, 32, 4) and task.heads.dtype == torch.uint8
    changed = [(a != b).sum().item() for a, b in zip(seen[:-1], seen[1:], strict=True)]
    assert max(changed) == 1 and sum(changed) >= 3  # a draw may repeat the old one
    held, again = task.heads.clone(), TorsoTask.make(config, dataset, head, generator)
    vars(again).update({name: getattr(task, name) for name in task.kept})  # as a restart does
    again.step(0, generator)
    assert torch.equal(again.heads, held)


def test_angles_of_a_known_rotation():
    # a turn by 0.3 about x then, seen from there, 0.2 about y: R = Rx Ry
    cx, sx, cy, sy = math.cos(0.3), math.sin(0.3), math.cos(0.2), math.sin(0.2)
    rx = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rx @ ry, torch.tensor([1.0, 2.0, 3.0])
    found = euler(pose[None])[0].tolist()
    assert found == pytest.approx([0.3, 0.2, 0.0, 1.0, 2.0, 3.0], abs=1e-6)


def test_waves_and_pixels_by_hand():
    found = positional_encoding(torch.tensor([[0.5]]), 2)[0].tolist()
    expected = [0.5, math.sin(0.5), math.cos(0.5), math.sin(1.0), math.cos(1.0)]
    assert found == pytest.approx(expected)
    assert unit_pixels(torch.tensor([[0, 255]]), 256)[0].tolist() == pytest.approx([-1.0, 1.0])


def moving_shirt():
    """The puppet with a speckled shirt that follows the head by 6 pixels per inter-ocular
    distance; and by how much, (t, 2) pixels."""
    person = puppet()
    size, rng = 96, np.random.default_rng(0)
    speckle = cv2.GaussianBlur(rng.random((160, 160, 3)).astype(np.float32), (0, 0), 2.5)
    speckle = np.uint8(255 * (speckle - speckle.min()) / np.ptp(speckle))
    place = torso_motion.pose_features(torch.from_numpy(person.poses)).numpy()[:, 3:5] * (6, -6)
    frames, labels, torso = (np.zeros((len(place), size, size, c), np.uint8) for c in (3, 1, 4))
    labels[:, 40:] = 3
    for t, (x, y) in enumerate(place):
        move = np.array([[1, 0, 32 - x], [0, 1, 32 - y]], np.float32)
        frames[t] = cv2.warpAffine(speckle, move, (size, size), flags=cv2.WARP_INVERSE_MAP | 1)
    torso[..., :3], torso[:, 40:, :, 3] = frames, 255
    background = np.zeros((size, size, 3), np.uint8)
    parts = {"frames": frames, "labels": labels[..., 0], "torso": torso, "background": background}
    parts["kinds"] = np.full_like(parts["labels"], SURE_NOT)
    return dataclasses.replace(person, size=size, **parts), place


def test_the_shift_of_a_torso_is_measured():
    person, place = moving_shirt()
    frames = np.arange(len(place))
    found = torso_motion.measure(person, frames)
    np.testing.assert_allclose(found, place - place[len(place) // 2], atol=0.1)


def test_a_torso_is_found_again_where_the_next_clip_sits_elsewhere():
    """14 pixels away: tracking that starts where the last clip ended may not get there."""
    person, place = moving_shirt()
    frames, points = person.frames.copy(), person.landmarks2d.copy()
    frames[11:] = np.roll(frames[11:], 14, axis=2)
    frames[11:, :, :14] = frames[11:, :, 14:15]
    points[11:] += (14, 0)
    person = dataclasses.replace(person, frames=frames, landmarks2d=points, spans=np.array([0, 11]))
    found = torso_motion.measure(person, np.arange(len(place)))
    place = place + np.where(np.arange(len(place)) >= 11, 14, 0)[:, None] * (1, 0)
    np.testing.assert_allclose(found, place - place[16], atol=0.2)  # the middle of the second


def test_slow_drift_of_the_shoulders_does_not_cross_a_joint():
    shifts = np.zeros((40, 2), np.float32)
    shifts[20:] = 1.0
    predicted = np.zeros((40, 2), np.float32)
    apart = torso_motion.track(shifts, predicted, 40, np.array([0, 20]))
    assert np.abs(apart - shifts).max() < 1e-6
    assert np.abs(torso_motion.track(shifts, predicted, 40, ONE) - shifts).max() > 0.2


def test_the_pose_predicts_the_shift_of_frames_that_were_not_measured():
    person, place = moving_shirt()
    _, weights = torso_motion.learn(person, 14)
    features = torso_motion.pose_features(torch.from_numpy(person.poses[14:]))
    found = (features @ weights[:6] + weights[6]) * (person.size - 1) / 2
    np.testing.assert_allclose(found, place[14:] - place[:14].mean(0), atol=0.15)


def test_pose_features_are_the_turn_and_place_of_the_head():
    vectors = np.random.default_rng(1).normal(0, 0.4, (5, 3))
    places = np.random.default_rng(2).normal(0, 1, (5, 3)) - (0, 0, 7)
    poses = camera.pose_from_head(Rotation.from_rotvec(vectors).as_matrix(), places)
    found = torso_motion.pose_features(torch.from_numpy(poses).float())
    np.testing.assert_allclose(found, np.concatenate([vectors, places], 1), atol=1e-5)


def test_where_a_torso_is_lost_the_pose_tells(caplog):
    person, place = moving_shirt()
    blank = person.frames.copy()
    blank[[4, 5]] = 128
    person = dataclasses.replace(person, frames=blank)
    shifts, _ = torso_motion.learn(person, 14)
    shifts = shifts.numpy() * (person.size - 1) / 2
    assert "could not be followed in 2 frames" in caplog.text
    mean = place[[k for k in range(14) if k not in (4, 5)]].mean(0)
    np.testing.assert_allclose(shifts, place - mean, atol=0.3)


def test_a_torso_without_texture_is_bent_by_the_pose(caplog):
    person = puppet()
    assert np.isnan(torso_motion.measure(person, np.arange(6))).all(1).sum() == 5
    assert torso_motion.learn(person, 6) == (None, None)
    assert "could not be followed" in caplog.text
    dataset = RayDataset(person)
    config = dataclasses.replace(SMALL, follow_pose=True)
    task = TorsoTask.make(config, dataset, untrained_head(dataset.n_train), torch.Generator())
    assert task.shifts is None and not task.field.config.follow_pose
    assert not task.field.shift_map.any()


def test_no_viewpoint_throws_the_torso_away():
    field = TorsoField(SMALL, 20, 32)
    field.shift_map.fill_(1.0)
    field.shift_limit.fill_(0.1)
    assert field.predicted_shift(10 * torch.eye(4)[None]).abs().max() <= 0.1


def test_a_pose_moves_the_torso_and_does_not_paint_it():
    field = TorsoField(SMALL, 20, 32).train(False)
    for layer in field.deform_net.layers:
        layer.weight.data.zero_()
    pose = torch.eye(4)
    pose[0, 3] = 2.0
    first, second = (shown(field, where, nothing(32))[0] for where in (torch.eye(4), pose))
    assert torch.equal(first, second)


def test_a_person_without_torso_gets_one_sentence():
    person = puppet()
    dataset = RayDataset(dataclasses.replace(person, torso=np.zeros_like(person.torso)))
    with pytest.raises(ValueError, match="no torso pixel"):
        TorsoTask.make(SMALL, dataset, untrained_head(dataset.n_train), torch.Generator())


def test_slow_drift_is_followed_and_noise_is_not():
    """Right and left: a slow drift under small noise. Up and down: noise alone."""
    frames = np.arange(300)
    drift = 0.05 * np.sin(frames / 40)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(300, 2))
    shifts = noise.astype(np.float32)
    shifts[:, 0] += drift.astype(np.float32)
    found = torso_motion.track(shifts, np.zeros((300, 2), np.float32), 270, ONE)
    assert np.abs(found[:, 0] - drift).max() < 0.02
    assert np.corrcoef(found[:, 0], drift)[0, 1] > 0.99
    assert np.abs(found[:, 1]).max() < 1e-3


def test_a_torso_of_many_patterns_is_drawn_without_the_one_pass():
    field = TorsoField(dataclasses.replace(SMALL, appearance_channels=12), 20, 32)
    renderer = HeadRenderer(untrained_head(20).trained, AvatarConfig())
    avatar = Avatar(renderer, field, torch.zeros(32, 32, 3), 50.0)
    assert field.baked() is None
    colour, alpha = avatar.torso_image(nothing(32), puppet().poses[0])
    assert bool(torch.isfinite(colour).all()) and float(alpha.max()) > 0


@pytest.mark.parametrize("follow_pose", [True, False])
@pytest.mark.parametrize("amx", [False, True])
@torch.no_grad()
def test_a_torso_in_one_pass_is_the_torso(amx, follow_pose):
    if amx and not has_amx():
        pytest.skip("no AMX")
    torch.manual_seed(0)
    precision = "bfloat16" if amx else "float32"
    config = dataclasses.replace(SMALL, precision=precision, follow_pose=follow_pose)
    field = TorsoField(config, 20, 32).train(False)
    field.grid.table.normal_(std=0.5)
    field.shift_limit.fill_(0.1)
    for layer in [*field.deform_net.layers[-1:], *field.colour_net.layers]:
        layer.weight.mul_(3)  # fresh networks hardly tell pixels apart
    pixels = torch.randint(0, 32, (37, 2))  # two full packets and five pixels
    head = torch.rand(32, 32, 4)
    pose, appearance = torch.eye(4)[None], field.appearance.mean(0, keepdim=True)
    shifts = torch.tensor([[0.03, -0.02]])
    given = field.of_picture(pose, appearance, 32, shifts)
    found = field.baked()(pixels, *given, head[..., :3], head[..., 3])
    assert field.baked()(pixels[:0], *given, head[..., :3], head[..., 3]).shape == (0, 4)
    field.dtype = torch.float32
    seen = head[pixels[:, 1], pixels[:, 0]]
    colour, alpha = field(unit_pixels(pixels, 32), pose, appearance, seen, None, shifts)
    expected = torch.cat([colour * alpha[:, None], alpha[:, None]], dim=1)
    # float32: other orders of sums; bfloat16: eight bits through nine layers and a table
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05 if amx else 1e-4)
    assert float(expected.std()) > 0.05
