"""The door: what cannot be used is refused in one sentence, before anything is made."""

import dataclasses
import math
import re
import shutil
from typing import Literal, get_args, get_origin

import pytest

from geneface_kit.person import corpus, demo
from geneface_kit.pipeline import require as door
from geneface_kit.pipeline.commands import main
from geneface_kit.pipeline.settings import resolve, sections
from geneface_kit.runs.files import folder_name
from geneface_kit.runs.ranges import Named, Range, check

ASKED_LATER = {
    "corpus.folder", "talk.audio", "talk.text", "talk.label",
    "evaluation.recordings", "evaluation.method",
}  # fmt: skip
"""Texts without a range: files are looked for, and names known, when a stage is planned."""


def every_field():
    """(dotted name, annotation, default) of every setting."""
    left = [(name, one.type()) for name, one in sections().items()]
    for above, config in left:
        for one in dataclasses.fields(config):
            value = getattr(config, one.name)
            if dataclasses.is_dataclass(value):
                left.append((f"{above}.{one.name}", value))
            else:
                yield f"{above}.{one.name}", one.type, value


def outside(kind) -> list:
    """Values that an annotation does not allow."""
    told = get_args(kind)
    if get_origin(kind) is Literal:
        return ["another", 3]
    if get_origin(kind) is tuple:
        return [3.0, *[[1.0, value] for value in outside(told[0])]]
    base, rule = told or (kind, None)
    if isinstance(rule, Range):
        wrong = [base(rule.least if rule.above else rule.least - 1), base(-5), "many", True]
        wrong += [rule.least + 1] if rule.step > 1 else []
        wrong += [base(rule.most + 1)] if math.isfinite(rule.most) else []
        return [*wrong, math.nan, math.inf]
    if isinstance(rule, Named):
        return ["another", "nowhere:Class", 3]
    if rule is not None:
        return ["/nowhere/at/all", 3]
    return [3]


FIELDS = {dotted: (kind, default) for dotted, kind, default in every_field()}


