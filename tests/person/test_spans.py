"""Spans: a person from several clips or shots; no window in time looks over their joints."""

from dataclasses import replace

import numpy as np
import pytest
from films import DRAWN, Film, clip_path, read_film

from geneface_kit.person import clip, demo, framing, landmarks, takes
from geneface_kit.person import stage as person
from geneface_kit.person.files import write_labels
from geneface_kit.person.spans import ONE, each, firsts_of, held_out_from, stretches
from geneface_kit.person.speech.offset import Heard, best_lag, features_of, mouth_from_speech
from geneface_kit.person.tracking.pnp import smooth_upper_face, solve_pnp

TWO = np.array([0, 30])


def test_stretches_lie_between_joints_and_limits():
    spans = np.array([0, 4, 7])
    assert stretches(spans, 9) == [slice(0, 4), slice(4, 7), slice(7, 9)]
    assert stretches(spans, 7, 5) == [slice(5, 7)]
    assert stretches(spans, 5, 5) == [] and stretches(ONE, 3) == [slice(0, 3)]
    assert firsts_of([(10, 14), (20, 23), (50, 52)]).tolist() == [0, 4, 7]
    assert each(np.cumsum, np.ones(9), spans).tolist() == [1, 2, 3, 4, 1, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("spans", "n_frames", "first"),
    [
        ([0], 110, 100),  # the last 1/11
        (range(0, 750, 75), 750, 675),  # the last of ten clips
        ([0, 40, 85, 97], 110, 97),  # the last clip is enough
        ([0, 40, 92, 105], 110, 92),  # the last two
        ([0, 40, 70], 110, 100),  # the last clip is more than twice as much
        ([0, 501, 1002], 1100, 1002),  # a clip that begins within a second behind the border
        ([0, 501, 1025], 1100, 1025),
        ([0, 501, 1026], 1100, 1000),  # and not behind that
    ],
)
def test_the_last_clips_are_held_out_or_the_last_frames(spans, n_frames, first):
    assert held_out_from(np.array(spans), n_frames) == first


def test_smoothing_in_time_does_not_cross_a_joint():
    points = np.zeros((60, 68, 3))
    points[30:] = 1.0
    assert np.abs(smooth_upper_face(points, TWO) - points).max() < 1e-12
    assert 0.1 < smooth_upper_face(points)[29, 20, 0] < 0.4


def test_poses_on_the_two_sides_of_a_joint_do_not_pull_at_each_other():
    """The first stretch is tracked as it is alone, whatever follows."""
    random = np.random.default_rng(0)
    shape = random.normal(0, 0.5, (9, 3))
    across = np.concatenate([np.zeros(30), np.full(30, 1.5)])
    seen = shape + np.stack([across, 0 * across, np.full(60, -7.0)], -1)[:, None]
    points = np.stack(
        [
            128 - 600 * seen[..., 0] / seen[..., 2],
            128 + 600 * seen[..., 1] / seen[..., 2],
            -600 / 7 * (shape[:, 2] - shape[:, 2].mean()) + 0 * seen[..., 2],
        ],
        axis=-1,
    )
    points[..., :2] += random.normal(0, 0.3, (60, 9, 2))
    alone = np.concatenate(solve_pnp(shape, points[:30], 600.0, 256), axis=1)
    apart, linked = (
        np.concatenate(solve_pnp(shape, points, 600.0, 256, spans=spans), axis=1)[:30]
        for spans in (TWO, ONE)
    )
    assert np.abs(apart - alone).max() < 1e-9
    assert np.abs(linked - alone)[-3:].max() > 0.01


def hum(seconds: float, hertz: float) -> np.ndarray:
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_windows_of_sound_do_not_cross_a_joint():
    """A stretch sounds and is understood the same whatever stands beside it."""
    first, second, other = hum(1.2, 150), hum(1.2, 220), 0.9 * hum(1.2, 600)
    with_second, with_other = features_of([first, second]), features_of([first, 0.3 * other])
    assert len(with_second) == 120
    assert np.abs(with_second.features - with_other.features)[:60].max() == 0
    mouths = [mouth_from_speech(one, TWO) for one in (with_second, with_other)]
    assert np.abs(mouths[0] - mouths[1])[:30].max() == 0
    crossing = [mouth_from_speech(one) for one in (with_second, with_other)]
    assert np.abs(crossing[0] - crossing[1])[27:30].max() > 0


def test_sound_is_not_taken_from_beyond_a_cut():
    shot = np.arange(1, 16_001, dtype=np.float32)
    heard = Heard(shot, 640, 24)  # frames 1 to 24 of a second
    assert heard.sound[[0, -1]].tolist() == [641, 16_000] and heard.is_recorded.all()
    late = replace(heard, first=640 + 1600)
    assert late.sound[0] == 641 + 1600
    assert (late.sound[-1600:] == 0).all() and late.sound[-1601] == 16_000
    assert np.flatnonzero(~late.is_recorded).tolist() == [22, 23]  # half of 21 was recorded
    early = replace(heard, first=640 - 1600)
    assert (early.sound[:960] == 0).all() and early.sound[960] == 1
    assert np.flatnonzero(~early.is_recorded).tolist() == [0]


