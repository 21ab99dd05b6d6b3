"""Service times as a scenario writes them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from queuesim.fields import PositiveSeconds, Seconds, Section, Word, refuse
from queuesim.inputfile import read_column
from queuesim.simulation.random import Constant, Empirical, Exponential, Gamma, Lognormal, Service, Uniform
from queuesim.text import show
from queuesim.units import format_duration


def _beside_the_scenario(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise refuse(f"{show(value)} is not the name of a file")
    directory = (info.context or {}).get("directory")
    return Path(value) if directory is None else Path(directory) / value


DataFile = Annotated[
    Path,
    PlainValidator(_beside_the_scenario),
    PlainSerializer(Path.as_posix, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
"""A file that a scenario names, relative to the scenario's own file."""


class ExponentialTime(Section):
    """Exponential: many short times, some long ones, no memory."""

    short = "mean"

    mean: PositiveSeconds

    def model(self) -> Service:
        return Exponential(self.mean)


class LognormalTime(Section):
    """Lognormal, by its mean and one percentile."""

    choices = ("p50", "p90", "p95", "p99")

    mean: PositiveSeconds
    p50: PositiveSeconds | None = None
    """The median; below the mean."""
    p90: PositiveSeconds | None = None
    p95: PositiveSeconds | None = None
    """95 % of the times are below."""
    p99: PositiveSeconds | None = None

    def model(self) -> Service:
        for percentile, value in ((50, self.p50), (90, self.p90), (95, self.p95), (99, self.p99)):
            if value is not None:
                return Lognormal.from_percentile(self.mean, percentile, value)
        raise AssertionError("one percentile is always given")

    @model_validator(mode="after")
    def _exists(self) -> Any:
        for name in self.choices:
            value = getattr(self, name)
            if value is not None:
                low, high = Lognormal.percentile_bounds(self.mean, float(name[1:]))
                if not low <= value <= high:
                    raise refuse(
                        f"{name} {format_duration(value)} does not go with the mean {format_duration(self.mean)}: "
                        f"it can be from {_rounded(low)} to {_rounded(high)}"
                    )
        return self


class GammaTime(Section):
    """Gamma, by its mean and how much it varies."""

    choices = ("cv", "std", "shape")

    mean: PositiveSeconds
    cv: Annotated[float, Field(strict=True, gt=0)] | None = None
    """Coefficient of variation: standard deviation over mean; 1 is the exponential."""
    std: PositiveSeconds | None = None
    """Standard deviation."""
    shape: Annotated[float, Field(strict=True, gt=0)] | None = None
    """1 is the exponential, a larger shape is more regular."""

    def model(self) -> Service:
        if self.cv is not None:
            return Gamma.from_cv(self.mean, self.cv)
        if self.std is not None:
            return Gamma.from_std(self.mean, self.std)
        assert self.shape is not None
        return Gamma(self.mean, self.shape)


class UniformTime(Section):
    """All times between two bounds, equally likely."""

    low: Seconds
    high: PositiveSeconds

    def model(self) -> Service:
        return Uniform(self.low, self.high)

    @model_validator(mode="after")
    def _ordered(self) -> Any:
        if not self.low < self.high:
            raise refuse(f"low {format_duration(self.low)} is not below high {format_duration(self.high)}")
        return self


class EmpiricalTime(Section):
    """Measured times from a file, resampled: a CSV with a header, or text with one number a line."""

    file: DataFile
    """Relative to the scenario's file."""
    column: Word | None = None
    """The column of a CSV; left out for text with one number a line."""
    unit: Literal["s", "ms", "us"]
    """What the numbers are in."""

    def model(self) -> Service:
        return self._read

    @cached_property
    def _read(self) -> Empirical:
        scale = {"s": 1, "ms": 1000, "us": 1_000_000}[self.unit]
        return Empirical(tuple(value / scale for value in read_column(self.file, self.column)))


class ServiceTime(Section):
    """How long one attempt takes: exactly one of the distributions, or just a duration for a constant one."""

    short = "constant"
    choices = ("constant", "exponential", "lognormal", "gamma", "uniform", "empirical")

    constant: Seconds | None = None
    """Always the same."""
    exponential: ExponentialTime | None = None
    lognormal: LognormalTime | None = None
    gamma: GammaTime | None = None
    uniform: UniformTime | None = None
    empirical: EmpiricalTime | None = None

    def model(self) -> Service:
        """The distribution, to draw from and to compute with. Raises TableError if its file can't be read."""
        if self.constant is not None:
            return Constant(self.constant)
        chosen = self.exponential or self.lognormal or self.gamma or self.uniform or self.empirical
        assert chosen is not None
        return chosen.model()


def _rounded(seconds: float) -> str:
    return format_duration(float(f"{seconds:.4g}"))
