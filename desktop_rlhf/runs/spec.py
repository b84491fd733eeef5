"""Training specs: frozen dataclasses whose fields carry what a form needs.

The form on the Train page, its tooltips, the check of every value, ``--set name=value`` and the settings table all come
from the one declaration, so this module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar, get_type_hints

from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.errors import SpecError

Value: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one field of a spec.

    Attributes:
        help:     one sentence.
        unit:     of the value; empty when it is a plain number.
        source:   where the default comes from.
        minimum:  inclusive, None is none.
        choices:  the values a text field may take; empty is any.
        advanced: shown only when a person asks for all settings.
    """

    help: str
    unit: str = ""
    source: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = False


def setting(default: Value, help: str, **known: Any) -> Any:
    """A spec field with its default and what is known of it (the attributes of ``Setting``)."""
    return field(default=default, metadata={"setting": Setting(help, **known)})


@dataclass(frozen=True, slots=True)
class Metric:
    """One curve that an algorithm draws.

    Attributes:
        name:     as logged, in TRL's words where TRL has one.
        title:    short, for a legend.
        unit:     of the value; empty when it is a plain number.
        sentence: what it is, in words. Here and below, settings and curves stand between backticks.
        formula:  how it is computed, in the signs that the note on metrics explains.
        healthy:  what it looks like in a run that goes well.
        source:   whose definition it is; where TRL has the name for something else, what that is.
        panel:    curves of the same panel share axes: reward, kl, loss, entropy, length, accuracy, gradient.
        if_not:   what to do where it is not healthy; empty when there is nothing to do.
    """

    name: str
    title: str
    unit: str
    sentence: str
    formula: str
    healthy: str
    source: str
    panel: str
    if_not: str = ""


@dataclass(frozen=True)
class AlgorithmSpec:
    """What every algorithm declares about itself beside its settings.

    Class attributes:
        name:               as in ``train NAME`` and in the run's record.
        title, sentence:    for the Train page.
        train:              ``module:function`` of the generator, looked up when a run starts.
        metrics:            the curves it draws.
        needs_comparisons:  it learns from stored comparisons.
        needs_good:         it learns from completions called good: demonstrations, judgements, the best of comparisons.
        needs_bad:          it learns from completions called bad as well.
        needs_reward_model: it learns from a reward model's scores.
        makes:              the kind of adapter it leaves, ``policy`` or ``reward``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sentence: ClassVar[str]
    train: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    needs_comparisons: ClassVar[bool]
    needs_good: ClassVar[bool] = False
    needs_bad: ClassVar[bool] = False
    needs_reward_model: ClassVar[bool] = False
    makes: ClassVar[str] = "policy"

    def __post_init__(self) -> None:
        for known in settings_of(type(self)):
            _check(known, getattr(self, known.name))

    def takes(self, judged: JudgedCompletion) -> bool:
        """Whether it learns from this completion."""
        return self.needs_good if judged.desirable else self.needs_bad

    def as_settings(self) -> dict[str, Value]:
        """Every field by name."""
        return dataclasses.asdict(self)


S = TypeVar("S", bound=AlgorithmSpec)


@dataclass(frozen=True, slots=True)
class KnownSetting:
    """A field of a spec, ready for a form: its name, type, default and ``Setting``."""

    name: str
    type: type
    default: Value
    about: Setting


def settings_of(spec: type[AlgorithmSpec]) -> tuple[KnownSetting, ...]:
    """The fields of a spec in the order they were declared."""
    types = get_type_hints(spec)
    known = []
    for declared in dataclasses.fields(spec):
        assert declared.default is not MISSING, f"{spec.__name__}.{declared.name} has no default"
        known.append(KnownSetting(declared.name, types[declared.name], declared.default, declared.metadata["setting"]))
    return tuple(known)


def with_settings(spec: type[S], values: Mapping[str, Value]) -> S:
    """A spec with some fields set, from typed values or from text as a command line gives it.

    Raises:
        SpecError: an unknown name, a text that is not of the field's type, or a value out of range.
    """
    by_name = {known.name: known for known in settings_of(spec)}
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in by_name:
            raise SpecError(f"{spec.title} has no setting named “{name}”.", f"It has: {', '.join(by_name)}.")
        typed[name] = _parse(by_name[name], value)
    return spec(**typed)


def _parse(known: KnownSetting, value: Value) -> Value:
    """``value`` as the field's type; text is read as a person would write it."""
    if known.type is str:
        return str(value)
    if known.type is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise SpecError(f"“{value}” is not a value for {known.name}.", "Write true or false.")
        return words[str(value).lower()]
    try:
        number = float(value)
        if known.type is int:
            if number != int(number):
                raise ValueError
            return int(number)
        return number
    except (ValueError, OverflowError):
        kind = "a whole number" if known.type is int else "a number"
        raise SpecError(f"“{value}” is not a value for {known.name}.", f"Write {kind}.") from None


def _check(known: KnownSetting, value: Value) -> None:
    """Raise SpecError where ``value`` is out of the field's range."""
    about = known.about
    if about.choices and value not in about.choices:
        raise SpecError(f"{known.name} cannot be “{value}”.", f"Choose one of: {', '.join(about.choices)}.")
    if isinstance(value, (bool, str)):
        return
    if not math.isfinite(value):
        raise SpecError(f"{known.name} cannot be {value}.", "Write a finite number.")
    low, high = about.minimum, about.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        span = " and ".join(
            ([f"at least {low:g}"] if low is not None else []) + ([f"at most {high:g}"] if high is not None else [])
        )
        raise SpecError(f"{known.name} cannot be {value:g}.", f"It has to be {span}.")
