"""Run pages: every number leads to the run that made it, every figure to its data and its code."""

import geneface_kit_figures as figures
import pandas as pd
from acting import a_row
from geneface_kit_figures import pages, run_page
from geneface_kit_figures.tables import read_table

from geneface_kit.evaluation import tables
from geneface_kit.runs import Run


def made(home, stage, parents):
    folder = home / "ada" / f"{stage}-smoke-0123abcd"
    folder.mkdir(parents=True)
    facts = {
        "id": f"{stage}-ada-smoke-0123abcd", "stage": stage, "subject": "ada", "profile": "smoke",
        "seed": 3, "status": "ok", "data_kind": "synthetic", "wall_s": 4.5,
        "machine": {"device": "cpu (2 cores)"}, "config": {"head": {"steps": 450}},
        "inputs": {"a<b.mp4": "0f" * 32}, "metrics": {"psnr": 31.25},
        "outputs": {"talk.mp4": "1a" * 32, "head_history.csv": "2b" * 32},
    }  # fmt: skip
    return Run(folder, facts, parents)


def test_a_page_tells_what_a_run_is_and_leads_to_parents_and_files(tmp_path):
    person = made(tmp_path, "person", {})
    nerf = made(tmp_path, "nerf", {"person": person})
    found = run_page.links([nerf], tmp_path / "notebooks")
    assert found == {run.id: f"../pages/{run.id}.html" for run in (person, nerf)}
    page = (tmp_path / "pages" / f"{nerf.id}.html").read_text()
    for said in ("<th>head.steps</th><td>450</td>", "<td>31.25</td>", "a&lt;b.mp4", "synthetic"):
        assert said in page
    assert f"<a href='{person.id}.html'>{person.id}</a>" in page
    assert "<a href='../ada/nerf-smoke-0123abcd/head_history.csv'>" in page
    assert "<video controls src='../ada/nerf-smoke-0123abcd/talk.mp4'>" in page
    assert sorted(path.name for path in nerf.folder.iterdir()) == []  # a run holds its outputs only


def test_a_table_links_the_runs_that_have_a_page(tmp_path):
    ids = ("person-ada-smoke-1", "nerf-ada-smoke-12")
    tables.write_table(tmp_path / "t.csv", [a_row(runs=" ".join(ids))])
    table = read_table(tmp_path / "t.csv")
    html = pages.to_html(table, "a", links={ids[0]: "../runs/pages/1.html"})
    link = '<a href="../runs/pages/1.html" title="person-ada-smoke-1">person-1</a>'
    assert html.count("<a ") == 1 and f"runs {link} nerf-12" in html
    assert pages.to_html(table, "a").count("<a ") == 0


def test_the_list_of_figures_leads_to_data_and_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pd.DataFrame({"seconds": [0.0, 0.04], "loudness": [0.0, 1.0]})
    data = data.assign(adapted=[0.1, 0.2], rendered=[0.1, 0.2])
    figures.save(tmp_path, "m", "mouth", data, title="A & B", sources=[])
    html = figures.listing(tmp_path)
    assert "A &amp; B" in html and "<a href='m.csv'>csv</a>" in html
    assert "figures/drawings.py'>draw_mouth, line " in html
