"""Pages: ours beside published, nothing cut off, every gap with its reason."""

from acting import a_row
from geneface_kit_figures import pages
from geneface_kit_figures.tables import read_table

from geneface_kit.evaluation import tables
from geneface_kit.metrics.networks import NotMeasured


def test_ours_and_published_never_share_a_row(tmp_path):
    tables.write_table(tmp_path / "t.csv", [a_row(), a_row(metric="SSIM", value=0.9)])
    wide = pages.beside_published(read_table(tmp_path / "t.csv"), "a")
    ours, quoted = wide[wide["origin"] == "ours"], wide[wide["origin"] == "published"]
    assert len(ours) == 1 and ours["PSNR"].tolist() == ["30.25"]
    assert ours["source"].tolist() == ["runs person-1 nerf-2"]
    assert ours["data"].tolist() == ["synthetic, smoke"]
    geneface = quoted[quoted["method"] == "GeneFace"]
    assert geneface[["PSNR", "FID", "SSIM"]].values.tolist() == [["24.82", "21.708", "—"]]
    assert (quoted["data"] == "real").all()
    assert "FPS" not in wide and len(wide) == len(ours) + len(quoted)


def test_pictures_and_landmarks_of_a_run_share_a_row_that_tells_both_numbers(tmp_path):
    rows = [a_row(n_frames=12), a_row(metric="mouth correlation", value=0.6, n_frames=26)]
    tables.write_table(tmp_path / "t.csv", rows)
    wide = pages.beside_published(read_table(tmp_path / "t.csv"), "a")
    ours = wide[wide["origin"] == "ours"]
    assert ours["n"].tolist() == ["12; 26"]
    assert ours[["PSNR", "mouth correlation"]].values.tolist() == [["30.25", "0.6"]]


def test_html_cuts_no_run_id_off(tmp_path):
    ids = tuple(f"stage{k}-demo-smoke-0123456{k}" for k in range(6))
    tables.write_table(tmp_path / "t.csv", [a_row(runs=" ".join(ids))])
    html = pages.to_html(read_table(tmp_path / "t.csv"), "a")
    assert "stage0-01234560" in html and "stage5-01234565</td>" in html
    assert pages.listing({"a < b": "why & how"}).count("<tr><th>a &lt; b</th>") == 1


def test_html_escapes_every_cell(tmp_path):
    names = ("person", "protocol", "method", "metric", "unit", "profile", "data_kind")
    tables.write_table(tmp_path / "t.csv", [a_row()])
    table = read_table(tmp_path / "t.csv")
    html = pages.to_html(table.assign(**{name: f"<b>{name}" for name in names}), "a")
    assert "<b>" not in html and html.count("&lt;b&gt;data_kind") == 2


def test_html_names_the_data_and_the_reasons(tmp_path):
    rows = [a_row(), a_row(metric="FID", value=NotMeasured("no network"))]
    tables.write_table(tmp_path / "t.csv", rows)
    html = pages.to_html(read_table(tmp_path / "t.csv"), "a")
    assert "Table A: reconstruction of held-out frames (synthetic data)" in html
    assert "Not measured: no network.</li>" in html and ">not measured</td>" in html
    assert "<th>PSNR [dB] ↑</th>" in html and "<th>FID ↓</th>" in html
    assert html.count("<li>") == 2 and "mean squared error" in html


def test_latex_has_rules_words_for_gaps_and_no_raw_signs(tmp_path):
    gap = NotMeasured("the file a_b.pt is not here & 100 % of it is needed")
    tables.write_table(tmp_path / "t.csv", [a_row(), a_row(metric="FID", value=gap)])
    latex = pages.to_latex(read_table(tmp_path / "t.csv"), "a")
    body = latex.splitlines()
    assert latex.count("\\midrule") == 2 and body.index("\\toprule") < body.index("\\bottomrule")
    assert r"30.25 & not measured & ---" in latex and r"PSNR [dB] $\uparrow$" in latex
    assert r"a\_b.pt is not here \& 100 \% of it" in latex
    assert latex.isascii() or set("".join(c for c in latex if not c.isascii())) <= set("é")
    assert latex.count("{") == latex.count("}")
    widths = {row.count(" & ") for row in body if row.endswith(r"\\")}
    assert len(widths) == 1, "every row has as many cells"


def test_seeds_become_mean_and_spread_with_all_runs(tmp_path):
    values = (30.0, 31.0, 32.0)
    rows = [a_row(value=v, seed=k, runs=f"nerf-x-{k}") for k, v in enumerate(values)]
    rows += [a_row(metric="FID", value=NotMeasured("no network"), seed=k) for k in range(3)]
    rows += [a_row(metric="parameters", value=2_723_050.0)]
    tables.write_table(tmp_path / "t.csv", rows)
    wide = pages.beside_published(read_table(tmp_path / "t.csv"), "a")
    (ours,) = wide[wide["origin"] == "ours"].to_dict("records")
    assert ours["PSNR"] == "31 ± 1" and ours["FID"] == "not measured" and ours["n"] == "4"
    assert ours["parameters"] == "2,723,050"
    assert ours["source"] == "runs nerf-0 nerf-1 nerf-2 person-1, seeds 0 1 2"
