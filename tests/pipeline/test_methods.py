"""Methods: every name resolves, differs from the full method, and is told to the evaluation."""

import pytest
from geneface_kit_figures import methods as compared

from geneface_kit.pipeline.methods import FULL, METHODS, check, overrides
from geneface_kit.pipeline.settings import resolve


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_a_set_of_known_settings(name):
    settings = resolve("smoke", overrides(name))
    check(settings)
    assert settings.evaluation.method == name
    assert compared.METHODS[name].beside in METHODS
    assert (settings == resolve("smoke")) == (name == FULL)


def test_each_method_differs_from_what_it_stands_beside():
    for name, changes in METHODS.items():
        if name != FULL:
            assert changes != METHODS[compared.METHODS[name].beside], name


def test_a_name_that_is_not_its_settings_is_refused():
    with pytest.raises(ValueError, match="unknown method 'nosync'"):
        overrides("nosync")
    with pytest.raises(ValueError, match="the method lle sets talk.lle_share"):
        overrides("lle", {"talk.lle_share": 0.0})
    with pytest.raises(ValueError, match="lle"):
        check(resolve("smoke", {"evaluation.method": "lle"}))
