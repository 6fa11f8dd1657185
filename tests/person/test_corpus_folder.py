"""A folder becomes a corpus: every clip ends in it or in broken.csv; only what is new is read."""

import csv
import json
from pathlib import Path

import crew
import numpy as np
import pytest

from geneface_kit.person import clip, corpus, demo
from geneface_kit.person.corpus import CorpusConfig, build, manifest
from geneface_kit.pipeline import commands as command_line
from geneface_kit.runs.files import read_json, write_json
from notebooks.studies.speed import corpus as bench
from notebooks.studies.speed.__main__ import main as bench_main

PLAIN = {"rates": (1.0,)}


def write_faceless(path: Path) -> None:
    grey = np.full((60, 64, 64, 3), 128, np.uint8)
    clip.write_video(path, grey, np.random.default_rng(0).uniform(-0.1, 0.1, 40_000))


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """A folder of files that stand for talking clips of 3 s, and a project to keep runs in."""
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def add(folder: Path, name: str, content: str = "3") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def seen(monkeypatch):
    """Clips are read here, one after the other; a file's content is its seconds of face. Gives the
    files whose faces were tracked, in order."""
    tracked = []

    def landmarks_of(job):
        tracked.append(job.file)
        text = job.path.read_text()
        if text == "stop":
            raise KeyboardInterrupt
        if not text.isdigit():
            raise RuntimeError("a bug deep inside a library")
        return np.random.default_rng(len(text)).random((25 * int(text), 68, 3), np.float32)

    def each(function, jobs, *, workers):
        for job in jobs:
            yield job, function(job)

    def sound_of(path):
        draw = np.random.default_rng(list(path.as_posix().encode()))
        return draw.uniform(-0.2, 0.2, 48_000).astype(np.float32)

    monkeypatch.setattr(build, "_landmarks_of", landmarks_of)
    monkeypatch.setattr(clip, "sound_of", sound_of)
    monkeypatch.setattr(build, "each", each)
    return tracked


def prepare(folder: Path, *, retry: bool = False, **settings) -> corpus.Corpus:
    return corpus.prepare(CorpusConfig(folder=str(folder), **PLAIN | settings), retry=retry)


