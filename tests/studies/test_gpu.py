"""Bench gpu: without a GPU it says so and writes nothing; with one, a part that fails is named."""

import csv

import torch

from notebooks.studies.speed import gpu
from notebooks.studies.speed.__main__ import main


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "root", lambda: tmp_path)
    assert main(["gpu"]) == 0
    assert "no GPU" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_with_a_gpu_all_parts_are_written_and_a_failed_one_says_why(monkeypatch, tmp_path):
    def parity(subject):
        yield "kernel tests on CUDA, passed", 40.0, "tests"

    def training(subject):
        raise RuntimeError("out of memory\nand more")

    def frames(subject):
        yield "256 x 256, video", 123.456, "frames/s"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    for name, part in (("_parity", parity), ("_training", training), ("_frames", frames)):
        monkeypatch.setattr(gpu, name, part)
    lines = list(gpu.bench_gpu(folder=tmp_path))
    assert any("123.5 frames/s" in line for line in lines)
    with (tmp_path / "gpu.csv").open() as file:
        rows = {row["what"]: row["value"] for row in csv.DictReader(file)}
    assert rows["device"] == "a card" and rows["256 x 256, video"] == "123.456"
    assert rows["training"] == "not measured: out of memory"
