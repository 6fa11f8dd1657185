"""Report: one self-contained, escaped page; the benchmark's clock."""

import base64
import dataclasses
import re
import time
from html.parser import HTMLParser

from geneface_kit.person import report
from geneface_kit.person import stage as person
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
    found = demo_person.report | {"warnings": ["<b>bold</b> & more"], "reasons": []}
    page = report.page(dataclasses.replace(demo_person, name="<script>x</script>", report=found))
    assert "<script>" not in page and "&lt;script&gt;x" in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page


def test_charts_are_pictures_that_every_reader_shows(demo_person):
    kinds = re.findall(r'src="data:image/(png|jpeg);base64,([^"]{12})', report.panels(demo_person))
    starts = [(kind, base64.b64decode(data[:12])) for kind, data in kinds]
    assert [kind for kind, _ in starts] == ["jpeg", "png"]
    assert all(data.startswith(b"\x89PNG" if k == "png" else b"\xff\xd8") for k, data in starts)


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
        for one in person.STEPS:
            step(one)
        return demo_person

    monkeypatch.setattr(person, "prepare", quick)
    lines = list(bench.run("demo"))
    assert [line.split()[0] for line in lines[3:-1]] == [*person.STEPS, "whole"]
    assert "CPU cores" in lines[1] and "verdict" in lines[-1]
