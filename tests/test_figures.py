"""Figures: data and picture travel together, and a picture is what its data gives."""

import json
from pathlib import Path

import acting
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geneface_kit import figures, runs, talk


def run(name="talk-demo-smoke-1", kind="synthetic", status="ok", folder=Path("nowhere")):
    """What a figure asks of a run."""
    facts = {"id": name, "stage": "talk", "subject": "demo", "profile": "smoke", "seed": 0}
    facts |= {"status": status, "data_kind": kind, "config": {}, "metrics": {}}
    return runs.Run(folder, facts, {})


def curves(n=30):
    opening = (0.1 + 0.1 * np.sin(np.arange(n) / 3)).astype(np.float32)
    return figures.mouth_data(opening, acting.face(opening), acting.face(opening / 2))


def strip(n=30):
    stills = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    return figures.filmstrip_data(
        stills, np.array([0, 10, 20, 29]), np.linspace(0, 1, n, dtype="f"), size=32
    )


def groups():
    generator = np.random.default_rng(0)
    places = {"corpus": 0.0, "person": 1.0, "without adaptation": -1.0, "with adaptation": 0.9}
    return {
        name: generator.normal(place, 0.1, (50, 68, 3)).astype(np.float32)
        for name, place in places.items()
    }


def bars():
    rows = [("PSNR", "28.5", "dB"), ("SSIM", "0.9", ""), ("FID", "not measured", "")]
    table = pd.DataFrame(rows, columns=["metric", "value", "unit"])
    table = table.assign(person="demo", protocol="self-driven", method="full")
    table = table.assign(data_kind="synthetic", runs="nerf-1")
    return figures.bars_data([table], ("PSNR", "SSIM", "FID"))


def history():
    step = np.arange(0, 100, 10)
    table = pd.DataFrame({"step": step, "value": np.exp(-step / 30)})
    return table.assign(stage="nerf", part="head", measure="loss")


DATA = {
    "pipeline": figures.pipeline_data,
    "mouth": curves,
    "filmstrip": strip,
    "domains": lambda: figures.domains_data(groups()),
    "training": history,
    "bars": bars,
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "figures"


def test_every_kind_is_tested_here():
    assert set(DATA) == set(figures.DRAW)


@pytest.mark.parametrize("kind", figures.DRAW)
def test_a_figure_is_redrawn_from_its_data_alone(folder, kind):
    figures.save(folder, kind, kind, DATA[kind](), title="A title", sources=[run()])
    facts = json.loads((folder / f"{kind}.json").read_text())
    assert facts["runs"] == ["talk-demo-smoke-1"] and facts["synthetic"]
    assert figures.redraw(folder, check=True) == 0
    picture = (folder / f"{kind}.png").read_bytes()
    (folder / f"{kind}.png").unlink()
    assert figures.redraw(folder, check=True) == 1
    assert figures.redraw(folder) == 0
    assert (folder / f"{kind}.png").read_bytes() == picture


@pytest.mark.parametrize("kind", figures.DRAW)
def test_no_figure_is_empty_and_each_names_synthetic_data(kind, folder):
    for name in ("synthetic", "real"):
        figures.save(folder, name, kind, DATA[kind](), title="T", sources=[run(kind=name)])
    drawn = {path.stem: np.asarray(Image.open(path)) for path in folder.glob("*.png")}
    assert (drawn["real"] < 200).any(axis=2).mean() > 0.005
    top = {name: picture[:40].astype(int) for name, picture in drawn.items()}
    assert np.abs(top["synthetic"] - top["real"]).max() > 100


def test_changed_data_is_noticed(folder):
    figures.save(folder, "mouth", "mouth", curves(), title="T", sources=[run()])
    table = pd.read_csv(folder / "mouth.csv")
    table["rendered"] *= 0.5
    table.to_csv(folder / "mouth.csv", index=False)
    assert figures.redraw(folder, check=True) == 1


def test_only_finished_runs_are_drawn(folder):
    with pytest.raises(ValueError, match="run talk-9 is failed, only ok runs are drawn"):
        figures.save(
            folder, "a", "mouth", curves(), title="T", sources=[run("talk-9", status="failed")]
        )
    assert not folder.exists()


def test_unknown_kind_is_one_sentence(folder):
    figures.save(folder, "a", "mouth", curves(), title="T", sources=[run()])
    facts = json.loads((folder / "a.json").read_text()) | {"kind": "pie"}
    (folder / "a.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="a.json has kind 'pie', known are pipeline"):
        figures.draw(folder, "a")


def test_pipeline_follows_the_table_of_stages():
    data = figures.pipeline_data()
    assert data["stage"].tolist() == list(runs.STAGES)
    parents = dict(zip(data["stage"], data["parents"], strict=True))
    assert parents["adaptation"].split() == ["person", "motion"]
    places = set(zip(data["column"], data["row"], strict=True))
    assert len(places) == len(data)


def test_mouth_data_by_hand():
    data = curves(3)
    assert data["seconds"].tolist() == [0, 0.04, 0.08]
    assert data["rendered"].to_numpy() == pytest.approx(data["adapted"].to_numpy() / 2, abs=1e-5)


def test_domains_lie_where_they_are_apart():
    data = figures.domains_data(groups())
    means = data.groupby("origin")["x"].mean()
    # The four centres lie on one line through all 204 coordinates: sqrt(204) units apart.
    far = abs(means["person"] - means["without adaptation"])
    assert far == pytest.approx(2 * np.sqrt(204), rel=0.02)
    assert abs(means["person"] - means["with adaptation"]) < 0.1 * far
    assert data["y"].abs().max() < 1


def test_neighbours_of_one_origin_stay_together():
    """Origins far apart in space stay apart in the t-SNE: each dot's nearest is of its own kind."""
    data = figures.domains_data(groups(), n_points=40, neighbours=True)
    plane, kind = data[["u", "v"]].to_numpy(), data["origin"].to_numpy()
    away = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(away, np.inf)
    assert (kind[away.argmin(1)] == kind).mean() > 0.9
    assert len(figures.draw_domains(data, "title").axes) == 2


def test_domains_count_every_group_alike():
    few = groups()
    many = few | {"corpus": np.repeat(few["corpus"], 8, axis=0)}
    a, b = (figures.domains_data(g, n_points=50) for g in (few, many))
    pd.testing.assert_frame_equal(a[a.origin != "corpus"], b[b.origin != "corpus"], atol=0.5)


def test_training_data_reads_every_history(tmp_path):
    made = run("nerf-1", folder=tmp_path)
    (tmp_path / "head_history.csv").write_text("step,loss,psnr\n1,0.5,\n2,0.25,20\n")
    data = figures.training_data([made])
    assert data["part"].unique().tolist() == ["head"]
    assert data[data["measure"] == "loss"]["value"].tolist() == [0.5, 0.25]
    assert data[data["measure"] == "psnr"]["step"].tolist() == [2]


def test_bars_leave_out_what_was_not_measured():
    assert bars()["metric"].tolist() == ["PSNR", "SSIM"]


def test_filmstrip_is_small_and_keeps_its_frames():
    data = strip()
    assert data["stills"].shape == (4, 32, 32, 3)
    assert data["still_frames"].tolist() == [0, 10, 20, 29]
    assert len(data["loudness"]) == 30 and talk.FPS == 25
