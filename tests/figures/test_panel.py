"""The live panel without a page: what it sends, and what its scenes show."""

import numpy as np
import pytest
import torch
from geneface_kit_figures import live, scenes
from geneface_kit_figures.panel import Film, Panel, Ray, Scene, Shot

from geneface_kit.person import camera
from geneface_kit.talk.plan import embedded_actor
from geneface_kit.talk.postprocess import TalkConfig

FACE = np.full((68, 2), 0.5, np.float32)


@pytest.fixture(scope="module")
def actor():
    return embedded_actor()


def test_a_panel_starts_in_the_middle_of_numbers_and_with_the_first_word_and_follows():
    seen = []

    def draw(level, view):
        seen.append((level, view))
        return np.full((8, 8, 3), level, np.uint8)

    panel = Panel(
        Scene(draw, {"level": range(0, 50, 10), "view": ("plain", "odd")}, {"level": "m"})
    )
    assert seen == [(20, "plain")] and panel.picture[:2] == b"\xff\xd8"
    assert panel.controls[0] == {"name": "level", "options": [0, 10, 20, 30, 40], "unit": "m"}
    before = panel.picture
    panel.chosen = {"level": 4, "view": 1}
    assert seen[-1] == (40, "odd") and panel.picture != before


def test_a_click_sends_the_ray_of_that_pixel_with_its_colours():
    half = np.array([0.5, 0.25])

    def ray(column, row, level):
        colours = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        return Ray(np.array([9.0, 9.5]), half, colours, 0.5, (8.0, 12.0), column + row)

    scene = Scene(lambda level: np.zeros((4, 4, 3), np.uint8), {"level": range(3)}, ray=ray)
    panel = Panel(scene)
    assert panel.has_rays and panel.ray == {}
    panel.pixel = [0.25, 0.5]
    assert panel.ray["colour"] == ["rgb(255,0,0)", "rgb(0,255,0)"]
    assert panel.ray["weight"] == [0.5, 0.25] and panel.ray["opacity"] == 0.75


def test_a_recording_is_sent_as_sound_and_landmarks_and_then_picture_by_picture():
    heard = np.array([0.0, 0.5, -0.5], np.float32)

    def say(sound, level):
        pictures = (np.full((4, 4, 3), k, np.uint8) for k in range(2))
        return Film(2 * sound, np.stack([FACE, FACE + 0.25]), pictures=pictures)

    draw = lambda level: Shot(points=FACE)  # noqa: E731
    panel, sent = Panel(Scene(draw, {"level": range(3)}, say=say, recordings={"a": heard})), []
    panel.send = lambda content, buffers=None: sent.append((content, buffers))
    panel._hear(panel, {"do": "say", "recording": "a"}, [])
    (film, (sound, points, ghost)), *pictures = sent
    assert film == {"do": "film", "n": 2, "is_drawn": True}
    assert np.frombuffer(sound, "f4").tolist() == [0.0, 1.0, -1.0] and ghost == b""
    assert np.frombuffer(points, "f4").reshape(2, 68, 2)[1, 0].tolist() == [0.75, 0.75]
    assert [content["do"] for content, _ in pictures] == ["picture", "picture"]
    assert panel.note.startswith("0.1 s, drawn at ")


def test_an_error_of_the_kit_becomes_the_line_under_the_picture():
    def say(sound, level):
        raise ValueError("the recording holds no sound")

    draw = lambda level: np.zeros((4, 4, 3), np.uint8)  # noqa: E731
    panel = Panel(Scene(draw, {"level": range(3)}, say=say))
    panel._hear(panel, {"do": "say"}, [memoryview(np.zeros(4, np.float32).tobytes())])
    assert panel.note == "the recording holds no sound"


def test_landmarks_alone_are_drawn_as_lines_for_who_has_no_page():
    points = FACE.copy()
    points[:17, 0] = np.linspace(0.1, 0.9, 17)
    image = Shot(points=points).image()
    row, columns = image[128, :, 0], slice(30, 226)
    assert (row[columns] < 128).all() and (image[60] == 255).all()


