"""The training loop: exact resume, best weights, early stop, honest weight files."""

import math
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torch import nn

from geneface_kit.runs import training, weights
from geneface_kit.runs.files import Damaged, Lacking


class Line(training.Task):
    """Fits y = 2x with noisy samples: every step draws, so resumes must restore the stream."""

    def __init__(self, interrupt_at: int = -1, kill_at: int = -1, number=signal.SIGINT):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.modules = {"net": net}
        self.optimizers = {"adam": torch.optim.Adam(net.parameters(), lr=0.02)}
        self.interrupt_at, self.kill_at, self.number = interrupt_at, kill_at, number
        self.scores: list[float] = []

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        if index == self.interrupt_at:
            os.kill(os.getpid(), self.number)
        if index == self.kill_at:
            raise MemoryError("the process dies here")
        x = torch.randn(16, 1, generator=generator)
        loss = (self.modules["net"](x) - 2 * x).square().mean()
        self.optimizers["adam"].zero_grad()
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss": loss.item()}

    def validate(self, index: int) -> dict[str, float]:
        # best at the second validation, whatever the weights are
        return {"score": abs(index + 1 - 20) / 10}


def run(task, folder, **options):
    options = {"steps": 60, **options}
    generator = torch.Generator().manual_seed(3)
    return training.fit(task, folder, name="line", generator=generator, **options)


def weights_of(task) -> torch.Tensor:
    return torch.cat(
        [value.flatten().float() for value in task.modules["net"].state_dict().values()]
    )


def test_the_loss_falls(tmp_path):
    losses = [row["loss"] for row in run(Line(), tmp_path).rows]
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])


TERMINATED = {"interrupt_at": 25, "number": signal.SIGTERM}


@pytest.mark.parametrize("end", [{"interrupt_at": 25}, TERMINATED, {"kill_at": 25}])
def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path, monkeypatch, end):
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Line()
    found = run(whole, tmp_path / "a")
    with pytest.raises((KeyboardInterrupt, MemoryError)):
        run(Line(**end), tmp_path / "b")
    resumed = Line()
    history_of_two = run(resumed, tmp_path / "b")
    assert torch.equal(weights_of(whole), weights_of(resumed))
    losses = [[row["loss"] for row in one.rows] for one in (history_of_two, found)]
    assert losses[0] == losses[1]


def test_a_fit_interrupted_between_two_rows_writes_the_same_history(tmp_path):
    """A row holds the mean of three updates here; the cut comes after the first of them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    options = {"steps": 600}
    run(Line(), tmp_path / "a", **options)
    with pytest.raises(KeyboardInterrupt):
        run(Line(interrupt_at=24), tmp_path / "b", **options)
    run(Line(), tmp_path / "b", **options)
    whole, cut = ((tmp_path / name / "line_history.csv").read_bytes() for name in "ab")
    assert whole == cut


class Diverging(Line):
    """From update 40 on, its loss or its weights are no numbers."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def step(self, index, generator):
        losses = super().step(index, generator)
        if index >= 40 and self.where == "weights":
            self.modules["net"][0].bias.data[3] = math.inf
        return {"loss": math.nan} if index >= 40 and self.where == "loss" else losses


@pytest.mark.parametrize(
    ("where", "said"), [("loss", "its loss is nan"), ("weights", "net.0.bias is not finite")]
)
def test_a_diverged_training_fails_and_its_last_good_weights_stay(
    tmp_path, monkeypatch, where, said
):
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    words = rf"training of line diverged at update 41 \({said}\); the last good weights stay in "
    with pytest.raises(ValueError, match=words):
        run(Diverging(where), tmp_path)
    kept = weights.load_nested(tmp_path / "line_checkpoint.safetensors")
    assert kept["step"] == 40
    assert all(value.isfinite().all() for value in kept["weights"].values())


