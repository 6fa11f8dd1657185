"""Store: what goes in comes out as views; opening and training read only what they use."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from talkers import write_corpus

from geneface_kit.person import corpus
from geneface_kit.person.corpus import manifest, store

MEMORY_SCRIPT = """
import json, sys
import torch
from pathlib import Path
from geneface_kit.person import corpus

def memory_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {name: int(value) / 1024 for name, value in values.items()}

def batch(part, seed):
    draw = torch.Generator().manual_seed(seed)
    return corpus.draw_batch(*part, size=8, frames=100, generator=draw)

small = corpus.open_corpus(Path(sys.argv[1]))
part = small.utterances, corpus.displacements(small.utterances, corpus.CorpusConfig())
batch(part, 0)
corpus.feature_statistics(small.utterances)
before = memory_mb()
data = corpus.open_corpus(Path(sys.argv[2]))
opened = memory_mb()
part = data.utterances, corpus.displacements(data.utterances, corpus.CorpusConfig())
corpus.feature_statistics(data.utterances)
for seed in range(50):
    batch(part, seed)
print(json.dumps([before, opened, memory_mb()]))
"""


def test_every_utterance_is_a_view_into_a_map(tmp_path):
    data = corpus.open_corpus(write_corpus(tmp_path, n_clips=3, n_frames=10))
    assert [utterance.name for utterance in data.utterances] == [
        "speaker000", "speaker001", "speaker002",
    ]  # fmt: skip
    for index, utterance in enumerate(data.utterances):
        spoken = utterance.speech
        for array in (spoken.features, spoken.f0, spoken.mel, utterance.landmarks):
            assert not array.flags.owndata and array.dtype == np.float32
        assert len(spoken) == 2 * len(utterance) == 20
        np.testing.assert_array_equal(utterance.landmarks[:, 0, 0], index)
        np.testing.assert_array_equal(utterance.landmarks[:, 0, 1], np.arange(10))


def test_a_write_into_a_view_does_not_reach_the_disk(tmp_path):
    home = write_corpus(tmp_path, n_clips=1, n_frames=4)
    corpus.open_corpus(home).utterances[0].landmarks[:] = -1
    assert (corpus.open_corpus(home).utterances[0].landmarks[:, 0, 1] == np.arange(4)).all()


def test_every_clip_has_a_file_and_the_index_follows_while_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "EVERY", 2)
    written = []
    monkeypatch.setattr(
        store.runs, "write_json", lambda path, index: written.append(len(index["clips"]))
    )
    home = write_corpus(tmp_path, n_clips=5, n_frames=50)
    sizes = [path.stat().st_size for path in home.glob("*.safetensors")]
    clip_bytes = 4 * 50 * (2 * (6 + 1 + 80) + 204)
    assert len(sizes) == 5 and max(sizes) < 1.1 * clip_bytes  # and a header
    assert written == [2, 4, 5]


def test_reading_cut_in_the_middle_keeps_what_was_read(tmp_path):
    """Two of three clips are read; arrays of which no index knows are not kept."""
    home = write_corpus(tmp_path, n_clips=3, n_frames=10)
    config = corpus.CorpusConfig(folder=str(tmp_path / "videos"), rates=(1.0,))
    jobs = manifest.clip_jobs(config, home)
    (home / "unknown.safetensors").write_bytes(b"of a process that was killed")
    shapes = {"features": (20, 2), "f0": (20,), "mel": (20, 80), "landmarks": (10, 68, 3)}

    def outcomes():
        arrays = {kind: np.ones(shapes[kind], np.float32) for kind in shapes}
        yield jobs[2], ({"version": ""}, arrays)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pack(home, jobs, outcomes(), {jobs[0].key: store.packed(home)[jobs[0].key]})
    found = corpus.open_corpus(home).utterances
    assert [u.name for u in found] == ["speaker000", "speaker002"]
    assert (found[1].landmarks == 1).all()
    assert [job.key in store.packed(home) for job in jobs] == [True, False, True]
    assert {path.stem for path in home.glob("*.safetensors")} == {jobs[0].key, jobs[2].key}


def test_a_damaged_clip_is_an_error_when_opened_and_unknown_when_made(tmp_path):
    home = write_corpus(tmp_path, n_clips=2, n_frames=10)
    assert len(store.packed(home)) == 2
    array = next(home.glob("*.safetensors"))
    array.write_bytes(array.read_bytes()[:-4])
    with pytest.raises(ValueError, match=f"{array.name} is damaged: run `corpus FOLDER` again"):
        corpus.open_corpus(home)
    (kept,) = store.packed(home)
    assert kept != array.stem


def test_another_schema_or_no_index_is_no_corpus(tmp_path):
    home = write_corpus(tmp_path, n_clips=1, n_frames=10)
    index = json.loads((home / store.INDEX).read_text())
    assert index["settings"]["encoder"] == "hama" and index["settings"]["max_s"] == 60.0
    (home / store.INDEX).write_text(json.dumps(index | {"schema": 0}))
    with pytest.raises(FileNotFoundError, match="make it with `corpus FOLDER`"):
        corpus.open_corpus(home)
    assert store.packed(home) == {}


def test_batches_from_disk_are_those_from_memory(tmp_path):
    import torch

    data = corpus.open_corpus(write_corpus(tmp_path, n_clips=3, n_frames=60))
    loaded = [
        dataclasses.replace(
            utterance,
            landmarks=np.array(utterance.landmarks),
            speech=dataclasses.replace(
                utterance.speech, features=np.array(utterance.speech.features)
            ),
        )
        for utterance in data.utterances
    ]
    batches = []
    for utterances in (data.utterances, loaded):
        motions = corpus.displacements(utterances, corpus.CorpusConfig())
        draw = torch.Generator().manual_seed(0)
        batches.append(corpus.draw_batch(utterances, motions, size=4, frames=20, generator=draw))
    assert torch.equal(batches[0].motion, batches[1].motion)
    assert torch.equal(batches[0].speech, batches[1].speech)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.slow
def test_memory_is_flat_in_the_size_of_the_corpus(tmp_path):
    """300 MB on disk: opening maps them unread, training keeps none of them.

    Pages of the maps that were read count as file memory, which the system takes back at will;
    memory of the process's own may grow by one utterance of 8 MB in double precision and a batch.
    """
    (tmp_path / "small").mkdir()
    small = write_corpus(tmp_path / "small", n_clips=2, n_frames=100, channels=144)
    home = write_corpus(tmp_path, n_clips=40, n_frames=3000, channels=144)
    size_mb = sum(file.stat().st_size for file in home.glob("*.safetensors")) / 2**20
    assert size_mb > 295
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(small), str(home)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    before, opened, trained = json.loads(done.stdout)
    assert sum(opened.values()) - sum(before.values()) < 10
    assert trained["RssAnon"] - before["RssAnon"] < 40
    assert trained["RssFile"] - before["RssFile"] > 150  # it did read features and landmarks
