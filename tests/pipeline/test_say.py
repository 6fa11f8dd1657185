"""Say: one call makes the demo talk, and what cannot be said is refused first."""

import importlib
import json
from types import SimpleNamespace

import av
import numpy as np
import pytest

from geneface_kit import say
from geneface_kit.person.clip import write_audio


@pytest.fixture
def tone(tmp_path):
    """One second of a voice-like tone."""
    time = np.arange(16_000) / 16_000
    path = tmp_path / "in.wav"
    write_audio(path, (0.3 * np.sin(900 * time) * np.sin(12 * time)).astype(np.float32))
    return path


def test_the_demo_talks_at_once_and_says_what_it_is(tone, tmp_path):
    said = say("demo", tone, tmp_path / "out.mp4")
    assert said.origin == "the avatar that comes with the kit"
    assert said.verdict[0].startswith("verdict: ")
    with av.open(str(said.path)) as video:
        notes = json.loads(video.metadata["comment"])
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 25 and frames[0].shape == (256, 256, 3)
    assert notes["synthetic"] and "10.5281/zenodo.3625687" in notes["consent"]


def test_the_same_words_give_the_same_pictures(tone, tmp_path):
    films = [say("demo", tone, tmp_path / f"{k}.mp4", seed=3).path for k in range(2)]
    pictures = []
    for film in films:
        with av.open(str(film)) as video:
            frame = next(video.decode(video=0))
            pictures.append(frame.to_ndarray(format="rgb24"))
    assert (pictures[0] == pictures[1]).all()


def test_a_setting_of_training_is_not_passed_over(tone, tmp_path, monkeypatch):
    asked = []

    def fake(stage, person, **options):
        asked.append((stage, person, options["overrides"]["head.steps"]))
        (tmp_path / "talk.mp4").write_bytes(b"film")
        metrics = {"verdict": ["good"], "consent": "none"}
        return SimpleNamespace(folder=tmp_path, metrics=metrics, id="talk-demo")

    monkeypatch.setattr(importlib.import_module("geneface_kit.pipeline.require"), "require", fake)
    said = say("demo", tone, tmp_path / "out.mp4", overrides="head.steps=7")
    assert asked == [("talk", "demo", 7)] and said.origin == "talk-demo"


@pytest.mark.parametrize(("audio", "text"), [("", ""), ("in.wav", "Hello.")])
def test_either_a_recording_or_a_text(audio, text, tmp_path):
    with pytest.raises(ValueError, match="either a recording or a text"):
        say("demo", audio, tmp_path / "out.mp4", text=text)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("talk.c2pa_keys={}", "chain.pem; it is not"), ("talk.text=hello", "exclude each other")],
)
def test_what_the_demo_cannot_say_or_sign_is_refused_before_its_film(
    setting, words, tone, tmp_path
):
    if "c2pa" in setting:
        pytest.importorskip("c2pa", reason="the marking extra is not installed")
    film = tmp_path / "out.mp4"
    film.write_bytes(b"an earlier film")
    with pytest.raises(ValueError, match=words):
        say("demo", tone, film, overrides=setting.format(tmp_path))
    assert film.read_bytes() == b"an earlier film"


def test_what_cannot_be_written_is_refused_first(tone, tmp_path):
    for out, words in (
        (tmp_path / "out.avi", r"must be called something\.mp4"),
        (tmp_path / "none" / "out.mp4", "there is no folder"),
    ):
        with pytest.raises(ValueError, match=words):
            say("demo", tone, out)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a clip")
    with pytest.raises(ValueError, match="is what the talk reads"):
        say("demo", clip, clip)
    assert clip.read_bytes() == b"a clip"
