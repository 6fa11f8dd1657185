"""Speech cache: a folder's speech is encoded once and mapped from disk."""

import logging
from pathlib import Path

import numpy as np
import pytest

from geneface_kit.person import clip, corpus, speech
from geneface_kit.person.corpus import CorpusConfig, build, manifest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four "videos" whose sound is made up: two speak, one has no sound, one is broken."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b", "mute", "wrong"):
        (videos / f"{name}.mp4").write_bytes(name.encode())
    monkeypatch.setattr(build.clip, "sound_of", sound_of)
    return videos


def sound_of(path: Path) -> np.ndarray:
    if path.stem == "mute":
        raise ValueError("mute.mp4 has no sound")
    if path.stem == "wrong":
        raise ValueError("its sound is torn")
    seconds = {"a": 1, "b": 2}.get(path.stem, 1)
    draw = np.random.default_rng(seconds)
    return (0.1 * draw.standard_normal(seconds * clip.SAMPLE_RATE)).astype(np.float32)


@pytest.fixture
def encoded(monkeypatch):
    """Lengths in steps of what was encoded since."""
    seen, encode = [], speech.encode

    def counted(audio, encoder):
        seen.append(len(audio) // 320)
        return encode(audio, encoder)

    monkeypatch.setattr(build.speech, "encode", counted)
    return seen


def read(folder: Path) -> list[speech.Speech]:
    return corpus.cached_speech(CorpusConfig(folder=str(folder)), out=folder.parent / "corpus")


def test_speech_from_disk_is_that_of_the_encoder(folder):
    for found, name in zip(read(folder), "ab", strict=True):
        made = speech.encode(sound_of(folder / f"{name}.mp4"))
        for array in ("features", "f0", "mel"):
            np.testing.assert_array_equal(getattr(found, array), getattr(made, array))
        assert (found.encoder, found.version) == (made.encoder, made.version)


def test_every_clip_is_encoded_once(folder, encoded):
    assert [len(one) for one in read(folder)] == [50, 100]
    assert encoded == [50, 100]
    read(folder)
    assert encoded == [50, 100]
    (folder / "c.mp4").write_bytes(b"c")
    assert [len(one) for one in read(folder)] == [50, 100, 50]
    assert encoded == [50, 100, 50]


def test_a_write_does_not_reach_the_disk(folder):
    found = read(folder)[1].features
    before = found[3, 5].item()
    found[3, 5] = 100.0
    assert read(folder)[1].features[3, 5] == before


def test_unusable_sound_is_named_each_time(folder, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            read(folder)
        (record,) = caplog.records
        assert record.getMessage().startswith("2 clips are left out, listed in ")
        assert "mute.mp4 has no sound" in record.getMessage()
        assert "wrong.mp4: its sound is torn" in record.getMessage()


def test_a_damaged_folder_is_made_anew(folder, encoded):
    read(folder)
    for path in (folder.parent / "corpus").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-4])
    assert [len(one) for one in read(folder)] == [50, 100]
    assert encoded == [50, 100, 50, 100]
    assert not list((folder.parent / "corpus").rglob("*.part*"))


def test_a_folder_without_sound_is_an_error(folder):
    for name in ("a", "b"):
        (folder / f"{name}.mp4").unlink()
    with pytest.raises(ValueError, match="no usable clip in .*mute.mp4 has no sound"):
        read(folder)


def test_the_speech_is_beside_the_corpus_of_the_folder(folder):
    read(folder)
    config = CorpusConfig(folder=str(folder))
    place = manifest.corpus_folder(config, folder.parent / "corpus").parent
    names = {path.name for path in (place / "speech-hama").iterdir()}
    assert {"broken.csv", "index.json"} < names
    arrays = {name for name in names if name.endswith(".safetensors")}
    assert len(arrays) == 2 and len(names) == 4
