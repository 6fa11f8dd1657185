"""Voice: words become sound that can be driven with."""

import numpy as np
import pytest

from geneface_kit.talk import audio as module


def test_a_text_is_spoken_the_same_each_time():
    pytest.importorskip("hibari", reason="the voice extra is not installed")
    audio = module.say("Papa may bake a pie.")
    assert audio.dtype == np.float32 and 1.0 < len(audio) / 16_000 < 4.0
    quiet = round(module.QUIET_S * 16_000)
    assert not audio[:quiet].any() and not audio[-quiet:].any()
    assert 0.05 < np.abs(audio).max() <= 1.0
    assert np.array_equal(audio, module.say("Papa may bake a pie."))


@pytest.mark.parametrize("text", ["你好", "Привет", "say नमस्ते", "ａｂｃ"])
def test_another_script_is_refused_before_a_voice_is_asked(text):
    with pytest.raises(ValueError, match="speaks English only: give a recording"):
        module.check_text(text)


def test_english_with_its_signs_is_spoken_and_silence_is_no_film():
    pytest.importorskip("hibari", reason="the voice extra is not installed")
    module.check_text("Don\u02bct pay 9 € for 5 µm of café crème, naïve Łukasz: 20° at 3²!")
    with pytest.raises(ValueError, match="finds nothing to speak"):
        module.say("ƿ")


def test_a_text_without_a_word_and_a_missing_voice_are_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match="at least one word"):
        module.say(" ... ")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="voice extra|voice hibari"):
        module.say("hello")
