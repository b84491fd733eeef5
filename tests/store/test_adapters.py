"""Adapters by id, under the names that tell them apart."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from desktop_rlhf.records.adapters import Adapter, AdapterKind, told_apart
from desktop_rlhf.records.runs import Run
from desktop_rlhf.store import adapters as table
from desktop_rlhf.store.store import Store

from .test_store import INFO

NAMES = ("a", "a, earlier", "a, stopped", "a, stopped 2", "a, earlier, stopped", "ab", "b", "")
RUNS = 20


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    made = Store.create(tmp_path / "project.sqlite", INFO)
    for run in range(RUNS):
        made.runs.add(Run(f"r{run}", "dpo", {}, None, None, {}, {}))
    yield made
    made.close()


def add(store: Store, id: str, name: str, run: str) -> None:
    store.adapters.add(Adapter(id, name, AdapterKind.POLICY, None, run, id, ""))


def test_that_one_adapter_has_the_name_that_it_has_among_all(store: Store) -> None:
    draw = random.Random(0)
    for number in range(40):
        add(store, f"a{number}", draw.choice(NAMES), f"r{draw.randrange(RUNS)}")
        for adapter in store.adapters.all():
            assert store.adapters.get(adapter.id) == adapter


def test_that_one_adapter_is_told_from_those_of_its_name_alone(store: Store, monkeypatch) -> None:
    for number in range(20):
        add(store, f"other {number}", f"other {number}", "r0")
    for id, run in (("first", "r1"), ("second", "r1"), ("third", "r2")):
        add(store, id, "mine", run)
    read = []
    monkeypatch.setattr(table, "told_apart", lambda found: read.extend(found) or told_apart(found))
    assert store.adapters.get("second").name == "mine, earlier"
    assert [adapter.id for adapter in read] == ["first", "second", "third"]


def test_that_an_id_that_no_adapter_has_is_an_error(store: Store) -> None:
    add(store, "a", "", "r0")
    with pytest.raises(KeyError):
        store.adapters.get("b")
