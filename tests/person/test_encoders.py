"""Encoders: one from outside the package is named by its import path and used like the kit's, and
HuBERT and wav2vec 2.0 hear from a folder for every stage."""

import dataclasses
import sys
from pathlib import Path

import acting
import numpy as np
import pytest
import torch
import transformers
from talkers import fresh_run, made_up_landmarks, made_up_person, sections

from geneface_kit.adaptation import stage as adaptation
from geneface_kit.motion import stage as motion
from geneface_kit.person import clip, corpus, demo, speech
from geneface_kit.person import stage as person
from geneface_kit.person.corpus import CorpusConfig, build
from geneface_kit.person.speech.encoders import ENCODERS, SpeechEncoder, load_encoder
from geneface_kit.person.speech.offset import features_of
from geneface_kit.pipeline.settings import resolve
from geneface_kit.talk.plan import Actor, plan

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
    assert speech.encode(audio, f"{toy}@3").features[-1].tolist() == [3, 3]
    heard = speech.encode(audio)
    np.testing.assert_array_equal(spoken.f0, heard.f0)  # pitch and mel are the kit's


def test_a_corpus_of_an_encoder_from_outside(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "each", lambda read, jobs, **_: ((job, read(job)) for job in jobs))
    points = made_up_landmarks(np.zeros(60), seed=0)
    monkeypatch.setattr(build, "_landmarks_of", lambda job: points)
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
    assert set(ENCODERS) == {"hama", "mel", "hubert-large", "wav2vec2"}  # two need their weights
    for name, channels in (("hama", 144), ("mel", 80)):
        assert isinstance(load_encoder(name), SpeechEncoder)
        assert speech.encode(audio, name).features.shape == (50, channels)


@pytest.fixture(scope="module")
def transformer_folders(tmp_path_factory) -> Path:
    """Random networks of 16 and 24 channels in hubert/ and wav2vec2/, as the hub has them."""
    place, options = tmp_path_factory.mktemp("weights"), {"num_conv_pos_embedding_groups": 2}
    options |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    options |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4}
    torch.manual_seed(0)
    for name, kind, channels in (("hubert", "Hubert", 16), ("wav2vec2", "Wav2Vec2", 24)):
        config = getattr(transformers, f"{kind}Config")(hidden_size=channels, **options)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(place / name)
    return place


@pytest.fixture
def hears(transformer_folders, monkeypatch):
    """Their folders are found by name among the data."""
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(transformer_folders))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield transformer_folders
    load_encoder.cache_clear()


def noise(seconds: float) -> np.ndarray:
    samples = np.random.default_rng(0).uniform(-1, 1, round(16_000 * seconds))
    return samples.astype(np.float32)


@pytest.mark.parametrize(("name", "channels"), [("hubert-large@hubert", 16), ("wav2vec2", 24)])
def test_a_transformer_hears_from_a_folder_named_after_it(hears, name, channels):
    """What it says of the first 18 s of a piece is what it says of them in the whole sound: the
    rest looks over the piece's end."""
    name = name if "@" in name else f"{name}@{hears / name}"
    audio = noise(21)
    heard = speech.encode(audio, name)
    assert heard.features.shape == (1050, channels) and heard.encoder == name
    level = audio - audio.mean()
    level = (level - level.mean()) / level.std()
    network = transformers.AutoModel.from_pretrained(hears / name.partition("@")[2])
    with torch.no_grad():
        whole = network(torch.from_numpy(level)[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(heard.features[:900], whole[:900], atol=2e-2)
    assert heard.version.startswith("transformers ") and "weights" in heard.version


def test_weights_that_are_none_are_one_sentence(hears):
    with pytest.raises(FileNotFoundError, match='nowhere nor in the hub.* or use the encoder "ham'):
        load_encoder("hubert-large@nowhere")
    other = transformers.Wav2Vec2Config.from_pretrained(hears / "wav2vec2")
    other.conv_stride = (5, 2, 2, 2, 2, 2, 1)
    transformers.Wav2Vec2Model(other).save_pretrained(hears / "twice")
    with pytest.raises(ValueError, match="twice does not hear sound at 50 steps a second"):
        load_encoder("wav2vec2@twice")
    with pytest.raises(ValueError, match="one of hama, mel, hubert-large, wav2vec2 or the path"):
        resolve("smoke", {"person.encoder": "hubert@hubert"})
    assert resolve("smoke", {"corpus.encoder": "mel@anywhere"}).corpus.encoder == "mel@anywhere"


def test_other_weights_are_another_input(hears):
    """Person and trained generator are made anew when a file of the folder changes."""
    for name in ("hubert-large@hubert", "wav2vec2@wav2vec2"):
        files = {"weights/config.json", "weights/model.safetensors"}
        config = dataclasses.replace(resolve().person, encoder=name)
        assert files <= person.inputs("demo", config).keys()
        config = CorpusConfig(encoder=name)
        chosen = sections()
        assert files <= motion.inputs("speakers", config, *chosen[1:]).keys()
    assert not person.inputs("demo", resolve().person).keys() & files


@pytest.mark.slow
def test_hubert_is_heard_by_every_stage(hears, tmp_path, monkeypatch):
    """Person, corpus, generator, adaptation and talk, with a random HuBERT of 16 channels."""
    name, sound = "hubert-large@hubert", acting.sound(88 / 25)
    monkeypatch.setattr(build, "each", lambda read, jobs, **_: ((job, read(job)) for job in jobs))
    points = made_up_landmarks(np.sin(np.arange(120)), seed=0)
    monkeypatch.setattr(build, "_landmarks_of", lambda job: points)
    monkeypatch.setattr(corpus.build.manifest.runs, "root", lambda: tmp_path)
    config = CorpusConfig(encoder=name, rates=(1.0,))
    who = dataclasses.replace(made_up_person(), speech=features_of([sound], name))
    assert who.speech.features.shape == (176, 16)
    above = {stage: fresh_run(tmp_path / stage, stage) for stage in ("person", "motion")}
    (tmp_path / "motion").mkdir()
    motion.make(above["motion"], config, *sections(steps=2, held_out=0)[1:])
    monkeypatch.setattr(person, "load", lambda folder: who)
    run = fresh_run(tmp_path / "adaptation", "adaptation", above)
    run.folder.mkdir()
    settings = adaptation.AdaptationConfig(steps=2, frames=24, batch=2, sync_windows=16)
    adaptation.make(run, config, settings)
    generator, adapter = motion.load(tmp_path / "motion"), adaptation.load(run.folder)
    said = plan(Actor(who, generator, adapter, None), sound, acting.TALK, torch.Generator())
    assert said.speech.encoder == generator.encoder == name
    assert said.landmarks.shape == (88, 68, 3) and np.isfinite(said.landmarks).all()
    narrow = dataclasses.replace(who.speech, features=who.speech.features[:, :8])
    monkeypatch.setattr(person, "load", lambda folder: dataclasses.replace(who, speech=narrow))
    with pytest.raises(ValueError, match="'hubert-large@hubert' features have 16 channels, got 8"):
        adaptation.make(run, config, settings)
