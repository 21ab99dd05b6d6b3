"""The optional part of the analysis: scipy's special functions, loaded when they are first needed."""

from __future__ import annotations

from types import ModuleType


def scipy_special() -> ModuleType:
    """The module scipy.special. Raises ImportError that names the install command where scipy is missing."""
    try:
        from scipy import special
    except ImportError as missing:
        raise ImportError('this needs scipy: pip install "queuesim[analysis]"') from missing
    return special