def test_a_saved_panel_keeps_its_last_picture_outside_the_widget(monkeypatch):
    kept = []

    class Place:
        def update(self, bundle, raw):
            kept.append(bundle)

    def display(bundle, raw, display_id=False):
        kept.append(bundle)
        return Place()

    monkeypatch.setattr("geneface_kit_figures.panel.display", display)
    panel = Panel(Scene(lambda k: np.full((4, 4, 3), k, np.uint8), {"k": range(3)}))
    panel.show()
    assert list(kept[1]) == ["application/vnd.jupyter.widget-view+json"]
    panel.chosen = {"k": 2}
    assert "data:image/jpeg;base64," in kept[2]["text/html"] and len(kept) == 3
    assert kept[2]["text/html"] != kept[0]["text/html"]


def test_a_scene_without_a_viewer_is_a_sheet_of_its_first_control(monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_HEADLESS", "1")
    seen = []

    def draw(opening, view):
        seen.append((opening, view))
        return Shot(points=FACE)

    live.explore(Scene(draw, {"opening": range(9), "view": ("picture", "depth")}))
    assert seen == [(k, "picture") for k in (0, 2, 4, 6, 8)]


def test_a_moved_face_has_the_measures_that_were_asked_for(actor):
    landmarks = np.asarray(actor.person.landmarks)
    wanted = {"opening": 0.2, "width": 0.7, "lids": 0.02, "brows": 0.3}
    face = scenes.moved(landmarks[3], scenes.movements(landmarks), wanted)
    got = {name: float(value[0]) for name, value in scenes.measures(face[None]).items()}
    assert got == pytest.approx(wanted, abs=0.02)
    assert (face[27:36] == landmarks[3, 27:36]).all()  # the nose stays


def test_a_turned_head_stays_in_its_place_and_shows_its_side():
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = np.array(camera.BOX_CENTRE) + [0, 0, 10]
    for yaw, pitch in ((20, 0), (0, 12), (-20, -12)):
        seen = scenes.turned(pose, yaw, pitch)
        centre = camera.project(np.array([camera.BOX_CENTRE]), seen, 400.0, 200)
        assert centre[0] == pytest.approx([100, 100], abs=1e-3)
        assert camera.euler_degrees(seen[None])[0, :2] == pytest.approx([pitch, yaw], abs=1e-2)


def test_the_ray_of_a_pixel_adds_up_to_what_the_picture_shows_there(actor):
    face, pose = actor.person.landmarks[5], actor.person.poses[5]
    ray = scenes.ray_of(actor.avatar, face[None], pose, 0.5, 0.6)
    head = actor.avatar.head_image(torch.from_numpy(face[None].copy()), pose)
    at = int(0.6 * actor.avatar.size), actor.avatar.size // 2
    assert ray.opacity == pytest.approx(float(head.alpha[at]), abs=0.02)
    assert ray.weight @ ray.colour == pytest.approx(head.colour[at].numpy(), abs=0.05)
    assert ray.range[0] < ray.depth.min() and ray.depth.max() < ray.range[1]


def test_an_avatar_says_a_recording_with_a_picture_and_landmarks_for_each_frame(actor):
    scene = scenes.avatar_scene(actor, TalkConfig(), {})
    start = {name: options[len(options) // 2] for name, options in scene.values.items()}
    sound = 0.1 * np.sin(np.arange(8 * 640) / 8).astype(np.float32)
    film = scene.say(sound, **start | {"view": "picture"})
    first = next(iter(film.pictures))
    assert film.points.shape == (8, 68, 2) and first.shape == (256, 256, 3)
    assert 0.2 < film.points.mean() < 0.8


def test_motion_without_the_flow_decodes_the_draw_itself(actor):
    sound = 0.1 * np.random.default_rng(0).standard_normal(16 * 640).astype(np.float32)
    scene = scenes.motion_scene(actor.motion, actor.person, {"noise": sound, "demo": sound})
    shots = {
        prior: scene.draw(seconds=0.2, temperature=1.0, prior=prior, recording="noise")
        for prior in ("flow", "Gaussian")
    }
    assert np.abs(shots["flow"].points - shots["Gaussian"].points).max() > 1e-3
    assert shots["flow"].ghost is None
    own = scene.draw(seconds=0.2, temperature=0.0, prior="flow", recording="demo")
    assert own.ghost.shape == (68, 2)
