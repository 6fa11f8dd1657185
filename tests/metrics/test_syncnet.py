"""SyncNet without its checkpoint: layout, sound features, windows, scores by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geneface_kit.metrics import networks, syncnet


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return syncnet.SyncNet().eval()


def test_cepstra_are_those_of_python_speech_features():
    time = np.arange(3000) / 16_000
    chirp = 0.4 * np.sin(2 * np.pi * (200 + 900 * time) * time)
    found = syncnet.cepstra((chirp + 0.05 * np.sin(2 * np.pi * 3100 * time)).astype(np.float32))
    # mfcc(int16, 16000) of python_speech_features 0.6 gave these first and last rows.
    first = [19.9925, 4.1997, 8.7124, 35.8924, -26.2433, -14.5986, 18.1399, -46.1549, -27.0283]
    last = [20.4343, 7.1766, -1.7179, 2.3039, -51.8992, -29.827, 11.795, -24.0508, 14.3573]
    assert found.shape == (18, 13)  # 1 + ceil((3000 - 400) / 160)
    assert found[0, :9].tolist() == pytest.approx(first, abs=1e-3)
    assert found[-1, :9].tolist() == pytest.approx(last, abs=1e-3)


def test_towers_meet_in_1024_numbers(model):
    with torch.no_grad():
        assert model.face(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
        assert model.sound(torch.zeros(1, 1, 13, 20)).shape == (1, 1024)


def test_layers_carry_the_names_of_the_checkpoint(model):
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)
    assert {name.split(".")[0] for name in shapes} == {
        "netcnnaud", "netcnnlip", "netfcaud", "netfclip",
    }  # fmt: skip


def test_a_checkpoint_is_read_without_running_it(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "good")
    read = syncnet.load(tmp_path / "good")
    assert torch.equal(read.netfclip[0].weight, model.netfclip[0].weight) and not read.training
    torch.save(model, tmp_path / "whole")  # an object, which could run code when read
    with pytest.raises(ValueError, match="whole cannot be read"):
        syncnet.load(tmp_path / "whole")
    torch.save({"netfcaud.0.weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="other cannot be read"):
        syncnet.load(tmp_path / "other")


def test_windows_hold_the_sound_of_their_frames():
    pictures = np.zeros((9, 2, 2, 3), np.uint8)
    pictures[..., 0] = np.arange(9)[:, None, None]  # red counts the frames
    sound = np.repeat(np.arange(40.0)[:, None], 13, axis=1)
    faces, heard = syncnet.windows(pictures, sound, 4)
    assert faces.shape == (4, 3, 5, 2, 2) and heard.shape == (4, 1, 13, 20)
    assert faces[3, 2, :, 0, 0].tolist() == [3, 4, 5, 6, 7], "blue, green, red"
    assert heard[3, 0, 5].tolist() == list(range(12, 32))


class Counting(torch.nn.Module):
    """One-hot vectors of the number that a window holds."""

    def face(self, faces):
        return torch.nn.functional.one_hot(faces[:, 0, 0, 0, 0].long(), 64).float()

    def sound(self, sound):
        return torch.nn.functional.one_hot(sound[:, 0, 0, 0].long(), 64).float()


def test_scores_of_a_sound_that_comes_three_frames_early():
    count = torch.arange(40.0)
    faces = count[:, None, None, None, None].expand(40, 3, 5, 1, 1)
    confidence, distance = syncnet.scores(
        Counting(), faces, (count + 3)[:, None, None, None].expand(40, 1, 13, 20)
    )
    # At the right shift 37 windows agree and 3 meet the zeros past the end, a distance of 1.
    # At any other shift by p frames p windows meet zeros and the rest is sqrt(2) apart. Below
    # the median, of p = 8, lie the best shift and both signs of p = 9 .. 15.
    assert distance == pytest.approx(3 / 40, abs=1e-4)
    assert confidence == pytest.approx((8 + 32 * 2**0.5) / 40 - 3 / 40, abs=1e-4)


def test_crops_hold_the_face_and_more_below():
    frames = np.zeros((3, 256, 256, 3), np.uint8)
    frames[..., 0], frames[..., 1] = np.arange(256), np.arange(256)[:, None]
    boxes = np.tile(np.float32([100, 100, 140, 140]), (3, 1))
    cut = syncnet.crops(frames, boxes)
    # Half side 20, middle 120: columns 92 .. 147, rows 100 .. 155.
    assert cut.shape == (3, 224, 224, 3)
    assert cut[1, 100, [0, -1], 0].tolist() == [92, 147]
    assert cut[1, [0, -1], 100, 1].tolist() == [100, 155]
    outside = syncnet.crops(frames, boxes - np.float32([100, 0, 100, 0]))
    assert (outside[:, :, 0] == 110).all(), "left of the picture is grey"


def test_lse_of_a_checkpoint_of_its_layout(model, tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    torch.save(model.state_dict(), tmp_path / networks.NETWORKS["syncnet"].file)
    entry = replace(networks.NETWORKS["syncnet"], sha256="")
    monkeypatch.setitem(networks.NETWORKS, "syncnet", entry)
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (8, 64, 64, 3), np.uint8)
    audio = generator.normal(0, 0.1, 8 * 640).astype(np.float32)
    boxes = np.tile(np.float32([20, 20, 44, 50]), (8, 1))
    confidence, distance = syncnet.lse(frames, audio, boxes)
    assert distance > 0 and confidence >= 0
    short = syncnet.lse(frames[:5], audio, boxes[:5])
    assert str(short) == "not measured" and "more than 5 frames" in short.reason
