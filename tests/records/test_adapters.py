from __future__ import annotations

import pytest

from desktop_rlhf.records.adapters import LONGEST_NAME, Adapter, AdapterKind, name_beside, told_apart
from desktop_rlhf.records.errors import BadInputError


def names(*given: tuple[str, str]) -> list[str]:
    """Of adapters that were given (name, run), oldest first."""
    made = [Adapter(f"a{i}", name, AdapterKind.POLICY, None, run, f"a{i}", "") for i, (name, run) in enumerate(given)]
    told = told_apart(made)
    assert [adapter.id for adapter in told] == [adapter.id for adapter in made]
    return [adapter.name for adapter in told]


def test_that_names_that_differ_stay_as_they_are() -> None:
    assert names(("ppo 1", "a"), ("dpo 1", "b"), ("ppo 2", "c")) == ["ppo 1", "dpo 1", "ppo 2"]


def test_that_the_end_of_a_run_has_the_name_and_each_time_it_was_stopped_one_of_its_own() -> None:
    assert names(("ppo 1", "a"), ("ppo 1", "a")) == ["ppo 1, stopped", "ppo 1"]
    assert names(*[("ppo 1", "a")] * 3) == ["ppo 1, stopped", "ppo 1, stopped 2", "ppo 1"]


def test_that_an_adapter_whose_name_another_run_took_is_told_from_it() -> None:
    assert names(("mine", "a"), ("mine", "a"), ("mine", "b")) == ["mine, stopped", "mine, earlier", "mine"]


def test_that_no_name_is_made_up_that_was_given() -> None:
    assert names(("mine, earlier", "a"), ("mine", "b"), ("mine", "c")) == ["mine, earlier", "mine, earlier 2", "mine"]


@pytest.mark.parametrize("name", ["", "  ", "x" * (LONGEST_NAME + 1), "base", " The base model ", "mine"])
def test_that_a_name_that_would_be_mistaken_is_refused(name) -> None:
    with pytest.raises(BadInputError):
        name_beside(["mine"], name)


def test_that_a_name_stands_without_blanks_around_it() -> None:
    assert name_beside(["mine"], " yours ") == "yours"
