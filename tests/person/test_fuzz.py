"""Fuzz: no truncated or bit-flipped file crashes the decoder, hangs it or leaves half a person."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import Film, read_film

from geneface_kit.person import clip, demo
from geneface_kit.person import stage as person
from notebooks.studies.fuzz.damages import mangle

pytestmark = pytest.mark.usefixtures("uncalibrated")

ROOT = Path(__file__).parents[2]
KINDS = [
    ("h264.mp4", "libx264", "aac"),
    ("vp9.webm", "libvpx-vp9", "libopus"),
    ("mpeg4.avi", "mpeg4", "libmp3lame"),
    ("h264.mkv", "libx264", "flac"),
    ("mpeg2.ts", "mpeg2video", "ac3"),
]
N_VARIANTS = 24
"""Variants of each file; larger runs: `python -m tests.mangled 0:1000 FILE...`."""


def encode(path: Path, talking: Film, video: str, audio: str) -> Path:
    """A real file of the given codecs; skips where this build of PyAV cannot write them."""
    try:
        av.Codec(video, "w"), av.Codec(audio, "w")
    except av.codec.codec.UnknownCodecError as missing:
        pytest.skip(f"PyAV has no encoder {missing}")
    rate = 48_000 if audio in ("libopus", "ac3") else clip.SAMPLE_RATE
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video, rate=clip.FPS)
        picture.height, picture.width = talking.frames.shape[1:3]
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream(audio, rate=rate, layout="mono")
        resampler = av.AudioResampler(
            sound.codec_context.format, "mono", rate, sound.codec_context.frame_size or None
        )
        for index, frame in enumerate(talking.frames):
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pts, shown.time_base = index, Fraction(1, clip.FPS)
            container.mux(picture.encode(shown))
        container.mux(picture.encode(None))
        heard = av.AudioFrame.from_ndarray(talking.audio[None], format="flt", layout="mono")
        heard.sample_rate, heard.pts = clip.SAMPLE_RATE, 0
        for piece in (*resampler.resample(heard), *resampler.resample(None)):
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="module")
def talking() -> Film:
    """1.2 seconds of the demo person."""
    return read_film(demo.clip_path("demo"), size=96, max_s=1.2)


@pytest.mark.slow
def test_mangled_files_are_read_or_refused(tmp_path, talking):
    files = [str(encode(tmp_path / name, talking, *codecs)) for name, *codecs in KINDS]
    command = [sys.executable, "-m", "tests.mangled", f"0:{N_VARIANTS}", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1] if lines else ''}\n{done.stderr[-2000:]}"
    assert len(lines) == N_VARIANTS * len(KINDS)
    refused = sum(line.endswith("refused") for line in lines)
    assert 0.05 < refused / len(lines) < 0.95  # the damage is neither nothing nor everything


@pytest.mark.slow
def test_the_watch_over_mangled_files_sees_what_is_wrong(tmp_path, talking):
    path = encode(tmp_path / "v.mp4", talking, "libx264", "aac")
    script = (
        "import sys; from geneface_kit.person import clip; from tests import mangled\n"
        "mangled.LIMIT_S = 2\n"
        "clip.stream_frames = lambda *_, **__: {0}\n"
        "mangled.main(range(4, 5), [__import__('pathlib').Path(sys.argv[1])])"
    )
    for fault, words in (
        ("__import__('time').sleep(60)", "Timeout"),
        ("__import__('os').abort()", "Aborted"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script.format(fault), str(path)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        assert done.returncode != 0 and words in done.stderr


@pytest.mark.parametrize("seed", [1, 3, 4])
@pytest.mark.slow
def test_a_mangled_clip_is_a_whole_person_or_none(tmp_path, seed):
    source = tmp_path / "v.mp4"
    whole = read_film(demo.clip_path("demo"), size=96, max_s=2.0)
    clip.write_video(source, whole.frames, whole.audio)
    source.write_bytes(mangle(source.read_bytes(), seed))
    folder = tmp_path / "person"
    try:
        prepared = person.prepare(source, folder, person.PersonConfig(size=32))
    except ValueError as error:
        assert "\n" not in str(error)
        assert not (folder / "person.json").exists()
    else:
        assert len(person.load(folder, judged=False)) == len(prepared) >= clip.FPS
    assert not list(folder.glob("*.part*"))


def test_a_jump_of_the_clock_is_no_endless_still(tmp_path, caplog):
    """A frame stamped a day late would otherwise be waited for with two million copies."""
    from test_clip import gray_ramp, numbers, write_at

    for late in (86_400.0, 15.0):
        write_at(tmp_path / "a.mp4", gray_ramp(6), [0, 0.04, 0.08, late, late + 0.04, late + 0.08])
        assert numbers(clip.stream_frames(tmp_path / "a.mp4")) == [0, 1, 2, 3, 4, 5]
    assert "time stamps jump" in caplog.text
    sound = np.zeros(16_000, np.float32) + 0.1
    clip.write_audio(tmp_path / "a.wav", sound)
    assert len(clip.sound_of(tmp_path / "a.mp4")) == 16_000
