from __future__ import annotations

import pytest

from desktop_rlhf.records.comparisons import STRENGTHS
from desktop_rlhf.runs.spec import settings_of
from desktop_rlhf.settings import resources_path
from desktop_rlhf.workbench.algorithms import TRAINABLE


def note(name: str) -> str:
    return (resources_path() / "notes" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", TRAINABLE)
def test_that_the_note_on_metrics_explains_every_curve_in_its_own_section(spec) -> None:
    (section,) = (part for part in note("metrics").split("\n## ") if part.startswith(f"{spec.title}\n"))
    explained = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert explained == [metric.name for metric in spec.metrics]


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