def test_a_training_that_diverges_at_once_has_nothing_to_keep(tmp_path):
    with pytest.raises(ValueError, match="diverged at update 41 .*no checkpoint was due before"):
        run(Diverging("loss"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_comes_after_seconds_of_work_however_slow_an_update_is(tmp_path, monkeypatch):
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(training.time, "perf_counter", lambda: now.value)
    saved = []
    keep = training.save_nested
    monkeypatch.setattr(
        training, "save_nested", lambda path, what: (saved.append(what["step"]), keep(path, what))
    )

    class Slow(Line):
        def step(self, index, generator):
            now.value += 8
            return super().step(index, generator)

    run(Slow(), tmp_path, steps=10)
    assert saved == [4, 8, 10]


def test_seconds_go_on_where_a_fit_was_cut(tmp_path, monkeypatch):
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(training.time, "perf_counter", lambda: now.value)

    class Slow(Line):
        def step(self, index, generator):
            now.value += 2
            return super().step(index, generator)

        def validate(self, index):
            now.value += 50  # looking is not training
            return super().validate(index)

    with pytest.raises(KeyboardInterrupt):
        run(Slow(interrupt_at=25), tmp_path, validate_every=10)
    now.value += 1000  # nor is what lies between two attempts
    run(Slow(), tmp_path, validate_every=10)
    rows = (tmp_path / "line_clock.csv").read_text().splitlines()
    assert rows[0] == "step,seconds"
    seconds = {int(step): float(s) for step, s in (row.split(",") for row in rows[1:])}
    assert seconds[10] == 20 and seconds[20] == 40 and seconds[60] == 120


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_a_damaged_checkpoint_is_no_dead_end(tmp_path, content, caplog):
    whole, path = Line(), tmp_path / "line_checkpoint.safetensors"
    run(whole, tmp_path)
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    again = Line()
    run(again, tmp_path)
    assert torch.equal(weights_of(whole), weights_of(again))
    assert re.search("it starts anew: .*/line_checkpoint.safetensors cannot be read", caplog.text)


def test_a_finished_fit_is_not_repeated(tmp_path):
    first = Line()
    run(first, tmp_path)
    again = Line(kill_at=0)  # would die on any step
    run(again, tmp_path)
    assert torch.equal(weights_of(first), weights_of(again))


def test_a_stop_file_ends_the_fit_and_is_removed(tmp_path):
    (tmp_path / "stop").touch()
    found = run(Line(), tmp_path)
    assert found.rows[-1]["step"] == 1
    assert not (tmp_path / "stop").exists()


def test_weights_come_back(tmp_path):
    path = tmp_path / "net.safetensors"
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    weights.save_weights(path, net, encoder="hama")
    assert weights.load_weights(path, other, encoder="hama") == {"encoder": "hama"}
    assert torch.equal(net.weight, other.weight)


def test_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save_weights(path, nn.Linear(3, 2), encoder="hama")
    with pytest.raises(ValueError, match="'hama', but encoder 'hubert'"):
        weights.load_weights(path, nn.Linear(3, 2), encoder="hubert")
    with pytest.raises(ValueError, match="does not fit Linear: 0 tensors missing, 0 foreign, 1"):
        weights.load_weights(path, nn.Linear(4, 2))
    with pytest.raises(FileNotFoundError, match="there is no .*absent: run its stage first"):
        weights.load_weights(tmp_path / "absent", nn.Linear(4, 2))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save_weights(path, nn.Linear(3, 2))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Damaged, match="cannot be read"):
        weights.load_weights(path, nn.Linear(3, 2))


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(Lacking, match="the disk is full: make room, and run the same command"):
        weights.save_weights(tmp_path / "net.safetensors", nn.Linear(1, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_holds_tensors_and_json_and_no_pickle(tmp_path):
    path = tmp_path / "nested.safetensors"
    content = {
        "step": 3,
        "score": math.inf,
        "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
        "state": {0: {"mean": torch.arange(3.0)}},
        "bytes": torch.tensor([1, 255], dtype=torch.uint8),
    }
    weights.save_nested(path, content)
    found = weights.load_nested(path)
    assert torch.equal(found["state"]["0"]["mean"], torch.arange(3.0))
    assert found["bytes"].tolist() == [1, 255] and found["bytes"].dtype == torch.uint8
    assert found["groups"] == [{"lr": 0.1, "betas": [0.9, 0.99]}]
    assert (found["step"], found["score"]) == (3, math.inf)
    with safe_open(path, framework="numpy") as file:
        assert len(list(file.keys())) == 2


def test_equal_networks_are_equal_bytes_whatever_the_order_of_their_words(tmp_path):
    """Twenty words, hard to spell: in a file they stand in the order of the alphabet."""
    words = {f"word{n}": 'ü "quoted"\n\t\x1f\\ €' * n for n in range(20)}
    net, found = torch.nn.Linear(3, 2), []
    for order in (sorted(words), sorted(words, reverse=True)):
        path = tmp_path / f"{order[0]}.safetensors"
        weights.save_weights(path, net, **{word: words[word] for word in order})
        found.append(path.read_bytes())
        assert weights.read_metadata(path) == words
    assert found[0] == found[1]
    places = [found[0].index(f'"word{n}"'.encode()) for n in (0, 1, 10, 11, 2)]
    assert places == sorted(places)
    again = torch.nn.Linear(3, 2)
    weights.load_weights(path, again)
    assert torch.equal(again.weight, net.weight)
