"""Spoken: a folder's speech is encoded once, mapped from disk, and read only where it is drawn."""

import logging
import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
from talkers import made_up_corpus, made_up_landmarks, made_up_speech
from test_adaptation import FAST, made_up_generator, made_up_person

from geneface_kit.adaptation import stage as adaptation
from geneface_kit.adaptation.domain import Transport
from geneface_kit.adaptation.task import AdaptationTask, _at_most
from geneface_kit.person import clip, corpus, speech
from geneface_kit.person.corpus import CorpusConfig, source, spoken


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four "videos" whose sound is made up: two speak, one has no sound, one is broken."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b", "mute", "wrong"):
        (videos / f"{name}.mp4").write_bytes(name.encode())
    monkeypatch.setattr(spoken.clip, "sound_of", sound_of)
    return videos


def sound_of(path: Path) -> np.ndarray | None:
    if path.stem == "mute":
        return None
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

    monkeypatch.setattr(spoken.speech, "encode", counted)
    return seen


def read(folder: Path) -> list[speech.Speech]:
    return corpus.speeches(CorpusConfig(folder=str(folder)), out=folder.parent / "corpus")


def test_speech_from_disk_is_that_of_the_encoder(folder):
    for found, name in zip(read(folder), "ab", strict=True):
        made = speech.encode(sound_of(folder / f"{name}.mp4"))
        for array in ("features", "f0", "mel"):
            np.testing.assert_array_equal(getattr(found, array), getattr(made, array))
        assert (found.encoder, found.version) == (made.encoder, made.version)


def test_every_clip_is_encoded_once_until_the_folder_changes(folder, encoded):
    assert [len(one) for one in read(folder)] == [50, 100]
    assert encoded == [50, 100]
    read(folder)
    assert encoded == [50, 100]
    (folder / "c.mp4").write_bytes(b"c")
    assert [len(one) for one in read(folder)] == [50, 100, 50]
    assert encoded == [50, 100, 50, 100, 50]


def test_speech_lies_in_maps_that_a_write_does_not_reach(folder):
    found = read(folder)[1].features
    owner = found
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)
    before = found[3, 5].item()
    found[3, 5] = 100.0
    assert read(folder)[1].features[3, 5] == before


def test_unusable_sound_is_named_each_time_and_a_silent_film_is_not(folder, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            read(folder)
        assert [record.getMessage() for record in caplog.records] == [
            "the sound of wrong.mp4 is left out: its sound is torn"
        ]


def test_a_cut_or_damaged_folder_is_made_anew(folder, encoded, monkeypatch):
    monkeypatch.setattr(spoken.runs, "write_json", lambda *parts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read(folder)
    monkeypatch.undo()
    monkeypatch.setattr(spoken.clip, "sound_of", sound_of)
    assert [len(one) for one in read(folder)] == [50, 100]
    (array,) = (folder.parent / "corpus").rglob("features.npy")
    array.write_bytes(array.read_bytes()[:-4])
    assert [len(one) for one in read(folder)] == [50, 100]
    assert not list((folder.parent / "corpus").rglob("*.part*"))


def test_a_folder_without_sound_is_an_error_that_leaves_nothing(folder):
    for name in ("a", "b"):
        (folder / f"{name}.mp4").unlink()
    with pytest.raises(ValueError, match="no clip of the corpus has usable sound"):
        read(folder)
    (place,) = (folder.parent / "corpus").iterdir()
    assert not [path for path in place.iterdir() if path.is_dir()]


class Counted(np.ndarray):
    """An array that notes how many rows are taken out of it."""

    rows: list[int] = []

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Counted.rows.append(len(part))
        return part


@pytest.mark.parametrize("n_clips", [2, 8])
def test_an_update_reads_only_the_pieces_it_draws(n_clips):
    """2 pieces of 24 frames, 48 steps each, however many clips there are."""
    config = adaptation.AdaptationConfig(**FAST)
    foreign = [made_up_speech(60, seed=seed)[0] for seed in range(n_clips)]
    torch.manual_seed(0)
    task = AdaptationTask(made_up_generator(), made_up_person(), foreign, config)
    for one in task.train_speech:
        object.__setattr__(one, "features", one.features.view(Counted))
    Counted.rows.clear()
    task.step(0, torch.Generator().manual_seed(0))
    assert Counted.rows == [48, 48]


def test_a_transport_fitted_to_pieces_is_that_of_the_whole():
    draw = torch.Generator().manual_seed(0)
    source_, target = (torch.randn(size, 6, generator=draw) for size in (90, 70))
    source_[:30] += 3.0
    whole = Transport(motion=6).fit(source_, target, noise=0.1)
    pieces = Transport(motion=6).fit_pieces(source_.split([30, 1, 59]), target, noise=0.1)
    covariance = torch.cov(source_.T) + 0.01 * torch.eye(6)
    moved = pieces.matrix @ covariance @ pieces.matrix.T
    torch.testing.assert_close(moved, torch.cov(target.T), atol=1e-4, rtol=0)
    torch.testing.assert_close(pieces.mean_from, source_.mean(0))
    torch.testing.assert_close(pieces.matrix, whole.matrix, atol=1e-5, rtol=0)


def test_long_corpora_are_thinned_evenly():
    clips = [made_up_speech(50, seed=0)[0]] * 6  # 2 s each
    assert len(_at_most(12.0, clips)) == 6
    assert len(_at_most(11.9, clips)) == 3
    assert len(_at_most(0.5, clips)) == 1


def test_landmarks_of_another_unit_are_refused():
    """Pixels, millimetres: said before anything is trained."""
    data = made_up_corpus()
    for factor in (64.0, 0.01):
        wrong = [
            corpus.Utterance(one.name, one.speaker, one.clip, one.speech, factor * one.landmarks)
            for one in data.utterances
        ]
        with pytest.raises(ValueError, match=f"speaker0 are in another unit: .* {factor:g} apart"):
            corpus.displacements(wrong, CorpusConfig())
    good = made_up_landmarks(np.zeros(3), seed=0).mean(0)
    corpus.check_unit(good, "good")
    who = made_up_person()
    object.__setattr__(who, "landmarks", 64 * who.landmarks)
    config = adaptation.AdaptationConfig(**FAST)
    with pytest.raises(ValueError, match="the landmarks of madeup are in another unit"):
        AdaptationTask(made_up_generator(), who, [made_up_speech(60, seed=0)[0]], config)


def test_the_speech_is_beside_the_corpus_of_the_folder(folder):
    read(folder)
    config = CorpusConfig(folder=str(folder))
    place = source.home(config, folder.parent / "corpus").parent
    names = sorted(path.name for path in (place / "spoken-hama").iterdir())
    assert names == ["f0.npy", "features.npy", "index.json", "mel.npy"]
