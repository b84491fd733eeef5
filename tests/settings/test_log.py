"""The log: a file that is there in an installed window too, and warnings for whoever started the program."""

from __future__ import annotations

import logging

import pytest

from desktop_rlhf import settings
from desktop_rlhf.settings import keep_log


@pytest.fixture(autouse=True)
def afterwards():
    """The suite logs as before."""
    logger = logging.getLogger("desktop_rlhf")
    level, before = logger.level, list(logger.handlers)
    logger.handlers = []
    yield
    for own in logger.handlers:
        own.close()
    logger.handlers, logger.level = before, level


@pytest.fixture
def log(monkeypatch, tmp_path):
    path = tmp_path / "new" / "log.txt"
    monkeypatch.setattr(settings, "log_path", lambda: path)
    return path


def test_that_the_log_has_what_is_told_and_the_terminal_its_warnings(log, capsys) -> None:
    keep_log()
    logging.getLogger("desktop_rlhf.adapters.devices").info("the model is kept on the CPU – ü")
    logging.getLogger("desktop_rlhf.adapters.devices").warning("mps is not used: it says 3")
    logging.getLogger("transformers").info("something")
    first, second = log.read_text("utf-8").splitlines()
    assert first.endswith("INFO desktop_rlhf.adapters.devices: the model is kept on the CPU – ü")
    assert second.endswith("WARNING desktop_rlhf.adapters.devices: mps is not used: it says 3")
    assert capsys.readouterr().err == "mps is not used: it says 3\n"


def test_that_a_second_beginning_says_nothing_twice(log, capsys) -> None:
    for _ in range(2):
        keep_log()
    logging.getLogger("desktop_rlhf.x").warning("once")
    assert log.read_text().count("once") == capsys.readouterr().err.count("once") == 1


def test_that_the_log_stays_small(log, monkeypatch) -> None:
    monkeypatch.setattr(settings, "LARGEST_LOG", 1000)
    keep_log()
    for number in range(100):
        logging.getLogger("desktop_rlhf.x").info("line %d", number)
    files = list(log.parent.iterdir())
    assert len(files) == 2
    assert all(file.stat().st_size <= 1000 for file in files)
    assert "line 99" in log.read_text()


def test_that_the_program_goes_on_where_no_log_can_be_written(log, capsys) -> None:
    log.parent.write_text("a file where the folder would be")
    keep_log()
    logging.getLogger("desktop_rlhf.x").warning("seen all the same")
    error = capsys.readouterr().err
    assert "no log is kept" in error
    assert "seen all the same" in error


def test_that_an_installed_window_without_a_terminal_keeps_one_too(log, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    keep_log()
    logging.getLogger("desktop_rlhf.x").warning("in the file")
    assert "in the file" in log.read_text()