def test_an_offset_is_found_in_pieces_that_are_out_of_step_over_their_joints():
    """Ten pieces of a second, sound 4 frames late in each, in which nothing else is common."""
    random = np.random.default_rng(0)
    mouths = np.cumsum(random.normal(size=(10, 29, 2)), axis=1)
    seen, predicted = mouths[:, 4:].reshape(-1, 2), mouths[:, :25].reshape(-1, 2)
    found = best_lag(predicted.astype(np.float32), seen.astype(np.float32), np.arange(0, 250, 25))
    assert found.seconds == pytest.approx(0.16, abs=0.01) and found.confidence > 0.3


def test_labels_do_not_vote_over_a_joint(tmp_path, demo_person):
    """Frames of another stretch leave those of the first as they are, the last one too."""
    chosen = [np.asarray(demo_person.frames[k : k + 4]) for k in (0, 100)]
    points = demo_person.landmarks2d
    made = []
    for name, second in (("a", chosen[1]), ("b", chosen[1][::-1])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "frames.npy", np.concatenate([chosen[0], second]))
        places = np.concatenate([points[:4], points[100:104]])
        made.append(np.array(write_labels(tmp_path / name, places, np.array([0, 4]))[:4]))
    assert (made[0] == made[1]).all()


@pytest.fixture(scope="module")
def talking() -> Film:
    """Four seconds of the demo person."""
    return read_film(demo.clip_path("demo"), size=128, max_s=4.0)


PIECES = ((0, 34), (40, 70), (62, 100))
"""Frames of the film that make three clips; what lies between is left out."""


def pieces(film: Film) -> list[Film]:
    """The clips; before the second one the camera was moved a little."""
    return [
        Film(np.roll(film.frames[a:b], 4 * (k == 1), axis=2), film.audio[640 * a : 640 * b])
        for k, (a, b) in enumerate(PIECES)
    ]


def write_pieces(folder, film: Film) -> None:
    folder.mkdir()
    for number, piece in enumerate(pieces(film), 9):
        clip.write_video(folder / f"clip{number}.mp4", piece.frames, piece.audio)


@pytest.mark.slow
def test_clips_and_their_cut_together_are_the_same_person(tmp_path, talking, uncalibrated):
    config = person.PersonConfig(size=64)
    write_pieces(tmp_path / "ada", talking)
    apart = person.prepare(tmp_path / "ada", tmp_path / "apart", config)
    frames = np.concatenate([piece.frames for piece in pieces(talking)])
    sound = np.concatenate([piece.audio for piece in pieces(talking)])
    clip.write_video(tmp_path / "joined.mp4", frames, sound)
    joined = person.prepare(tmp_path / "joined.mp4", tmp_path / "joined", config)
    assert apart.name == "ada" and joined.name == "joined"
    for one in (apart, joined):
        assert one.spans.tolist() == [0, 34, 64] and len(one) == 102 and one.n_train == 92
    assert apart.focal == joined.focal
    assert np.abs(apart.landmarks - joined.landmarks).mean() < 0.01
    assert [piece["file"] for piece in apart.report["clips"]] == [
        "clip9.mp4",
        "clip10.mp4",
        "clip11.mp4",
    ]
    assert joined.report["clips"][0]["cuts_s"] == [34 / 25, 64 / 25]
    assert "2 cut(s), at 1.36 s, 2.56 s" in joined.report["warnings"][0]


@pytest.mark.slow
def test_another_person_in_the_folder_is_named(tmp_path, talking):
    write_pieces(tmp_path / "ada", talking)
    other = read_film(clip_path(DRAWN), size=128, max_s=1.2)
    clip.write_video(tmp_path / "ada" / "clip12.mp4", other.frames, other.audio)
    with pytest.raises(ValueError, match="^clip12.mp4 shows another face than most") as caught:
        person.prepare(tmp_path / "ada", tmp_path / "person", person.PersonConfig(size=48))
    assert "\n" not in str(caught.value) and not list((tmp_path / "person").glob("*.npy"))


@pytest.mark.slow
def test_a_clip_of_another_shape_or_without_a_face_is_named(tmp_path, talking):
    write_pieces(tmp_path / "ada", talking)
    odd = tmp_path / "ada" / "clip1.mp4"
    clip.write_video(odd, talking.frames[:30, 20:100], talking.audio[: 30 * 640])
    with pytest.raises(ValueError, match="^clip9.mp4 is 128 x 128, clip1.mp4 128 x 80: clips of"):
        framing.scan_all(person.clips_of(tmp_path / "ada"))
    clip.write_video(odd, np.full_like(talking.frames[:30], 90), talking.audio[: 30 * 640])
    with pytest.raises(ValueError, match="^clip1.mp4: no face was found"):
        takes.chosen(framing.scan_all(person.clips_of(tmp_path / "ada")))


def test_times_are_those_of_the_file():
    mesh = landmarks.Mesh(np.zeros((90, 68, 3), np.float32), np.ones(90, bool), np.zeros(90, "f4"))
    about = clip.Probe(100, 100, 25.0, 1, 0.0)
    files = (clip_path := framing.Path("a.mp4"), framing.Path("b.mp4"))
    found = framing.Scan(
        mesh,
        np.zeros((90, 4, 4, 3), np.uint8),
        np.zeros(90),
        100,
        100,
        about,
        clips=files,
        firsts=(0, 40),
    )
    assert found.parts() == [(clip_path, 0, 40), (files[1], 40, 90)]
    assert found.within(39) == (0, 39) and found.within(40) == (1, 0)
    assert found.times([(10, 40), (50, 75)]) == "a.mp4 0.40 to 1.60 s, b.mp4 0.40 to 1.40 s"
    assert found.time(65) == "b.mp4 1.00 s"
