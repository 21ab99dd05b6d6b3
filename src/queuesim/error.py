"""The base of all errors of the package."""

from __future__ import annotations


class QueuesimError(Exception):
    """Any error of the package itself."""
