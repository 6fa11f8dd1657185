"""The wheel: installed outside the repository it talks at once, and the sdist holds as much."""

import os
import shutil
import subprocess
import sys
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

import geneface_kit
from geneface_kit.person import clip

pytestmark = pytest.mark.slow
TOP = Path(geneface_kit.__file__).parents[1]
SOURCES = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "NOTICE",
    "geneface_kit",
    "figures",
)
"""What a distribution is built of."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def done(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What a command says, run without the network, a checkout on its path or a named root."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("GENEFACE_KIT_ROOT", "PYTHONPATH")
    }
    ended = subprocess.run(
        command, cwd=cwd, env=environment | variables, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The wheel and the sdist, built from a copy of the sources by the setuptools that is here."""
    pytest.importorskip("setuptools", "77", reason="a wheel is built offline by setuptools 77")
    home = tmp_path_factory.mktemp("built")
    source, out = home / "source", home / "out"
    source.mkdir()
    out.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, source / name, ignore=left_out)
        else:
            shutil.copy(TOP / name, source)
    done(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", out, source, cwd=home)
    done(sys.executable, "-c", SDIST, out, cwd=source)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def test_the_wheel_and_the_sdist_hold_every_file_of_the_package_and_its_terms(built):
    files = {
        path.relative_to(TOP).as_posix()
        for path in (TOP / "geneface_kit").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "geneface_kit/person/demo/avatar/joint.safetensors" in files
    with zipfile.ZipFile(built["wheel"]) as wheel:
        held = set(wheel.namelist())
        (notice,) = [one for one in held if one.endswith(".dist-info/licenses/NOTICE")]
        assert wheel.read(notice) == (TOP / "NOTICE").read_bytes()
        assert any(one.endswith(".dist-info/licenses/LICENSE") for one in held)
    assert not files - held, files - held
    with tarfile.open(built["sdist"]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    files |= {"LICENSE", "NOTICE"}
    assert not files - held, files - held


def test_the_demo_talks_from_the_wheel_alone(built, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    done(
        *(*PIP, "install", "--no-deps", "--no-index", "--no-compile"),
        *("--target", installed, built["wheel"]),
        cwd=tmp_path,
    )
    at = np.arange(16_000) / 16_000
    sound = 8_000 * np.sin(2 * np.pi * 150 * at) * np.sin(2 * np.pi * 2 * at)
    with wave.open(str(empty / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(sound.astype("<i2").tobytes())
    asked = "import geneface_kit; print(geneface_kit.__file__)"
    used = done(sys.executable, "-c", asked, cwd=empty, PYTHONPATH=str(installed))
    assert Path(used.strip()) == installed / "geneface_kit" / "__init__.py"
    command = (sys.executable, "-m", "geneface_kit", "talk", "demo", "in.wav", "out.mp4")
    said = done(*command, cwd=empty, PYTHONPATH=str(installed))
    assert "not said, seen or endorsed by the talker" in said
    pictures = np.stack(list(clip.stream_frames(empty / "out.mp4")))
    assert pictures.shape == (25, 256, 256, 3) and pictures.std() > 10
    assert clip.probe(empty / "out.mp4").n_sounds == 1
    assert np.abs(clip.read_audio(empty / "out.mp4")).max() > 0.1
    assert {path.name for path in empty.iterdir()} == {"in.wav", "out.mp4"}
    command = (sys.executable, "-m", "geneface_kit", "--help")
    said = done(*command, cwd=empty, PYTHONPATH=str(installed))
    assert "\n  talk " in said and "\n  bench " not in said  # studies are of a checkout
