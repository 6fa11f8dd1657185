"""Report: one self-contained, escaped page; the benchmark's clock."""

import base64
import dataclasses
import io
import re
import time
from html.parser import HTMLParser

import numpy as np
from geneface_kit_figures import report
from PIL import Image

from geneface_kit.person import quality, segmentation
from geneface_kit.person import stage as person
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.segmentation import HEAD
from notebooks.studies.speed import person as bench


class Outline(HTMLParser):
    """Open tags and text of a page; unbalanced tags fail."""

    VOID = {"meta", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_loads_nothing(demo_person):
    page = (demo_person.folder / "report.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.sources and all(s.startswith("data:image/") for s in outline.sources)
    assert not re.search(r"<script|<style|<svg|url\(|@import|https?://", page)
    assert page == report.page(demo_person)


def test_the_page_says_what_matters(demo_person):
    text = " ".join(report.panels(demo_person).split())
    for words in ("synthetic", "usable", "What to do", "film closer", "mouth shapes", "pose leak"):
        assert words in text


def test_names_and_warnings_are_escaped(demo_person):
    found = demo_person.report | {
        "warnings": ["<b>bold</b> & more"],
        "reasons": [],
        "reason_frames": [],
    }
    found["verdict"] = "<script>"
    who = dataclasses.replace(demo_person, name="<script>x</script>", report=found)
    page = report.page(dataclasses.replace(who, data_kind="<script>"))
    assert "<script>" not in page and "&lt;script&gt;x" in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page


def pictures(panels: str) -> list[Image.Image]:
    """The pictures of a report, in order."""
    found = re.findall(r'src="data:image/[a-z]+;base64,([^"]+)"', panels)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_charts_are_pictures_that_read_on_white_and_on_black(demo_person):
    *_, strip, charts = pictures(report.panels(demo_person))
    assert (strip.format, charts.format) == ("JPEG", "PNG")
    pixels = np.asarray(charts.convert("RGBA")).reshape(-1, 4)
    assert (pixels[:, 3] == 0).mean() > 0.5  # the page shows through
    solid = pixels[pixels[:, 3] > 250, :3].astype(int)
    light = solid @ (0.2126, 0.7152, 0.0722)
    assert 50 < light.min() and light.max() < 205
    assert (np.abs(solid - 127).max(1) < 8).mean() > 0.1  # letters and frames


def test_each_doubt_stands_beside_the_frame_that_it_speaks_of(demo_person):
    shown = quality.verdict(demo_person.report | {"blur": 0.7}, [])
    assert [why.split(":")[0].split(" (few")[0] for why in shown["reasons"]] == [
        "the face is 98 px high in the source",
        "the face is blurred (0.70 of 1)",
        "less than a minute of speech",
        "60% of common mouth shapes are seen",
    ]
    small, blurred, none, mouth = shown["reason_frames"]
    assert none == -1
    report_of = dataclasses.replace(demo_person, report=demo_person.report | shown)
    panels = report.panels(report_of)
    assert len(pictures(panels)) == 3 + 2
    for frame, picture in zip((small, blurred, mouth), pictures(panels), strict=False):
        seen = np.asarray(picture.resize((128, 128), Image.Resampling.BOX)).astype(int)
        assert np.abs(seen - demo_person.frames[frame]).mean() < 4
        assert f"At {frame / 25:.2f} s." in panels


def test_a_doubt_says_in_which_clip_its_frame_is(demo_person):
    """264 frames: 4 s from the second second of one clip, then 6.56 s of the next."""
    clips = [
        {"file": "a.mp4", "taken_s": [[1.0, 5.0]], "usable_s": [], "cuts_s": []},
        {"file": "<b>.mp4", "taken_s": [[0.0, 6.56]], "usable_s": [], "cuts_s": []},
    ]
    said = {"clips": clips, "reasons": ["one", "two"], "reason_frames": [10, 110]}
    panels = report.panels(dataclasses.replace(demo_person, report=demo_person.report | said))
    assert "One. At 1.40 s of a.mp4." in panels
    assert "Two. At 0.40 s of &lt;b&gt;.mp4." in panels


def test_moments_are_frames_that_show_what_they_are_named_after(demo_person):
    moments, points = demo_person.report["moments"], demo_person.landmarks2d
    assert moments["open"] == mouth_opening(demo_person.landmarks).argmax()
    assert moments["small"] == np.ptp(points[..., 1], axis=1).argmin()
    heads = [demo_person.frames[t][demo_person.labels[t] == HEAD].mean() for t in range(264)]
    assert heads[moments["dark"]] < np.mean(heads) < max(heads)


def test_the_watch_counts_each_step_once():
    watch = bench.Watch()
    watch("a")
    time.sleep(0.02)
    watch("b")
    watch("a")
    watch.stop()
    assert set(watch.steps) == {"a", "b"} and watch.steps["a"][0] >= 0.02 > watch.steps["b"][0]


def test_the_benchmark_names_every_step(tmp_path, monkeypatch, demo_person):
    def quick(source, folder, config, *, name, step):
        for one in ("scan", "frames", "report"):
            step(one)
        return demo_person

    monkeypatch.setattr(person, "prepare", quick)
    lines = list(bench.run("demo"))
    assert [line.split()[0] for line in lines[3:-1]] == ["scan", "frames", "report", "whole"]
    assert "CPU cores" in lines[1] and "verdict" in lines[-1]


def test_labels_that_are_free_are_pale():
    frame = np.zeros((2, 2, 3), np.uint8)
    labels = np.full((2, 2), segmentation.HEAD, np.uint8)
    kinds = np.full((2, 2), segmentation.SURE_HEAD, np.uint8)
    kinds[0, 0] = segmentation.FREE
    tinted = report.label_tint(frame, labels, kinds)
    assert tinted[1, 1].tolist() == [103, 63, 40]  # 0.45 of orange
    assert tinted[0, 0].min() > 90 and (tinted[0, 0] > tinted[1, 1]).all()
