"""Reading a file that another process has open for writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.errors import ProjectBusyError, ProjectError, ProjectNewerError
from desktop_rlhf.records.runs import Run
from desktop_rlhf.store.schema import SCHEMA_VERSION
from desktop_rlhf.store.store import Store

from .test_store import INFO, add_group, add_prompt, judged


@pytest.fixture
def writer(tmp_path) -> Iterator[Store]:
    made = Store.create(tmp_path / "project.sqlite", INFO)
    yield made
    made.close()


def test_that_a_reader_sees_one_moment_and_the_writer_goes_on(writer: Store) -> None:
    prompt = add_prompt(writer)
    comparison = judged(add_group(writer, prompt))
    writer.comparisons.add(comparison)
    reader = Store.open_to_read(writer.path)
    seen = [found.id for found in reader.comparisons.all()]
    writer.comparisons.retract(comparison.id)
    add_prompt(writer, 7)
    assert [found.id for found in reader.comparisons.all()] == seen == [comparison.id]
    assert [found.id for found in reader.prompts.all()] == [prompt.id]
    reader.close()
    reader = Store.open_to_read(writer.path)
    assert (reader.comparisons.all(), len(reader.prompts.all())) == ([], 2)
    reader.close()


def test_that_a_reader_cannot_write(writer: Store) -> None:
    group = add_group(writer, add_prompt(writer))
    reader = Store.open_to_read(writer.path)
    for write in (
        lambda: reader.comparisons.add(Comparison("c", "p0", "pairwise", (group[0].id,), Outcome.SKIPPED)),
        lambda: reader.runs.add(Run("r", "dpo", {}, None, None, {}, {})),
        reader.runs.interrupt_running,
    ):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            write()
    reader.close()


def test_that_what_a_killed_writer_left_in_the_log_is_read(writer: Store, tmp_path) -> None:
    add_prompt(writer)
    copy = tmp_path / "killed"
    copy.mkdir()
    for name in ("project.sqlite", "project.sqlite-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    reader = Store.open_to_read(copy / "project.sqlite")
    assert len(reader.prompts.all()) == 1
    reader.close()


def test_that_a_reader_neither_brings_an_older_file_up_to_date_nor_reads_a_newer_one(writer: Store) -> None:
    for version, error in ((SCHEMA_VERSION - 1, ProjectBusyError), (SCHEMA_VERSION + 1, ProjectNewerError)):
        writer.db.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(error):
            Store.open_to_read(writer.path)
        assert writer.db.execute("PRAGMA user_version").fetchone() == (version,)


def test_that_there_has_to_be_a_file_to_read(tmp_path) -> None:
    with pytest.raises(ProjectError, match="holds no project"):
        Store.open_to_read(tmp_path / "project.sqlite")
    assert list(tmp_path.iterdir()) == []
