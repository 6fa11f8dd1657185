"""The head: it learns, follows the mouth, is deterministic, and refuses what it cannot use."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from puppet import faces, puppet

from geneface_kit.nerf.config import AvatarConfig, HeadConfig
from geneface_kit.nerf.dataset import RayDataset, windows_of
from geneface_kit.nerf.grid_head import GridField
from geneface_kit.nerf.head import ConditionNet
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.nerf.renderer import HeadImage, HeadRenderer
from geneface_kit.runs import training, weights

SMALL = HeadConfig(
    steps=150, n_samples=3000, n_frames=4, hidden=16, condition=8, attention_frames=1,
    n_levels=6, finest=32, log2_rows=10, occupancy=16, step_length=0.15, precision="float32",
    lr_grid=3e-2, lr_network=1e-2,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A head after a few seconds of training on the puppet, and its history."""
    generator = torch.Generator().manual_seed(0)
    task = HeadTask.make(SMALL, RayDataset(puppet()), generator)
    folder = tmp_path_factory.mktemp("head")
    history = training.fit(task, folder, name="head", steps=SMALL.steps, generator=generator)
    return task, history


def image_of(task: HeadTask, opening: float) -> HeadImage:
    return shot(task.field, task.dataset, opening)


def shot(field: GridField, dataset: RayDataset, opening: float) -> HeadImage:
    window = torch.from_numpy(faces(np.array([opening], np.float32)))
    renderer = HeadRenderer(field, AvatarConfig(tolerance=0.0))
    return renderer.image(window, dataset.poses[0], dataset.focal, dataset.size)


def test_training_lowers_the_loss(trained):
    _, history = trained
    image = [row["image"] for row in history.rows if "image" in row]
    assert np.mean(image[-10:]) < 0.25 * np.mean(image[:5])


def test_held_out_frames_are_recognised(trained):
    task, _ = trained
    assert task.validate(0)["head_psnr"] > 18


def test_the_mouth_follows_the_landmarks(trained):
    task, _ = trained
    x0, y0, x1, y1 = task.dataset.lip_rects[0].tolist()
    wide, shut = (image_of(task, opening).colour[y0:y1, x0:x1] for opening in (0.6, 0.05))
    assert float(shut.mean() - wide.mean()) > 0.1  # an open mouth is dark


def test_opacity_is_the_head(trained):
    task, _ = trained
    alpha = image_of(task, 0.6).alpha.numpy()
    label = task.dataset.person.labels[0] == 1
    assert alpha[label].mean() > 0.85 and alpha[~label].mean() < 0.1


def test_inference_is_deterministic(trained):
    task, _ = trained
    first, second = image_of(task, 0.3), image_of(task, 0.3)
    assert torch.equal(first.colour, second.colour) and torch.equal(first.depth, second.depth)
    assert first.n_samples == second.n_samples > 0


def test_depth_is_the_distance_to_the_head(trained):
    task, _ = trained
    image = image_of(task, 0.3)
    solid = image.alpha > 0.9
    assert 5.0 < float(image.depth[solid].mean()) < 9.0  # the camera is 7 in front
    assert not image.depth[image.alpha == 0].any()


def test_weights_survive_a_file(trained, tmp_path):
    task, _ = trained
    weights.save_weights(tmp_path / "head.safetensors", task.field, person="puppet")
    other = GridField(SMALL, task.dataset.n_train)
    weights.load_weights(tmp_path / "head.safetensors", other, person="puppet")
    other.train(False)
    assert torch.equal(shot(other, task.dataset, 0.4).colour, image_of(task, 0.4).colour)


def test_a_killed_training_resumes_exactly(tmp_path, monkeypatch):
    def task(generator):
        return HeadTask.make(SMALL, RayDataset(puppet()), generator)

    whole_generator = torch.Generator().manual_seed(3)
    whole = task(whole_generator)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    training.fit(whole, tmp_path / "a", name="head", steps=24, generator=whole_generator)
    generator = torch.Generator().manual_seed(3)
    cut = task(generator)
    step = cut.step

    def dying(index, generator):
        if index == 17:
            raise RuntimeError("killed")
        return step(index, generator)

    cut.step = dying
    options = {"name": "head", "steps": 24}
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    with pytest.raises(RuntimeError):
        training.fit(cut, tmp_path / "b", generator=generator, **options)
    resumed_generator = torch.Generator().manual_seed(99)
    resumed = task(resumed_generator)
    training.fit(resumed, tmp_path / "b", generator=resumed_generator, **options)
    for name, value in whole.field.state_dict().items():
        assert torch.equal(value, resumed.field.state_dict()[name]), name


def test_zero_weights_switch_losses_off():
    dataset = RayDataset(puppet())
    off = {
        "entropy_weight": 0.0,
        "ambient_weight": 0.0,
        "depth_variance_weight": 0.0,
        "lips_weight": 0.0,
    }
    config = dataclasses.replace(SMALL, lips_stage=1.0, **off)
    task = HeadTask.make(config, dataset, torch.Generator().manual_seed(0))
    losses = task.step(10, torch.Generator().manual_seed(0))
    assert losses["loss"] == losses["image"]


