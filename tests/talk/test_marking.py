"""Marking: a video says what it is, and a changed file is found out."""

from dataclasses import replace

import acting
import numpy as np
import pytest
from films import read_film
from geneface_kit_figures.credentials import credentials

from geneface_kit.person.clip import write_video
from geneface_kit.talk import marking, stage
from geneface_kit.talk.postprocess import TalkConfig


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, [np.full((32, 32, 3), 9 * k, np.uint8) for k in range(8)])
    return path


@pytest.fixture
def notes(tmp_path):
    return marking.provenance(acting.person(tmp_path), acting.sound(0.2))


def test_consent_is_the_subjects_or_plainly_absent(tmp_path):
    person = replace(acting.person(tmp_path), consent="I agree. A. Person, 2026", data_kind="real")
    assert marking.consent_of(person) == "I agree. A. Person, 2026"
    person = replace(person, consent="")
    assert marking.consent_of(person).startswith("no consent statement")
    assert marking.consent_of(replace(person, data_kind="synthetic")) == "a synthetic person"


@pytest.mark.parametrize("label", ["AI生成", "synthétique", "two\nlines"])
def test_a_label_that_the_font_cannot_write_is_refused(label):
    with pytest.raises(ValueError, match="talk.label holds"):
        stage.inputs("demo", TalkConfig(label=label))
    marking.check_font("Synthetic (AI), 2026: «not» a recording")


def test_a_long_label_stays_in_the_picture_and_a_short_one_keeps_its_size():
    black = np.zeros((128, 128, 3), np.uint8)
    long = marking.labelled(black, "made " * 10)
    assert long.any() and not long[:, -1].any()
    tall = [
        np.ptp(np.flatnonzero(one.any(axis=(1, 2))))
        for one in (long, marking.labelled(black, "made"), marking.labelled(black[:, :64], "made"))
    ]
    assert tall[0] < tall[1] == tall[2]


def test_a_signed_video_carries_its_notes_and_still_plays(video, notes):
    pytest.importorskip("c2pa", reason="the marking extra is not installed")

    before = read_film(video, size=None).frames
    assert credentials(video) == {}
    assert marking.sign(video, notes, title="pretend (synthetic)")
    found = credentials(video)
    assert found["state"] == "Valid" and found["title"] == "pretend (synthetic)"
    assert found["notes"] == notes and found["signer"] == "geneface_kit, no identity"
    assert np.array_equal(read_film(video, size=None).frames, before)
    assert [path.name for path in video.parent.glob("*.mp4")] == ["video.mp4"]


def test_a_changed_picture_is_never_valid(video, notes):
    """A flip anywhere from the header of the film on; 20 of them in the pictures' own bytes."""
    pytest.importorskip("c2pa", reason="the marking extra is not installed")
    marking.sign(video, notes, title="pretend")
    content, draw = video.read_bytes(), np.random.default_rng(0)
    header, pictures = content.index(b"moov"), content.index(b"mdat") + 4
    places = [*draw.integers(header, len(content), 40), *draw.integers(pictures, len(content), 20)]
    for at in places:
        changed = bytearray(content)
        changed[at] ^= 1 << int(draw.integers(8))
        video.write_bytes(changed)
        try:
            state = credentials(video)["state"]
        except ValueError:
            state = "unreadable"
        assert state in ("Invalid", "unreadable"), at
        assert state == "Invalid" or at < pictures


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "junk"])
def test_credentials_that_cannot_be_read_are_one_sentence(video, notes, damage):
    pytest.importorskip("c2pa", reason="the marking extra is not installed")
    marking.sign(video, notes, title="pretend")
    content = video.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"no video",
        "cut": content[: len(content) // 3],
        "junk": content + b"12 byte junk",
    }
    video.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=r"^video.mp4 has no content credentials that can be read"):
        credentials(video)


def test_keys_of_ones_own_sign_and_bad_ones_leave_the_file(video, notes, tmp_path):
    pytest.importorskip("c2pa", reason="the marking extra is not installed")
    with pytest.raises(ValueError, match="chain.pem; it is not there"):
        marking.sign(video, notes, title="pretend", keys=str(tmp_path))
    (tmp_path / "chain.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    before = video.read_bytes()
    with pytest.raises(ValueError, match="could not be signed with the keys"):
        marking.sign(video, notes, title="pretend", keys=str(tmp_path))
    assert video.read_bytes() == before
    chain, key = marking.fresh_keys()
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    assert marking.sign(video, notes, title="pretend", keys=str(tmp_path))
    assert credentials(video)["state"] == "Valid"


def test_without_the_extra_nothing_is_signed(video, notes, monkeypatch):
    monkeypatch.setattr(marking.importlib.util, "find_spec", lambda name: None)
    before = video.read_bytes()
    assert not marking.sign(video, notes, title="pretend")
    assert video.read_bytes() == before
    with pytest.raises(ValueError, match="marking extra"):
        marking.sign(video, notes, title="pretend", keys="somewhere")
