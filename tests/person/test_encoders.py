"""Encoders: one from outside the package is named by its import path and used like the kit's."""

import sys

import numpy as np
import pytest
from talkers import made_up_landmarks

from geneface_kit.person import clip, corpus, demo, speech
from geneface_kit.person.corpus import CorpusConfig, build, preprocess
from geneface_kit.person.speech.encoders import ENCODERS, SpeechEncoder, load_encoder

TOY = '''
import numpy as np

class Loudness:
    """Mean and peak of each 20 ms."""

    version = "loudness 1"

    def __init__(self, weights):
        self.factor = float(weights or 1)

    def __call__(self, audio):
        steps = np.abs(audio[: len(audio) // 320 * 320]).reshape(-1, 320)
        return self.factor * np.stack([steps.mean(1), steps.max(1)], axis=1)

class Slow(Loudness):
    def __call__(self, audio):
        return super().__call__(audio)[::2]

class NoEncoder:
    def __init__(self, weights):
        pass
'''


@pytest.fixture
def toy(tmp_path, monkeypatch) -> str:
    """The import path of an encoder that lies outside the package."""
    (tmp_path / "own_encoders.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_encoders:Loudness"
    sys.modules.pop("own_encoders", None)
    load_encoder.cache_clear()


def test_an_encoder_from_outside_is_named_by_its_import_path(toy):
    audio = np.repeat(np.float32([0.5, 1.0]), 16_000) * np.tile(np.float32([1, -1]), 16_000)
    spoken = speech.encode(audio, toy)
    assert spoken.features.shape == (100, 2) and spoken.features.dtype == np.float32
    assert spoken.features[10].tolist() == [0.5, 0.5] and spoken.features[-1].tolist() == [1, 1]
    assert (spoken.encoder, spoken.version) == (toy, "loudness 1")
    assert speech.encode(audio, toy, weights="3").features[-1].tolist() == [3, 3]
    heard = speech.encode(audio)
    np.testing.assert_array_equal(spoken.f0, heard.f0)  # pitch and mel are the kit's


def test_a_corpus_of_an_encoder_from_outside(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "each", lambda read, jobs, **_: ((job, read(job)) for job in jobs))
    points = made_up_landmarks(np.zeros(60), seed=0)
    monkeypatch.setattr(preprocess, "_landmarks_of", lambda job: points)
    config = CorpusConfig(encoder=toy, rates=(1.0,))
    data = corpus.prepare(config, out=tmp_path / "corpora")
    assert data.utterances[0].speech.features.shape == (120, 2)
    assert data.utterances[0].speech.encoder == toy
    (spoken, _) = corpus.cached_speech(config, out=tmp_path / "corpora")
    sound = clip.sound_of(demo.clip_path("demo"))
    np.testing.assert_array_equal(spoken.features, speech.encode(sound, toy).features)


def test_what_is_no_encoder_is_one_sentence(toy):
    audio = np.ones(16_000, np.float32)
    with pytest.raises(ValueError, match="encoder=nowhere:Encoder cannot be imported: No mod"):
        speech.encode(audio, "nowhere:Encoder")
    with pytest.raises(ValueError, match="encoder=own_encoders:Nothing cannot .*'Nothing'"):
        speech.encode(audio, "own_encoders:Nothing")
    with pytest.raises(ValueError, match="is no speech encoder: it needs a version and a __call__"):
        speech.encode(audio, "own_encoders:NoEncoder")
    with pytest.raises(ValueError, match=r"must give 50 steps a second, \(50, c\), got \(25, 2\)"):
        speech.encode(audio, "own_encoders:Slow")


def test_the_kits_encoders_keep_the_protocol():
    audio = np.random.default_rng(0).uniform(-1, 1, 16_000).astype(np.float32)
    assert set(ENCODERS) == {"hama", "mel", "hubert-large"}  # the last needs its weights
    for name, channels in (("hama", 144), ("mel", 80)):
        assert isinstance(load_encoder(name), SpeechEncoder)
        assert speech.encode(audio, name).features.shape == (50, channels)
