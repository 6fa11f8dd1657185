"""Foreign speech: real voices, never the person's own, and only drawn pieces are read; landmarks of
another unit are refused."""

import numpy as np
import pytest
import torch
from talkers import (
    FAST,
    made_up_corpus,
    made_up_generator,
    made_up_landmarks,
    made_up_person,
    made_up_speech,
)

from geneface_kit.adaptation import domains
from geneface_kit.adaptation import stage as adaptation
from geneface_kit.adaptation.training import AdaptationTask, _at_most
from geneface_kit.person import corpus
from geneface_kit.person.corpus import CorpusConfig
from geneface_kit.person.speech import Speech


class Counted(np.ndarray):
    """An array that notes how many rows are taken out of it."""

    rows: list[int] = []

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Counted.rows.append(len(part))
        return part


@pytest.mark.parametrize("n_clips", [5, 8])
def test_an_update_reads_only_the_pieces_it_draws(n_clips):
    """2 pieces of 24 frames, 48 steps each, however many clips there are."""
    config = adaptation.AdaptationConfig(**FAST)
    foreign = [made_up_speech(60, seed=seed)[0] for seed in range(n_clips)]
    torch.manual_seed(0)
    task = AdaptationTask(made_up_generator(), made_up_person(), foreign, config)
    for one in task.foreign["fit"]:
        object.__setattr__(one, "features", one.features.view(Counted))
    Counted.rows.clear()
    task.step(1, torch.Generator().manual_seed(0))  # the first has the head start
    assert Counted.rows == [48, 48]


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


def test_the_voices_of_the_kit_are_nine_recordings_for_its_encoder():
    voices = domains.foreign_speech(CorpusConfig(), made_up_speech(60, seed=0)[0])
    assert len(voices) == 9 and {one.features.shape[1] for one in voices} == {144}
    assert 19 < sum(len(one) for one in voices) / 50 < 21  # seconds
    assert all(len(one.f0) == len(one) == len(one.mel) for one in voices)
    assert all(np.isfinite(one.features).all() and one.f0.max() > 80 for one in voices)
    standard = [one.features.std() for one in voices]  # no noise, no silence
    assert max(standard) < 2 * min(standard)
    assert domains.VOICES.stat().st_size < 300_000
    assert adaptation.inputs("demo", CorpusConfig(), adaptation.AdaptationConfig()) == {
        "voices.npz": domains.VOICES
    }


def test_the_persons_own_speech_is_never_foreign(monkeypatch):
    """Of three recordings one is a part of the person's, the other way round too."""
    draw = np.random.default_rng(0)

    def spoken(n_steps: int) -> Speech:
        mel = draw.standard_normal((n_steps, 80)).cumsum(0).astype(np.float32)
        return Speech(mel[:, :6], "hama", np.zeros(n_steps, np.float32), mel)

    own, other, third = spoken(600), spoken(300), spoken(900)
    config = CorpusConfig(folder="somewhere")
    heard = [other, own.part(slice(50, 200)), third]
    monkeypatch.setattr(corpus, "cached_speech", lambda config: heard)
    left = domains.foreign_speech(config, own)
    assert [len(one) for one in left] == [300, 900]
    left = domains.foreign_speech(config, own.part(slice(60, 180)))
    assert [len(one) for one in left] == [300, 900]
