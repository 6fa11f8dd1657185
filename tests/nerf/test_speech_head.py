"""The head that speech drives: it learns the mouth from sound, and landmarks do not reach it."""

import dataclasses

import numpy as np
import pytest
import torch
from puppet import N_FRAMES, puppet
from test_head import SMALL
from test_stage import fresh_run
from test_torso import SMALL as TORSO

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.config import AvatarConfig, JointConfig
from geneface_kit.nerf.dataset import SPEECH_STEPS, RayDataset, driving
from geneface_kit.nerf.head import ConditionNet, make_field
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.person import stage as person_stage

CONFIG = dataclasses.replace(SMALL, driven_by="speech", steps=300, attention_frames=3)


def talking_puppet():
    """The puppet; its sound has a channel for open mouths, one for shut ones, two of noise."""
    person = puppet()
    opening = person.landmarks[:, 62, 1] - person.landmarks[:, 66, 1]
    is_open = np.repeat(np.abs(opening) > 0.3, 2).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(2, 2 * N_FRAMES)).astype(np.float32)
    features = np.stack([is_open, 1 - is_open, *noise], axis=1)
    return dataclasses.replace(person, speech=dataclasses.replace(person.speech, features=features))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished nerf run of the talking puppet, its head driven by speech."""
    run = fresh_run(tmp_path_factory.mktemp("nerf"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(person_stage, "load", lambda folder: talking_puppet())
        nerf_stage.make(run, CONFIG, TORSO, JointConfig(4), AvatarConfig())
    return run.folder, run.metrics


def test_a_frame_hears_the_steps_around_it():
    speech = torch.arange(40.0)[:, None]
    track = driving("speech", torch.zeros(20, 68, 3), speech)
    assert track.shape == (20, SPEECH_STEPS, 1)
    # Frame 10 lasts from step 20 to step 21: seven steps before, seven behind.
    assert track[10, :, 0].tolist() == list(range(13, 29))
    assert track[0, :, 0].tolist() == [0] * 7 + list(range(9))
    assert track[19, :, 0].tolist() == list(range(31, 40)) + [39] * 7


def test_a_frame_hears_nothing_of_another_stretch():
    person = dataclasses.replace(talking_puppet(), spans=np.array([0, 9]))
    other = person.speech.features.copy()
    other[18:] = 5.0
    changed = dataclasses.replace(person.speech, features=other)
    tracks = [
        RayDataset(one).track("speech")
        for one in (person, dataclasses.replace(person, speech=changed))
    ]
    assert torch.equal(tracks[0][:9], tracks[1][:9])
    assert torch.equal(tracks[0][8, -7:], tracks[0][8, -8].expand(7, -1))
    assert not torch.equal(tracks[0][9:], tracks[1][9:])


def test_strides_bring_sixteen_steps_to_one():
    torch.manual_seed(0)
    net = ConditionNet(4, 8, 3, SPEECH_STEPS)
    windows = torch.randn(5, 3, SPEECH_STEPS, 4, requires_grad=True)
    found = net(windows)
    assert found.shape == (5, 8)
    found.square().sum().backward()
    assert bool((windows.grad.abs().amax((0, 3)) > 0).all())  # every step of every frame is heard


@pytest.mark.slow
def test_it_learns_the_held_out_frames(made):
    folder, recorded = made
    assert recorded["head_psnr"] > 17
    image = [
        float(line.split(",")[2])
        for line in (folder / "head_history.csv").read_text().splitlines()[1:]
    ]
    assert np.mean(image[-10:]) < 0.25 * image[0]


@pytest.mark.slow
def test_the_mouth_follows_the_sound(made):
    folder, _ = made
    person = talking_puppet()
    model = nerf_stage.load(folder, person)
    x0, y0, x1, y1 = person.lip_rects[0].tolist()
    track = model.driving(person.landmarks, person.speech)
    shown = [  # one pose; the sound of frames whose mouth is open, and of frames where it is shut
        [model.render_frame(track[k - 1 : k + 2], person.poses[0]).rgb for k in frames]
        for frames in ((1, 7, 13), (4, 10, 16))
    ]
    wide, shut = (torch.stack(frames)[:, y0:y1, x0:x1].mean() for frames in shown)
    assert float(shut - wide) > 0.05  # an open mouth is dark


@pytest.mark.slow
def test_landmarks_do_not_reach_it(made):
    folder, _ = made
    person = talking_puppet()
    model = nerf_stage.load(folder, person)
    own = model.driving(person.landmarks, person.speech)
    other = model.driving(person.landmarks[::-1] + 1, person.speech)
    assert torch.equal(own, other)
    moved = RayDataset(dataclasses.replace(person, landmarks=person.landmarks[::-1].copy()))
    tasks = [
        HeadTask.make(CONFIG, dataset, torch.Generator().manual_seed(0))
        for dataset in (RayDataset(person), moved)
    ]
    for name, value in tasks[0].field.state_dict().items():
        assert torch.equal(value, tasks[1].field.state_dict()[name]), name
    windows = [task.dataset.windows(torch.arange(4), CONFIG) for task in tasks]
    assert torch.equal(*windows)
    assert not [name for name in tasks[0].field.state_dict() if "landmark" in name or "lip" in name]


@pytest.mark.slow
def test_the_state_loads_again(made):
    folder, _ = made
    person = talking_puppet()
    frames = []
    for _ in range(2):
        model = nerf_stage.load(folder, person)
        track = model.driving(person.landmarks, person.speech)
        frames.append(next(model.render(track, person.poses, only=[21])))
    assert np.array_equal(*frames)
    assert np.abs(frames[0].astype(int) - person.frames[21]).mean() < 20


@pytest.mark.slow
def test_what_cannot_drive_a_head_is_refused(made):
    folder, _ = made
    person = talking_puppet()
    model = nerf_stage.load(folder, person)
    with pytest.raises(ValueError, match=r"driven by speech: its windows must be \(b, w, 16, 4\)"):
        model.render_frame(person.landmarks[:1], person.poses[0])
    lips = make_field(SMALL, 3)
    with pytest.raises(ValueError, match=r"driven by landmarks: .* \(b, w, 68, 3\)"):
        lips.condition(torch.zeros(1, 1, 16, 4))
    with pytest.raises(ValueError, match="needs head.field=grid"):
        make_field(dataclasses.replace(CONFIG, field="vanilla"), 3, 4)
    with pytest.raises(ValueError, match="needs its channels"):
        make_field(CONFIG, 3)
