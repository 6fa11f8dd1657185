"""Importing: a class from outside the package, which a setting names by its import path."""

import pkgutil


def imported(path: str, setting: str, kind: type = object) -> type:
    """The class at an import path "package.module:Class".

    setting: which setting names it, for the errors. kind: what it has to be a subclass of.
    Raises: ValueError, in one sentence, when there is no such class or it is none of that kind.
    """
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{setting}={path} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(
            f"{setting}={path} must be a subclass of {kind.__module__}.{kind.__name__}"
        )
    return found
