"""Settings: every profile resolves, nothing unknown passes."""

import dataclasses

import pytest

from geneface_kit.pipeline.settings import MODULES, PROFILES, resolve


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_resolves(profile):
    assert resolve(profile).profile == profile


@pytest.mark.parametrize("section", MODULES)
@pytest.mark.parametrize("name", ["CPU", "PAPER"])
def test_profile_values_are_real_settings_of_the_right_type(section, name):
    module = MODULES[section]
    values = getattr(module, name)
    resolve("smoke", {f"{section}.{key}": value for key, value in values.items()})


def test_overrides_reach_their_section():
    settings = resolve("smoke", "head.steps=7, talk.head_motion=still")
    assert settings.head.steps == 7
    assert settings.talk.head_motion == "still"
    assert settings.torso == resolve("smoke").torso


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"head.stesp": 1}, "unknown setting 'head.stesp'"),
        ({"hed.steps": 1}, "unknown setting 'hed.steps': it must start with one of"),
        ({"person.tracking.sleep": 1}, "unknown setting 'person.tracking.sleep'"),
        ({"head.steps": 1.5}, "'head.steps' must be int"),
        ({"head.steps": "many"}, "'head.steps' must be int"),
        ("head.steps", "must look like section.name=value"),
    ],
)
def test_unknown_or_mistyped_settings_are_errors(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve("smoke", overrides)


def test_an_unknown_profile_is_an_error():
    with pytest.raises(ValueError, match="unknown profile 'fast': choose one of smoke, cpu, paper"):
        resolve("fast")


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve("smoke").head.steps = 3
