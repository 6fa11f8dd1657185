"""Settings: every profile resolves, nothing unknown passes."""

import dataclasses
import re
from pathlib import Path

import pytest

import geneface_kit
from geneface_kit.pipeline import settings as kit
from geneface_kit.pipeline.settings import PROFILES, RENAMED, profile_values, resolve


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_resolves(profile):
    assert resolve(profile).profile == profile


def test_profile_values_are_real_settings_that_differ_from_the_defaults():
    assert not profile_values("smoke")
    for profile in ("cpu", "paper"):
        values = profile_values(profile)
        assert resolve("smoke", values) == dataclasses.replace(resolve(profile), profile="smoke")
        for name in values:
            without = {other: value for other, value in values.items() if other != name}
            assert resolve("smoke", without) != resolve("smoke", values), name


def test_overrides_reach_their_section():
    settings = resolve("smoke", "head.steps=7, talk.head=still")
    assert settings.head.steps == 7
    assert settings.talk.head == "still"
    assert settings.torso == resolve("smoke").torso


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"head.stesp": 1}, "unknown setting 'head.stesp'"),
        (
            {"hed.steps": 1},
            "unknown setting 'hed.steps': did you mean head\\? it must start with one of",
        ),
        ({"person.tracking.sleep": 1}, "unknown setting 'person.tracking.sleep'"),
        ({"person.tracking": 1}, "'person.tracking': person.tracking has focal_prior"),
        ({"head.steps.first": 1}, "head.steps is a setting, no section"),
        ({"head.steps": 1.5}, "'head.steps' must be a whole number of at least 1, got 1.5"),
        ({"head.steps": "many"}, "'head.steps' must be a whole number of at least 1, got 'many'"),
        ("head.steps", "must look like section.name=value"),
    ],
)
def test_unknown_or_mistyped_settings_are_errors(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve("smoke", overrides)


def test_an_unknown_profile_is_an_error():
    with pytest.raises(ValueError, match="unknown profile 'fast': choose one of smoke, cpu, paper"):
        resolve("fast")


def test_overrides_are_read_as_numbers_booleans_lists_and_words():
    said = "a=1e-3, b=.5, c=true, d=False, e=[1,.9], f=Hello there!, g=it's, h=x/y.wav, i=, j=..."
    assert list(kit.parse(said).values()) == [
        *(1e-3, 0.5, True, False, [1, 0.9], "Hello there!", "it's", "x/y.wav", "", "...")
    ]


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve("smoke").head.steps = 3


def test_an_old_name_is_refused_with_the_new_one(monkeypatch):
    renamed = {
        "head.pace": "head.steps",
        "hands": "head",
        "torso.tint": "the constant TINT in nerf",
    }
    monkeypatch.setattr(kit, "RENAMED", renamed)
    for old, sentence in (
        ("head.pace", "unknown setting 'head.pace': head.pace is now head.steps"),
        ("hands.steps", "unknown setting 'hands.steps': hands is now head"),
        ("torso.tint", "torso.tint is now the constant TINT"),
        ("torso.tint.deep", "torso.tint is now the constant TINT"),
    ):
        with pytest.raises(ValueError, match=sentence):
            resolve("smoke", f"{old}=1")


def is_setting(dotted):
    """Whether a dotted name leads to a setting or a section."""
    value = resolve("paper")
    for name in dotted.split("."):
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def test_no_old_name_is_one_of_today_and_every_new_one_is():
    for old, new in RENAMED.items():
        assert not is_setting(old), old
        if re.fullmatch(r"\w+\.[\w.]+", new):
            assert is_setting(new), new
        constant = re.match(r"the constant (\w+) of (\S+\.py)$", new)
        if constant:
            source = (Path(geneface_kit.__file__).parent / constant[2]).read_text()
            assert re.search(rf"^{constant[1]}\b|, {constant[1]}\b.* = ", source, re.M), new


OWN = {
    "mylab.fields:MyField": "toys:ToyField",
    "mylab.nets:MyPostNet": "toys:ToyVgg",
    "mylab.speech:MyEncoder": "toys:ToyVgg",
}
"""Classes of a reader, in the prose -> classes that can be imported."""


@pytest.mark.parametrize(
    "name", ["README.md", "REPRODUCTION.md", "geneface_kit/motion/MODEL_CARD.md"]
)
def test_overrides_that_the_prose_gives_are_settings(name):
    text = (Path(__file__).parents[2] / name).read_text()
    text = re.sub(r"\\\n\s*", "", text)  # lines that go on
    for example, there in OWN.items():
        text = text.replace(example, there)
    given = re.findall(r"--set \"?([a-z_.]+=[^\s\"`]+)", text)
    assert given
    for overrides in given:
        resolve("smoke", overrides)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("head.step", "steps"), ("haed.steps", "head"), ("talk.lable", "label")]
)
def test_a_mistyped_setting_is_told_what_is_alike(wrong, meant):
    with pytest.raises(ValueError, match=f"unknown setting '{wrong}': did you mean {meant}\\?"):
        resolve("smoke", {wrong: 1})
