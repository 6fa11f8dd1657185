"""Speech: the Conformer against its package's engine, pitch, mel, coarse pitch, offsets."""

import numpy as np
import pytest
import torch
from films import truth

from geneface_kit.person import clip, demo, speech
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.speech import conformer
from geneface_kit.person.speech.offset import (
    Heard,
    Offset,
    best_lag,
    drift,
    features_of,
    predict_ridge,
    synchronise,
)
from notebooks.studies.mouth_ridge import fit_mouth_ridge


@pytest.fixture(scope="module")
def demo_sound() -> np.ndarray:
    return clip.sound_of(demo.clip_path("demo"))


def buzz(hertz: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(16_000 * seconds)) / 16_000
    return sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 6)).astype(np.float32) / 3


def test_log_probabilities_are_those_of_the_packages_engine(demo_sound):
    asr = pytest.importorskip("hama.asr")
    sound = demo_sound[:48_000]
    model = asr.ASRModel()
    inputs = {
        model._waveform_input_name: sound[None],
        model._waveform_lengths_input_name: np.array([len(sound)], np.int64),
    }
    names = [model._log_probs_output_name, model._out_lengths_output_name]
    engine = model.session.run(names, inputs)[0][0]
    network = conformer.load_conformer()
    ours = network.proj(network(torch.from_numpy(sound), conformer.N_BLOCKS)[-1])
    ours = torch.log_softmax(ours, dim=-1).numpy()[: len(engine)]
    assert np.abs(engine - ours).mean() < 1e-3  # the engine computes in half precision
    assert (engine.argmax(1) == ours.argmax(1)).mean() > 0.99


def test_loading_the_network_leaves_the_random_stream_alone():
    """A training seeded before it was loaded began with other weights than one seeded after."""
    conformer.load_conformer.cache_clear()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    conformer.load_conformer()
    assert torch.equal(torch.rand(3), expected)


def test_a_foreign_file_is_no_hama_file():
    with pytest.raises(ValueError, match=r"\.hama"):
        conformer.read_hama_file(b"PK\x03\x04 something else")


def test_one_second_gives_fifty_steps():
    spoken = speech.encode(buzz(150))
    assert spoken.features.shape == (50, 144) and spoken.mel.shape == (50, 80)
    assert spoken.f0.shape == (50,) and spoken.encoder == "hama" and len(spoken) == 50


@pytest.mark.parametrize(
    ("gain", "constant", "most"), [(0.1, 0.0, 1e-4), (0.01, 0.0, 1e-4), (0.01, 0.1, 1e-2)]
)
def test_neither_loudness_nor_a_constant_matters(demo_sound, gain, constant, most):
    sound = demo_sound[:16_000]
    loud, soft = speech.encode(sound), speech.encode(gain * sound + constant)
    assert np.abs(loud.features - soft.features).max() < most


def test_pieces_of_long_sound_join_without_a_seam(demo_sound, monkeypatch):
    whole = speech.encode(demo_sound).features
    monkeypatch.setattr(speech.encoders, "PIECE_S", 4)
    pieces = speech.encode(demo_sound).features
    n_steps = len(demo_sound) // speech.acoustics.STEP
    assert pieces.shape == whole.shape == (n_steps, 144)
    error = np.abs(whole - pieces).mean(1)
    seams = [k for k in range(200, n_steps - 20, 200)]
    assert seams and error.mean() < 0.1 * whole.std()
    assert error[[k + d for k in seams for d in (-1, 0)]].mean() < 0.2 * whole.std()


def test_cut_repeats_the_last_step_or_drops_steps():
    spoken = speech.encode(buzz(150))
    assert len(spoken.cut(20)) == 40
    longer = spoken.cut(30)
    assert len(longer) == 60 and (longer.features[50:] == spoken.features[-1]).all()


@pytest.mark.parametrize("hertz", [90.0, 133.3, 210.0, 440.0, 700.0])
def test_pitch_of_a_buzz_is_within_one_per_cent(hertz):
    f0 = speech.pitch(buzz(hertz))
    assert np.abs(f0[3:-3] / hertz - 1).max() < 0.01