@pytest.mark.parametrize("dotted", FIELDS)
def test_every_setting_has_a_range_and_nothing_outside_of_it_passes(dotted, tmp_path):
    kind, default = FIELDS[dotted]
    assert kind not in (int, float) and (kind is not str or dotted in ASKED_LATER)
    check(dotted, kind, default)
    for value in outside(kind):
        with pytest.raises(ValueError, match=dotted) as caught:
            door.require("evaluation", overrides={dotted: value}, out=tmp_path)
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_the_sentence_names_setting_range_and_value():
    for override, sentence in {
        "head.steps=-5": "'head.steps' must be a whole number of at least 1, got -5",
        "head.lr_grid=nan": "'head.lr_grid' must be a number above 0, got nan",
        "talk.lle_share=2": "must be a number of at least 0 and at most 1, got 2.0",
        "person.size=129": "at least 32 and at most 4096, a multiple of 2, got 129",
        "talk.blinks=often": "'talk.blinks' must be one of clip, none, got 'often'",
        "talk.c2pa_keys=/nowhere": "must be a folder that is there, got '/nowhere'",
        "person.encoder=deepspeech": "one of hama, mel, hubert-large, wav2vec2 or the path package",
        "head.field=toys:ToyVgg": "head.field=toys:ToyVgg must be a subclass of .*HeadField",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            resolve("smoke", override)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("talk.audio=nowhere.wav", "no recording at nowhere.wav"),
        ("evaluation.recordings=nowhere.wav", "no recording at nowhere.wav"),
        ("corpus.folder=nowhere", "no corpus folder 'nowhere'"),
        ("evaluation.method=lle", "use --method lle"),
        ("evaluation.method=other", "unknown method 'other'"),
        ("talk.text=...", "at least one word"),
        ("talk.text=Hello,talk.audio=a.wav", "exclude each other"),
        ("head.driven_by=speech,head.field=vanilla", "needs head.field=grid"),
        ("head.lips_loss=lpips", "head.lips_loss=lpips cannot be had"),
        ("person.encoder=mel", "person.encoder=mel and corpus.encoder=hama differ"),
        ("person.encoder=mel,corpus.encoder=mel", "set motion.weights=train"),
        ("adaptation.pitch=true", "adaptation.pitch needs motion.pitch=true"),
        ("person.sound=beside", "person.sound=beside needs demo.wav beside"),
        ("motion.weights=train,motion.held_out=1", "motion.held_out=1 leaves no speaker"),
    ],
)
def test_what_does_not_go_together_or_is_not_there_is_refused(
    overrides, sentence, tmp_path, monkeypatch
):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    stage = "evaluation" if overrides.startswith("evaluation") else "talk"
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        door.require(stage, overrides=overrides, out=tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_keys_that_cannot_sign_are_refused(tmp_path):
    (tmp_path / "keys").mkdir()
    with pytest.raises(ValueError, match="talk.c2pa_keys must name a folder with chain.pem"):
        door.require("talk", overrides={"talk.c2pa_keys": f"{tmp_path}/keys"}, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_all_refuses_a_recording_before_its_first_stage(tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["all", "demo", "--audio", "nowhere.wav", "--out", str(out)]) == 2
    assert "no recording at" in capsys.readouterr().err and not out.exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="file is a file: choose a folder to write in"):
        door.require("person", "demo", out=file / "runs")
    with pytest.raises(NotADirectoryError, match="is a file"):
        corpus.prepare(corpus.CorpusConfig(), out=file)
    assert main(["talk", "demo", "a.wav", str(file / "v.mp4")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_person_is_the_same_by_name_path_and_content(tmp_path, monkeypatch):
    films, out = tmp_path / "films", tmp_path / "runs"
    films.mkdir()
    shutil.copy(demo.clip_path("demo"), films / "Ada.MP4")
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(films))
    monkeypatch.chdir(tmp_path)
    names = ("Ada", "ada", "ada.mp4", "films/Ada.MP4", "./films/Ada.MP4", str(films / "Ada.MP4"))
    (first,) = {door.locate("nerf", name, out=out) for name in names}
    assert first.parent.name == "Ada"
    shutil.copy(films / "Ada.MP4", films / "Eve.mp4")
    assert door.locate("nerf", "Eve", out=out).name == first.name
    first.mkdir(parents=True)
    assert door.locate("nerf", "Eve", out=out) == first  # made once, found under any name
    said = door.locate("talk", "Eve", out=out)
    (films / "Eve.consent.txt").write_text("I agree.")
    assert door.locate("nerf", "Eve", out=out) == first  # and a consent trains nothing anew
    assert door.locate("talk", "Eve", out=out) != said
    (films / "Eve.consent.txt").write_bytes(b"\xffI agr\xe9e.")
    with pytest.raises(ValueError, match="Eve.consent.txt is no UTF-8 text: save it as UTF-8"):
        door.locate("nerf", "Eve", out=out)


def test_content_counts_of_weights_and_keys_and_not_their_place(tmp_path):
    for name, setting, kind, file in (
        ("person", "person.encoder", "hubert-large@", "model.safetensors"),
        ("talk", "talk.c2pa_keys", "", "chain.pem"),
    ):
        seen = {door.locate(name, out=tmp_path)}
        for place, content in (("here", "a"), ("there", "a"), ("there", "b")):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / file).write_text(content)
            (tmp_path / place / "key.pem").write_text(content)
            chosen = {setting: kind + str(tmp_path / place)}
            seen.add(door.locate(name, overrides=chosen, out=tmp_path))
        assert len(seen) == 3
    plain, signed = (door.locate("evaluation", overrides=o, out=tmp_path) for o in ({}, chosen))
    assert plain == signed  # nothing is signed there


NAMES = [
    "Ada",
    "Ada B. (2)",
    "李雷",
    "..b",
    ".hid",
    "CON",
    "con.txt",
    "nul",
    "end.",
    "end ",
    "a*b",
    "a?b",
]
NAMES += ["n" * 200, "n" * 201, "a~b", "<b>"]


def test_every_name_has_a_folder_of_its_own_that_every_system_allows(tmp_path):
    folders = [folder_name(name) for name in NAMES]
    assert folders[:3] == NAMES[:3] and len(set(folders)) == len(NAMES)
    for folder in folders:
        assert 0 < len(folder.encode()) <= 100 and not re.search(r'[<>:"/\\|?*\x00-\x1f]', folder)
        assert folder[0] != "." and folder[-1] not in ". "
        assert not re.fullmatch(r"(con|nul)(\..*)?", folder, re.I)
    for name in ("a\nb", "a\x1b[2Jb", "n" * 300):
        with pytest.raises(ValueError, match="is called by at most 255 printable bytes") as caught:
            door.locate("person", name, out=tmp_path)
        assert "\n" not in str(caught.value)


def test_a_clip_of_a_strange_name_has_its_runs_in_the_folder_of_all(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(tmp_path))
    shutil.copy(demo.clip_path("demo"), tmp_path / "..b.mp4")
    place = door.locate("person", "..b", out=tmp_path / "runs")
    assert place.parent.parent == tmp_path / "runs" and place.parent.name.startswith("_b~")


def test_a_clip_of_another_speaker_is_another_corpus(tmp_path):
    """Speakers are told by the names of files, and several may have a clip of one name."""
    trains = {"motion.weights": "train", "corpus.folder": str(tmp_path / "films")}
    seen = set()
    for speakers in (("s1", "s2"), ("s2", "s1")):
        for speaker, name in zip(speakers, demo.NAMES, strict=True):
            (tmp_path / "films" / speaker).mkdir(parents=True, exist_ok=True)
            shutil.copy(demo.clip_path(name), tmp_path / "films" / speaker / "a.mp4")
        seen.add(door.locate("motion", overrides=trains, out=tmp_path / "runs"))
    shutil.move(tmp_path / "films" / "s1" / "a.mp4", tmp_path / "films" / "s1" / "b.mp4")
    seen.add(door.locate("motion", overrides=trains, out=tmp_path / "runs"))
    assert len(seen) == 3