def listed(data: corpus.Corpus) -> list[dict[str, str]]:
    with (data.folder / "broken.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_only_new_and_changed_clips_are_read(videos, seen):
    add(videos, "a.mp4")
    changed = add(videos, "b.mp4")
    first = prepare(videos)
    assert seen == ["a.mp4", "b.mp4"]
    assert prepare(videos).folder == first.folder and len(seen) == 2
    add(videos, "c.mp4")
    changed.write_text("2")
    data = prepare(videos)
    assert seen[2:] == ["b.mp4", "c.mp4"]
    assert [(u.name, len(u)) for u in data.utterances] == [("a", 75), ("b", 50), ("c", 75)]
    changed.unlink()
    assert [u.name for u in prepare(videos).utterances] == ["a", "c"] and len(seen) == 4


@pytest.mark.parametrize("sound", ["a.wav", "a.WAV"])
def test_a_new_wav_beside_a_clip_makes_its_utterance_anew_but_not_its_faces(videos, seen, sound):
    add(videos, "a.mp4")
    before = json.loads((prepare(videos).folder / "index.json").read_text())["clips"]
    add(videos, sound)
    after = json.loads((prepare(videos).folder / "index.json").read_text())["clips"]
    assert [c["name"] for c in after] == ["a"] and after[0]["key"] != before[0]["key"]
    assert seen == ["a.mp4"]


def test_other_speech_settings_keep_the_tracked_faces(videos, seen):
    add(videos, "a.mp4")
    plain = prepare(videos)
    faster = prepare(videos, rates=(1.0, 1.25))
    assert seen == ["a.mp4"] and faster.folder != plain.folder
    assert [(u.name, len(u)) for u in faster.utterances] == [("a", 75), ("a@1.25", 60)]
    assert prepare(videos, unit=1.0).folder == plain.folder  # acts when batches are drawn
    prepare(videos, max_s=2.0)
    assert seen == ["a.mp4", "a.mp4"]


def test_what_was_read_before_an_interrupt_is_not_read_again(videos, seen):
    add(videos, "a.mp4")
    second = add(videos, "b.mp4", "stop")
    with pytest.raises(KeyboardInterrupt):
        prepare(videos)
    second.write_text("3")
    assert [u.name for u in prepare(videos).utterances] == ["a", "b"]
    assert seen == ["a.mp4", "b.mp4", "b.mp4"]


def test_a_damaged_clip_is_read_again(videos, seen, caplog):
    add(videos, "a.mp4")
    before = prepare(videos).utterances[0]
    array = next(videos.parent.rglob("*.safetensors"))
    array.write_bytes(array.read_bytes()[:-4])
    after = prepare(videos).utterances[0]
    assert "a.mp4 of the corpus is damaged" in caplog.text
    np.testing.assert_array_equal(before.speech.features, after.speech.features)


def test_broken_clips_are_listed_remembered_and_read_again_when_asked(videos, seen):
    add(videos, "good.mp4")
    mended = add(videos, "anna/bug.mp4", "not a number")
    add(videos, "short.mp4", "1")
    data = prepare(videos)
    rows = [
        {
            "file": "anna/bug.mp4",
            "stage": "face",
            "reason": "unexpected RuntimeError: a bug deep inside a library",
        },
        {"file": "short.mp4", "stage": "face", "reason": "short.mp4 is shorter than 2 s"},
    ]
    assert listed(data) == rows
    assert data.broken == {row["file"]: row["reason"] for row in rows}
    n_read = len(seen)
    assert prepare(videos).broken == data.broken and len(seen) == n_read
    prepare(videos, retry=True)
    assert seen[n_read:] == ["anna/bug.mp4"]  # the faces of short.mp4 are known
    mended.write_text("2")
    data = prepare(videos)
    assert list(data.broken) == ["short.mp4"] and data.speakers == ["anna", "good"]


def test_a_clip_that_kills_its_process_is_listed(videos, seen, monkeypatch):
    add(videos, "a.mp4")
    add(videos, "b.mp4")
    each = build.each

    def each_but_a(function, jobs, *, workers):
        reason = "its process died (SIGSEGV(-11))"
        yield jobs[0], ({"stage": "process", "reason": reason}, {})
        yield from each(function, jobs[1:], workers=workers)

    monkeypatch.setattr(build, "each", each_but_a)
    data = prepare(videos)
    assert listed(data) == [
        {"file": "a.mp4", "stage": "process", "reason": "its process died (SIGSEGV(-11))"}
    ]
    assert [u.name for u in data.utterances] == ["b"]
    monkeypatch.setattr(build, "each", each)
    assert [u.name for u in prepare(videos, retry=True).utterances] == ["a", "b"]


def test_silence_is_broken_and_a_missing_network_is_not_the_clips_fault(videos, seen, monkeypatch):
    add(videos, "a.mp4")

    def encode(audio, encoder):
        raise FileNotFoundError("the weights of hubert are not here")

    monkeypatch.setattr(build.speech, "encode", encode)
    config = CorpusConfig(folder=str(videos), encoder="mel", **PLAIN)
    with pytest.raises(FileNotFoundError, match="the weights of hubert are not here"):
        corpus.prepare(config)
    monkeypatch.setattr(clip, "sound_of", lambda path: np.zeros(48_000, np.float32))
    with pytest.raises(ValueError, match="no usable clip in .*the sound of a.mp4 is silent"):
        prepare(videos)


def test_same_names_in_sub_folders_do_not_clash(videos, seen):
    for name in ("anna/1.mp4", "ivan/1.mp4", "ivan/1.mov", "sets/x/1.mp4", "ivan_clip_3.mp4"):
        add(videos, name)
    add(videos, "speaker_4.mp4")
    data = prepare(videos)
    assert {u.name: u.speaker for u in data.utterances} == {
        "anna/1": "anna",
        "ivan/1.mov": "ivan",
        "ivan/1.mp4": "ivan",
        "ivan_clip_3": "ivan",
        "sets/x/1": "sets/x",
        "speaker_4": "speaker_4",
    }
    assert all(u.clip == u.name for u in data.utterances)


def test_a_corpus_is_read_from_videos_and_sounds_named_below_its_folder(videos):
    paths = [add(videos, name) for name in ("anna/1.mp4", "ivan/1.mp4", "ivan/1.wav")]
    add(videos, "notes.txt")
    assert manifest.clip_files(str(videos)) == {
        "anna/1.mp4": paths[0],
        "ivan/1.mp4": paths[1],
        "ivan/1.wav": paths[2],
    }
    assert list(manifest.clip_files("")) == ["demo/demo.mp4", "demo/demo_b.mp4"]


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no corpus folder"):
        corpus.prepare(CorpusConfig(folder=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="no video in"):
        corpus.prepare(CorpusConfig(folder=str(tmp_path)))
    with pytest.raises(ValueError, match="workers must be 1 or more, got 0"):
        corpus.prepare(CorpusConfig(), workers=0)


def awkward_folder(folder: Path) -> None:
    """The demo's two clips, one with its sound beside it; no video; no sound; no face."""
    path, path_of_other = (demo.clip_path(name) for name in demo.NAMES[:2])
    (folder / "anna").mkdir(parents=True)
    (folder / "anna" / "one.mp4").symlink_to(path)
    frames = list(clip.stream_frames(path_of_other))
    clip.write_video(folder / "mute.mp4", frames)
    clip.write_video(folder / "one.mp4", frames)
    clip.write_audio(folder / "one.wav", clip.sound_of(path_of_other))
    (folder / "broken.mp4").write_bytes(b"no video")
    write_faceless(folder / "grey.mp4")


AWKWARD = {"mute.mp4": "sound", "broken.mp4": "sound", "grey.mp4": "face"}


@pytest.mark.slow
def test_every_clip_of_an_awkward_folder_ends_somewhere(videos, capsys):
    """With real processes, by the command line."""
    awkward_folder(videos)
    arguments = ["corpus", str(videos), "--set", "corpus.max_s=3.0", "--workers", "2"]
    assert command_line.main(arguments) == 0
    words = capsys.readouterr().out.splitlines()
    assert words[-1].startswith("5 clips: 2 usable (0.1 min of 2 speakers; with copies 10 utter")
    config = CorpusConfig(folder=str(videos), max_s=3.0)
    data = corpus.prepare(config)
    assert {row["file"]: row["stage"] for row in listed(data)} == AWKWARD
    assert data.broken["mute.mp4"].startswith("mute.mp4 has no sound and no mute.wav beside it")
    assert data.broken["grey.mp4"] == "grey.mp4 shows no face in 100 % of its frames"
    assert set(data.facts) == {"anna/one", "one"}
    assert all(abs(fact["offset_s"]) < 0.04 for fact in data.facts.values())  # it is in step
    pair = [utterance for utterance in data.utterances if utterance.name == utterance.clip]
    assert abs(len(pair[0]) - len(pair[1])) <= 1 and 70 <= len(pair[0]) <= 75


@pytest.mark.slow
def test_ray_gives_the_same_corpus_as_processes_here(videos, tmp_path):
    awkward_folder(videos)
    config = CorpusConfig(folder=str(videos), max_s=3.0, **PLAIN)
    crew.run_with_ray(
        "import sys; from geneface_kit.person import corpus\n"
        "from notebooks.studies.ray_corpus.cluster import each\n"
        "config = corpus.CorpusConfig(folder=sys.argv[1], max_s=3.0, rates=(1.0,))\n"
        "corpus.prepare(config, by=each, workers=2, out='ray')\n",
        str(videos),
        cwd=tmp_path,
    )
    first = corpus.open_corpus(manifest.corpus_folder(config, tmp_path / "ray"))
    second = corpus.prepare(config, workers=2)
    assert list(first.broken) == list(second.broken) == sorted(AWKWARD)
    for one, two in zip(first.utterances, second.utterances, strict=True):
        assert one.name == two.name
        np.testing.assert_array_equal(one.landmarks, two.landmarks)
        np.testing.assert_allclose(one.speech.features, two.speech.features, atol=1e-4)


@pytest.mark.slow
def test_a_real_clip_is_read_once(shared_data, videos):
    """2.5 seconds of a real speaker: landmarks and speech on one clock, then from disk."""
    (videos / "speaker_2.mp4").symlink_to(shared_data / "corpus" / "speaker_2.mp4")
    data = prepare(videos, max_s=2.5)
    assert [utterance.name for utterance in data.utterances] == ["speaker_2"]
    utterance = data.utterances[0]
    assert len(utterance.speech) == 2 * len(utterance) and 55 <= len(utterance) <= 63
    eyes = utterance.landmarks[:, 45, 0] - utterance.landmarks[:, 36, 0]
    np.testing.assert_allclose(eyes.mean(), 1, atol=0.05)
    stamps = [path.stat().st_mtime_ns for path in sorted(data.folder.glob("*.safetensors"))]
    again = prepare(videos, max_s=2.5)
    np.testing.assert_array_equal(again.utterances[0].landmarks, utterance.landmarks)
    assert [p.stat().st_mtime_ns for p in sorted(again.folder.glob("*.safetensors"))] == stamps


def test_bench_counts_clips_per_minute_and_core(videos, monkeypatch, capsys):
    """Six clips in 30 s of two processes: 12 a minute, 6 for each core, 7,200 in ten hours."""
    for name in ("a.mp4", "b.mp4", "b.wav"):
        add(videos, name)
    measured = []

    def measure(folder, out, workers):
        measured.append((sorted(path.name for path in folder.iterdir()), workers))
        return 60.0 / workers, 24.0, 1.0

    monkeypatch.setattr(bench, "_measure", measure)
    monkeypatch.setattr(bench, "cpu_count", lambda: 2)
    monkeypatch.setattr(bench, "PER_CORE", 3)
    assert bench_main(["corpus", str(videos)]) == 0
    links = [f"{k}-{name}" for k in range(3) for name in ("0-a.mp4", "1-b.mp4", "1-b.wav")]
    assert measured == [(links, 1), (links, 2)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "1 process: 60 s, 6.0 clips per minute, 6.0 per minute and core; 4.0 CPU-s a clip of 10 s"
    )
    assert "2 processes: 30 s, 12.0 clips per minute, 6.0 per minute and core" in lines[2]
    assert lines[3] == "a night of 10 h on 2 cores: 7,200 such clips"


def test_one_recording_under_two_names_is_read_once_and_is_one_speaker(videos, seen, monkeypatch):
    """b.mp4 is the middle of a.mp4, at another level and 0.1 s into a step: its speaker is a's."""
    draw = np.random.default_rng(0)
    loud = np.repeat(draw.uniform(0.01, 1, 48), 2_000)  # syllables of 0.125 s
    long = (loud * draw.uniform(-0.2, 0.2, 96_000)).astype(np.float32)
    other = (loud[::-1] * draw.uniform(-0.2, 0.2, 96_000)).astype(np.float32)
    sounds = {"one.mp4": long, "again.mp4": 0.5 * long[20_100:68_100], "else.mp4": other}
    monkeypatch.setattr(clip, "sound_of", lambda path: sounds[path.name])
    add(videos, "anna/one.mp4", "6")
    twin = add(videos, "berta/again.mp4")
    add(videos, "berta/else.mp4", "6")
    data = prepare(videos)
    assert [one.clip for one in data.utterances] == ["anna/one", "berta/else"]
    assert data.speakers == ["anna"]
    reason = "its sound is a part of anna/one.mp4: left out, and berta counts as the speaker anna"
    assert data.broken == {"berta/again.mp4": reason}
    assert [line["stage"] for line in listed(data)] == ["duplicate"]
    # killed before the sounds were compared: all is read, nothing is marked
    path = data.folder / "index.json"
    index = read_json(path)
    told = {"compared", "reason", "stage"}
    clips = [
        {key: one for key, one in entry.items() if key not in told} for entry in index["clips"]
    ]
    write_json(path, index | {"clips": clips})
    assert prepare(videos).broken == {"berta/again.mp4": reason}
    assert prepare(videos, retry=True).broken == {"berta/again.mp4": reason}
    assert len(seen) == 3  # nothing was read again
    (videos / "anna/one.mp4").unlink()
    data = prepare(videos)  # what it was the duplicate of is gone
    assert [one.clip for one in data.utterances] == ["berta/again", "berta/else"]
    assert data.speakers == ["berta"] and not data.broken and len(seen) == 3 and twin.exists()