def test_the_lips_come_first_in_the_last_updates():
    config = dataclasses.replace(
        SMALL, steps=10, lip_share=0.4, lips_stage=0.4, lips_stage_share=0.7
    )
    task = SimpleNamespace(config=config, lips_from=6.0)
    shares = [HeadTask.shares(task, k) for k in range(10)]
    assert shares[:6] == 6 * [(0.4, 0.3)]
    assert np.allclose(shares[6:], 4 * [(0.7, 0.15)])


def test_windows_repeat_the_ends():
    landmarks = torch.arange(4.0)[:, None, None].expand(4, 68, 3)
    windows = windows_of(landmarks, torch.tensor([0, 3]), 5)
    assert windows[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 2], [1, 2, 3, 3, 3]]


def test_windows_do_not_see_over_a_joint():
    person = dataclasses.replace(puppet(), spans=np.array([0, 9]))
    dataset = RayDataset(person)
    config = dataclasses.replace(SMALL, attention_frames=5)
    seen = dataset.windows(torch.tensor([8, 9, 20]), config)
    expected = [[6, 7, 8, 8, 8], [9, 9, 9, 10, 11], [18, 19, 20, 21, 21]]
    assert torch.equal(seen, dataset.landmarks[torch.tensor(expected)])


def test_condition_of_a_still_face_is_that_of_one_frame():
    # attention weights sum to one, so equal frames give their common code
    torch.manual_seed(0)
    net = ConditionNet(204, 8, 5)
    frame = torch.randn(1, 1, 204)
    still = net(frame.expand(1, 5, 204))
    alone = net.project(net.encode(frame.view(1, 204, 1))[..., 0])
    torch.testing.assert_close(still, alone)


def test_lips_never_see_a_frames_appearance(trained):
    task, _ = trained
    pixels = task.dataset.draw(4, 64, (1.0, 0.0), torch.Generator().manual_seed(0))
    assert bool(pixels.in_lips.all())
    rays = task.dataset.rays(pixels)
    with torch.no_grad():
        before = task.field.render(rays, task.field_of(pixels), torch.zeros(len(pixels.at))).colour
        kept = task.field.appearance.clone()
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(1))
        task.field.appearance += noise - noise.mean(0)  # the mean stays
        after = task.field.render(rays, task.field_of(pixels), torch.zeros(len(pixels.at))).colour
        task.field.appearance.copy_(kept)
    torch.testing.assert_close(before, after)


def test_a_wide_mouth_is_drawn_far_more_often_than_it_is_seen_and_a_hidden_one_never():
    person = puppet()
    found = np.arange(len(person.frames)) > 1
    landmarks = faces(np.full(len(person.frames), 0.05, np.float32))
    landmarks[3:6] = faces(np.full(3, 0.6, np.float32))
    dataset = RayDataset(dataclasses.replace(person, landmarks=landmarks, found=found))
    pixels = dataset.draw(400, 1600, (0.0, 0.0), torch.Generator().manual_seed(0))
    drawn = pixels.frames.numpy()
    assert 0.27 < np.isin(drawn, (3, 4, 5)).mean() < 0.4  # 3 of 19 frames
    assert set(drawn) == set(dataset.usable.tolist()) == set(range(2, dataset.n_train))


@pytest.mark.parametrize("per_frame", [5, 25, 65])
def test_shares_that_fill_a_frame_are_rounded_to_its_pixels(per_frame):
    dataset = RayDataset(puppet())
    pixels = dataset.draw(2, 2 * per_frame, (0.7, 0.3), torch.Generator().manual_seed(0))
    assert len(pixels.at) == len(pixels.frame_of_pixel) == 2 * per_frame


def test_what_closed_lips_hide_is_still_looked_at():
    task = HeadTask.make(SMALL, RayDataset(puppet()), torch.Generator().manual_seed(0))
    occupancy, generator = task.field.occupancy, torch.Generator().manual_seed(0)
    occupancy.visible.zero_()
    occupancy.density.fill_(1e4)  # no light gets in
    task.update_occupancy(generator)
    kept = occupancy.visible.view(-1)[task.mouth]
    assert task.mouth.any() and bool((kept == 1).all())


def test_bad_persons_get_one_sentence():
    person = puppet()
    poses = person.poses.copy()
    poses[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite poses"):
        RayDataset(dataclasses.replace(person, poses=poses))
    with pytest.raises(ValueError, match="no frame of the person has a head pixel"):
        RayDataset(dataclasses.replace(person, labels=np.zeros_like(person.labels)))
    poses = person.poses.copy()
    poses[:, 0, 3] += 50
    dataset = RayDataset(dataclasses.replace(person, poses=poses))
    with pytest.raises(ValueError, match="outside the head box"):
        HeadTask.make(SMALL, dataset, torch.Generator())
