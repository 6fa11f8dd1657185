"""Figures: data and picture travel together, and a picture is what its data gives."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import acting
import geneface_kit_figures as figures
import numpy as np
import pandas as pd
import pytest
from geneface_kit_figures import __main__ as command_line
from geneface_kit_figures.phonemes import Mark
from PIL import Image

from geneface_kit import runs
from geneface_kit.person import speech
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.pipeline.stages import STAGES
from geneface_kit.runs.files import Damaged, write_json
from geneface_kit.talk import plan as plan_module
from geneface_kit.talk.postprocess import TalkConfig


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


def bars(kind="real"):
    rows = [("PSNR", "28.5", "dB"), ("SSIM", "0.9", ""), ("FID", "not measured", "")]
    table = pd.DataFrame(rows, columns=["metric", "value", "unit"])
    table = table.assign(person="demo", protocol="self-driven", method="full")
    table = table.assign(data_kind=kind, runs="nerf-1")
    return figures.bars_data([table], ("PSNR", "SSIM", "FID"))


def history():
    step = np.arange(0, 100, 10)
    table = pd.DataFrame({"step": step, "value": np.exp(-step / 30)})
    return table.assign(stage="nerf", part="head", measure="loss")


MARKS = [Mark(3, "m b p", 0.9), Mark(8, "a", 0.8)]


def faces(n, seed=0, size=40):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


def grid():
    return figures.grid_data({"full": faces(2), "no post-net": faces(2, 1)}, MARKS, size=24)


def strips():
    row = {"pictures": faces(2), "frames": np.array([3, 8]), "shapes": np.array(["m b p", "a"])}
    row |= {"loudness": np.linspace(0, 1, 20, dtype="f")}
    row |= {"mark_frames": np.array([3, 8, 12]), "mark_shapes": np.array(["m b p", "a", "f v"])}
    longer = row | {"loudness": np.linspace(1, 0, 50, dtype="f")}
    return figures.filmstrips_data({"ada · song.wav": row, "ben · news.wav": longer}, size=24)


def worst():
    numbers = {"frames": np.arange(4).reshape(2, 2), "psnr": np.full((2, 2), 20.0)}
    return {
        "pictures": faces(4).reshape(2, 2, 40, 40, 3),
        "names": np.array(["ada", "ben"]),
    } | numbers


def openings(n=60):
    time = np.arange(n) / 25
    table = pd.DataFrame({"seconds": time, "held_out": (time > 2).astype(int)})
    table["tracked"] = 0.1 + 0.1 * np.sin(9 * time)
    return table.assign(kit=table["tracked"] / 2, ridge=0.1 + 0.01 * np.cos(9 * time), mean=0.1)


def table_c():
    cells = [("full", "0.8", 0), ("full", "0.9", 1), ("no sync", "0.5", 0)]
    rows = pd.DataFrame(cells, columns=["method", "value", "seed"]).astype(str)
    rows = rows.assign(person="demo", metric="sync expert", unit="", data_kind="synthetic")
    rows.loc[len(rows)] = ["flat", "not measured", "0", "demo", "sync expert", "", "synthetic"]
    rows = rows.assign(protocol="self-driven", profile="smoke")
    return rows.assign(runs=[f"evaluation-{k}" for k in range(len(rows))])


DATA = {
    "grid": grid,
    "worst": worst,
    "filmstrips": strips,
    "opening": openings,
    "ablations": lambda: figures.ablations_data([table_c()], "demo", "smoke").assign(
        data_kind="real"
    ),
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
    assert facts["runs"][0] == "talk-demo-smoke-1" and facts["synthetic"]
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
    with pytest.raises(Damaged, match="a.json cannot be read .*it was changed"):
        figures.draw(folder, "a")
    write_json(folder / "a.json", {name: facts[name] for name in list(facts)[:-1]})
    with pytest.raises(ValueError, match="a.json has kind 'pie', known are pipeline"):
        figures.draw(folder, "a")


def test_pipeline_follows_the_table_of_stages():
    data = figures.pipeline_data()
    assert data["stage"].tolist() == list(STAGES)
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
    assert len(data["loudness"]) == 30


def test_rows_of_a_grid_show_the_same_moments():
    with pytest.raises(ValueError, match="row 'full' has 3 pictures for 2 marks"):
        figures.grid_data({"full": faces(3)}, MARKS)
    data = grid()
    assert data["pictures"].shape == (2, 2, 24, 24, 3) and data["frames"].tolist() == [3, 8]


def test_a_real_persons_frames_enter_no_figure():
    with pytest.raises(ValueError, match="ada is a real person"):
        figures.true_row(SimpleNamespace(data_kind="real", name="ada"), [0])


def test_faces_are_cut_out_where_the_landmarks_are():
    """A face 100 px wide at the middle of a 400 px picture: a square of 1.3 times that."""
    points = np.zeros((2, 68, 3), np.float32)
    points[:, 0], points[:, 1] = (-0.5, 0, 0), (0.5, 0, 0)
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 4.0
    poses = np.stack([pose, pose])
    poses[1, 0, 3] = -0.5  # the camera goes left, the face is seen 50 px further right
    frames = np.zeros((2, 400, 400, 3), np.uint8)
    frames[..., 0] = (np.arange(400) // 2).astype(np.uint8)
    person = SimpleNamespace(data_kind="synthetic", name="demo", focal=400.0)
    person = SimpleNamespace(
        **vars(person), frames=frames, landmarks=points, poses=poses, landmark_mean=points[0]
    )
    cut = figures.true_row(person, [0, 1])
    assert cut.shape == (2, 131, 131, 3) or cut.shape == (2, 130, 130, 3)
    assert cut[0, 0, 0, 0] == (200 - 65) // 2 and cut[1, 0, 0, 0] == (250 - 65) // 2


def test_opening_data_compares_one_clip_in_four_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "encode", acting.speech)
    heard = np.tile([[0.05, 0.0], [-0.05, 0.0]], (22, 1)).astype(np.float32)
    monkeypatch.setattr(speech, "mouth_from_speech", lambda spoken, spans, ridge: heard)
    actor = acting.actor(tmp_path)
    data = figures.opening_data(actor, TalkConfig(temperature=0.0), run())
    tracked = mouth_opening(actor.person.landmarks)
    assert data["tracked"].to_numpy() == pytest.approx(tracked, abs=1e-5)
    assert data["held_out"].sum() == 44 - actor.person.n_train
    level = tracked[: actor.person.n_train].mean()
    assert data["mean"].to_numpy() == pytest.approx(level, abs=1e-5)
    assert data["ridge"][:2].tolist() == pytest.approx([level + 0.05, level - 0.05], abs=1e-5)


def test_agreement_is_in_the_legend_by_hand():
    """Half the tracked curve has r = 1 and half its spread; the mean face has none."""
    figure = figures.draw_opening(openings(), "T")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "by this kit: r 1.00, spread 0.50" in labels and "mean face: spread 0.00" in labels


def test_ablations_without_a_table_say_so_and_never_mix_data():
    empty = figures.draw_ablations(figures.ablations_data([], "demo", "smoke"), "T")
    assert [text.get_text() for text in empty.axes[0].texts] == ["not measured"]
    drawn = figures.draw_ablations(figures.ablations_data([table_c()], "demo", "smoke"), "T").axes[
        0
    ]
    texts = [text.get_text().strip() for text in drawn.texts]
    assert texts == ["0.85 (2 seeds)", "0.5", "not measured"]
    mixed = table_c()
    mixed.loc[0, "data_kind"] = "real"
    with pytest.raises(ValueError, match="mixes synthetic and real data of demo"):
        figures.ablations_data([mixed], "demo", "smoke")
    assert figures.ablations_data([table_c()], "ada", "smoke").empty
    assert figures.ablations_data([table_c()], "demo", "cpu").empty


def test_what_other_voices_measured_has_a_panel_of_its_own():
    rows = table_c().assign(metric="domain distance", protocol="foreign speech, landmarks")
    rows.loc[rows["method"] == "no sync", "protocol"] = "corpus speech, landmarks"
    panels = figures.draw_ablations(figures.ablations_data([rows], "demo", "smoke"), "T").axes
    titles = [panel.get_title().replace("\n", " ") for panel in panels]  # long ones are wrapped
    assert titles == ["domain distance", "domain distance, corpus"]
    texts = [[text.get_text().strip() for text in panel.texts] for panel in panels]
    assert texts == [
        ["0.85 (2 seeds)", "not measured", "not measured"],
        ["not measured", "0.5", "not measured"],
    ]


def test_a_figure_names_the_runs_and_the_kind_of_its_rows(folder):
    data = figures.ablations_data([table_c()], "demo", "smoke")
    figures.save(folder, "a", "ablations", data, title="T", sources=[])
    facts = json.loads((folder / "a.json").read_text())
    assert facts["synthetic"] and facts["runs"] == [f"evaluation-{k}" for k in range(4)]


def test_twins_hold_every_curve():
    assert [line.name for line in figures.training_twin(history()).data] == ["head: loss"]
    names = [line.name for line in figures.opening_twin(openings()).data]
    labels = figures.draw_opening(openings(), "T").axes[0].get_legend().get_texts()
    assert names == [text.get_text() for text in labels if text.get_text() != "held out"]
    assert names[0] == "tracked (true)" and names[1].startswith("by this kit: r 1.00")


def test_twins_say_what_the_picture_says():
    twin = figures.opening_twin(openings()).to_plotly_json()["layout"]
    assert twin["xaxis"]["title"]["text"] == "time (s)"
    assert twin["yaxis"]["title"]["text"] == "mouth opening (eye distances)"
    data = figures.domains_data(groups(), n_points=40, neighbours=True)
    twin = figures.domains_twin(data, groups())
    means = [line for line in twin.data if line.name.startswith("mean, ")]
    assert len(means) == data["origin"].nunique()
    centre = data[data["origin"] == data["origin"].iloc[0]][["x", "y"]].mean()
    assert [means[0].x[0], means[0].y[0]] == pytest.approx(centre.tolist(), abs=1e-3)
    assert twin.layout.xaxis.title.text == "first component (eye distances)"
    assert twin.layout.annotations[0].text == "t-SNE: neighbours stay together"
    clouds = [line for line in twin.data if line.text]
    assert all(len(line.text) == len(line.x) for line in clouds) and len(clouds) == 2 * len(means)


def test_a_sketch_is_a_face_in_braille():
    """A jaw down the left side and along the chin, everything else in the upper right corner."""
    face = np.zeros((68, 3))
    face[:, :2] = (1, 1)
    face[0, :2], face[1:16, :2], face[16, :2] = (0, 1), (0, 0), (1, 0)
    lines = figures.sketch(face, columns=3, rows=3).split("<br>")
    assert [line[0] for line in lines] == ["\u2847", "\u2847", "\u28c7"]  # left dots; and the foot
    assert lines[2][1:] == "\u28c0" * 2  # the lowest two dots
    assert lines[0][1:] == "\u2800\u2808" and lines[1][1:] == "\u2800" * 2


@pytest.mark.slow
def test_every_picture_of_the_repository_is_what_its_data_gives():
    """Its tables are what their runs say, too; facts that belong to no picture are left alone."""
    folder = Path(__file__).parents[2] / "figures"
    drawn = figures.names(folder)
    assert {"worst_frames", "filmstrips_cpu"} <= set(drawn) and "adversary" not in drawn
    assert figures.redraw(folder, check=True) == 0


def test_the_commands_redraw_and_make_filmstrips(monkeypatch, capsys):
    monkeypatch.setattr(figures, "redraw", lambda *, check: int(check))
    assert command_line.main(["figures"]) == 0
    assert command_line.main(["figures", "--check"]) == 1
    asked = []

    def require(stage, person, *, profile, seed, overrides, **options):
        asked.append((stage, person, seed, Path(overrides["talk.audio"]).name))
        return SimpleNamespace(profile=profile)

    monkeypatch.setattr(
        importlib.import_module("geneface_kit.pipeline.require"), "require", require
    )
    monkeypatch.setattr(figures, "save_filmstrips", lambda folder, name, talks, *, title: None)
    two = ["obama=song.wav", "lieu=news.wav"]
    assert command_line.main(["filmstrips", *two, "--seed", "2", "--profile", "cpu"]) == 0
    assert asked == [("talk", "obama", 2, "song.wav"), ("talk", "lieu", 2, "news.wav")]
    assert "filmstrips_cpu.png" in capsys.readouterr().out
    assert command_line.main(["filmstrips", "obama"]) == 2
    assert capsys.readouterr().err == "error: 'obama' must look like PERSON=RECORDING\n"
