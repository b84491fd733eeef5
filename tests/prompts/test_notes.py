from __future__ import annotations

import pytest

from desktop_rlhf.records.comparisons import STRENGTHS
from desktop_rlhf.runs.spec import settings_of
from desktop_rlhf.settings import resources_path
from desktop_rlhf.workbench.algorithms import TRAINABLE
from metrics_note import with_tables


def note(name: str) -> str:
    return (resources_path() / "notes" / f"{name}.md").read_text(encoding="utf-8")


def test_that_the_note_on_metrics_has_the_tables_that_are_declared() -> None:
    assert note("metrics") == with_tables(note("metrics")), "packaging/metrics_note.py writes them anew"


@pytest.mark.parametrize("spec", TRAINABLE)
def test_that_every_curve_is_declared_in_full_and_once(spec) -> None:
    names = [metric.name for metric in spec.metrics]
    assert len(set(names)) == len(names)
    for metric in spec.metrics:
        said = (metric.title, metric.sentence, metric.formula, metric.healthy, metric.source)
        assert all(said), metric.name
        assert not set("|\n") & set("".join((*said, metric.unit, metric.if_not))), metric.name  # they part the table


def test_that_the_note_on_metrics_names_no_setting_that_is_not_there() -> None:
    known = {setting.name for spec in TRAINABLE for setting in settings_of(spec)}
    curves = {metric.name for spec in TRAINABLE for metric in spec.metrics}
    assert set(note("metrics").split("`")[1::2]) - {"k1", "k3"} <= known | curves


def test_that_the_note_on_labelling_explains_every_strength() -> None:
    for words in STRENGTHS.values():
        assert f"*{words.removesuffix(' better').capitalize()}*" in note("labelling")


def test_that_the_note_on_licences_names_every_library_that_is_shipped() -> None:
    for name in ("SmolLM2-135M-Instruct", "PySide6", "PyTorch", "transformers", "peft", "sqlite-utils", "pyqtgraph"):
        assert name in note("licences")