def test_noise_and_silence_are_unvoiced():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert (speech.pitch(noise) == 0).mean() > 0.9
    assert (speech.pitch(np.zeros(16_000, np.float32)) == 0).all()


def test_coarse_pitch_by_hand():
    bins = speech.coarse_pitch(np.array([0.0, 50.0, 1100.0, 2000.0, 200.0]))
    low, high = 1127 * np.log(1 + 50 / 700), 1127 * np.log(1 + 1100 / 700)
    at_200 = round(1 + 254 * (1127 * np.log(9 / 7) - low) / (high - low))
    assert bins.tolist() == [1, 1, 255, 255, at_200]


def test_mel_has_its_peak_at_the_tone():
    mel = speech.log_mel(0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype("f4"))
    # Slaney scale: 80 Hz is mel 1.2, 1000 Hz is 15, 7600 Hz is 44.5; 82 edges
    expected = (15 - 1.2) / (15 + 27 * np.log(7.6) / np.log(6.4) - 1.2) * 81 - 1
    assert abs(mel.mean(0).argmax() - expected) <= 1


def test_mouth_prediction_opens_with_the_sound(demo_sound):
    spoken = speech.encode(demo_sound)
    predicted = speech.mouth_from_speech(spoken)
    true = mouth_shape(truth("demo").landmarks.astype(np.float32))
    n_frames = min(len(true), len(predicted))
    assert predicted.shape == (len(spoken) // 2, 2)
    assert np.corrcoef(predicted[:n_frames, 0], true[:n_frames, 0])[0, 1] > 0.3


def lips(mouth: np.ndarray) -> np.ndarray:
    """Landmarks whose mouth has the given opening and width."""
    points = np.zeros((len(mouth), 68, 3), np.float32)
    points[:, 62, 1], points[:, 54, 0] = mouth[:, 0], mouth[:, 1]
    return points


@pytest.mark.parametrize("late_frames", [-4, 0, 5])
def test_a_known_shift_is_found_with_its_sign(demo_sound, late_frames):
    spoken = speech.encode(demo_sound)
    mouth = speech.mouth_from_speech(spoken)
    # lips that move late_frames earlier than their sound
    found = speech.estimate_offset(spoken, lips(np.roll(mouth, -late_frames, axis=0)))
    assert abs(found.seconds - late_frames / 25) < 0.01 and found.confidence > 0.9
    assert found.lags[0] == pytest.approx(-1.0) and found.lags[-1] == pytest.approx(1.0)


def test_lips_at_rest_or_unrelated_have_no_confident_offset(demo_sound):
    spoken = speech.encode(demo_sound)
    n_frames = len(spoken) // 2
    still = speech.estimate_offset(spoken, np.zeros((n_frames, 68, 3), np.float32))
    assert still.confidence == 0 and still.seconds == 0
    random = np.random.default_rng(0).normal(size=(n_frames, 2))
    assert speech.estimate_offset(spoken, lips(random)).confidence < 0.3


def test_the_ridge_finds_clips_out_of_step_by_itself():
    random = np.random.default_rng(0)
    truth = random.normal(size=(12, 2))
    predictors, mouths = [], []
    for late in (0, 0, 5, 0, 0, 0):
        sound = np.cumsum(random.normal(size=(400, 12)), axis=0) % 7
        sound = sound - sound.mean(0)
        predictors.append(sound.astype(np.float32))
        mouths.append(np.roll(sound @ truth, -late, axis=0).astype(np.float32))
    ridge = fit_mouth_ridge(predictors, mouths, n_folds=3)
    guess = predict_ridge(ridge, predictors[2])
    assert np.corrcoef(guess[:-5, 0], np.roll(mouths[2], 5, axis=0)[:-5, 0])[0, 1] > 0.8
    assert best_lag(guess, mouths[2]).seconds == pytest.approx(0.2, abs=0.02)


def test_a_sound_that_runs_too_slowly_drifts(demo_sound):
    """Not a sound that is late all the time."""
    spoken = speech.encode(np.tile(demo_sound, 2))
    mouth = speech.mouth_from_speech(spoken)
    frames = np.arange(len(mouth))
    too_slow = [np.interp(1.01 * frames, frames, one) for one in mouth.T]  # lips are ahead of it
    grown = 0.01 * len(mouth) / 25 * 2 / 3  # from the middle of the first third to the last's
    assert drift(spoken, lips(np.stack(too_slow, 1))) == pytest.approx(grown, abs=0.02)
    assert abs(drift(spoken, lips(np.roll(mouth, -10, axis=0)))) < 0.01


@pytest.mark.parametrize(("late_s", "samples"), [(0.01, 0), (0.047, 752), (-0.047, -752)])
def test_sound_that_is_a_frame_out_of_step_is_moved(demo_sound, late_s, samples):
    heard = [Heard(demo_sound, 0, len(demo_sound) // 640)]
    offset = Offset(late_s, 1.0, np.zeros(1, np.float32), np.zeros(1, np.float32))
    spoken = features_of([one.sound for one in heard])
    moved, _, notes = synchronise(heard, spoken, offset, encoder="hama")
    assert moved[0].first == samples and bool(notes) == bool(samples)


@pytest.mark.parametrize(("name", "late_s"), [("obama", 0.20), ("aoc", 0.08)])
@pytest.mark.slow
def test_real_clips_are_as_late_as_known(shared_data, name, late_s):
    from geneface_kit.person import landmarks
    from geneface_kit.person.tracking.track import track

    path = shared_data / "persons" / f"{name}.mp4"
    mesh = landmarks.detect(clip.stream_frames(path, long_side=256, max_s=8.0))
    found = speech.estimate_offset(
        speech.encode(clip.sound_of(path)[: 8 * 16_000]), track(mesh, 256).landmarks
    )
    assert abs(found.seconds - late_s) < 0.05 and found.confidence > 0.5


def test_bad_sound_is_one_sentence():
    with pytest.raises(ValueError, match="empty"):
        speech.encode(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        speech.encode(np.full(16_000, np.nan, np.float32))
    with pytest.raises(ValueError, match="deepspeech cannot be imported"):
        speech.encode(buzz(150), "deepspeech")


def test_absent_hubert_weights_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="hubert-large"):
        speech.encode(buzz(150), f"hubert-large@{tmp_path}")


@pytest.fixture(scope="module")
def tiny_hubert(tmp_path_factory) -> str:
    """HuBERT with random weights: large's front end, narrow; no step looks beyond its samples."""
    from transformers import HubertConfig, HubertModel

    tiny = HubertConfig(
        hidden_size=16,
        num_hidden_layers=0,  # attention would see the whole piece
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=1,
        num_conv_pos_embedding_groups=1,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(tiny).save_pretrained(folder)
    return str(folder)


def test_hubert_pieces_are_those_of_the_whole(tiny_hubert, demo_sound, monkeypatch):
    """Pieces extended by 80 samples give the steps of the whole, none lost or twice."""
    sound = demo_sound[16_000 : 16_000 + 7 * 8_000 + 123]
    whole = speech.encode(sound, f"hubert-large@{tiny_hubert}")
    monkeypatch.setattr(speech.encoders, "PIECE_S", 1)
    pieces = speech.encode(sound, f"hubert-large@{tiny_hubert}")
    assert whole.features.shape == (175, 16) and whole.encoder == f"hubert-large@{tiny_hubert}"
    assert np.abs(np.diff(whole.features[:174], axis=0)).max(1).min() > 1e-4  # steps differ
    assert np.abs(pieces.features - whole.features).max() < 2e-5


def test_the_network_is_named_and_versioned(tiny_hubert):
    import transformers

    heard = speech.encode(buzz(150))
    assert heard.version.startswith("hama 1.7.0, block 3, weights ") and heard.cut(3).version
    tiny = speech.encode(buzz(150), f"hubert-large@{tiny_hubert}")
    assert tiny.version.startswith(f"transformers {transformers.__version__}, weights ")


def test_pieces_of_mel_join_without_a_seam(demo_sound):
    whole = speech.log_mel(demo_sound[: 15 * 16_000])  # pieces of 10 s
    later = speech.log_mel(demo_sound[320 * 490 : 320 * 510])
    assert np.abs(whole[490:505] - later[:15]).max() < 1e-5
