"""The engine's thread, its news, and the collector that keeps to the window's."""

from __future__ import annotations

import threading

import pytest

from desktop_rlhf.gui.bridge.collector import Collector
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    ModelLoading,
)

CLOSE_TEST_S = 10


def test_that_news_arrive_on_the_gui_thread_whole_and_in_order(engine, engines, qtbot):
    heard, threads = [], set()

    def hear(news):
        heard.append(news)
        threads.add(threading.current_thread())

    engine.news.connect(hear)
    said = [ModelLoading(str(number)) for number in range(2000)]
    engines[-1].have_it(lambda: [engines[-1].say(news) for news in said])
    qtbot.waitUntil(lambda: len(heard) == len(said))
    assert heard == said
    assert threads == {threading.main_thread()}


def test_that_what_is_asked_before_the_engine_exists_reaches_it_in_order(project, make_engine, engines, qtbot):
    gate = threading.Event()

    def make_late(path, say):
        gate.wait()
        return make_engine(path, say)

    handle = EngineHandle(project.path, make_late)
    handle.submit("job")
    handle.pause("a")
    handle.resume("a")
    handle.stop("a")
    handle.start()
    gate.set()
    qtbot.waitUntil(lambda: bool(engines) and len(engines[0].asked) == 4)
    assert engines[0].asked == [("submit", "job"), ("pause", "a"), ("resume", "a"), ("stop", "a")]
    assert handle.close(CLOSE_TEST_S)


def test_that_an_engine_that_is_left_before_it_begins_leaves_nothing_behind(project, make_engine, engines, qtbot):
    handle = EngineHandle(project.path, make_engine)
    handle.shut_down()
    assert not handle.running
    assert handle.close(CLOSE_TEST_S)
    assert not engines
    handle.start()
    qtbot.waitUntil(lambda: len(engines) == 1)
    assert handle.close(CLOSE_TEST_S)


@pytest.mark.parametrize(
    ("error", "reason", "has_report"),
    [(ModelFolderError("No model.", "Get one."), "No model.", False), (ZeroDivisionError(), "ZeroDivisionError", True)],
)
def test_that_an_engine_that_raises_is_news(project, qtbot, error, reason, has_report):
    def make(path, say):
        raise error

    heard = []
    handle = EngineHandle(project.path, make)
    handle.news.connect(heard.append)
    handle.start()
    qtbot.waitUntil(lambda: bool(heard))
    (news,) = heard
    assert isinstance(news, EngineFailed)
    assert reason in news.reason
    assert bool(news.traceback) is has_report
    assert handle.close(CLOSE_TEST_S)


def test_that_the_last_news_come_before_the_end(engine, engines, qtbot):
    heard = []
    engine.news.connect(heard.append)
    engine.ended.connect(lambda: heard.append("ended"))
    engines[-1].have_it(lambda: engines[-1].say(ModelLoading("last words")))
    engine.shut_down()
    qtbot.waitUntil(lambda: "ended" in heard)
    assert heard == [ModelLoading("last words"), "ended"]


def test_that_an_engine_can_be_started_again(project, make_engine, engines, qtbot):
    handle = EngineHandle(project.path, make_engine)
    handle.start()
    qtbot.waitUntil(lambda: len(engines) == 1)
    assert handle.close(CLOSE_TEST_S)
    handle.start()
    qtbot.waitUntil(lambda: len(engines) == 2)
    handle.submit("job")
    assert engines[1].commands == ["job"]
    assert handle.close(CLOSE_TEST_S)


def test_that_what_is_asked_after_an_engine_failed_waits_for_the_next(project, make_engine, engines, qtbot):
    made = []

    def make(path, say):
        made.append(path)
        if len(made) == 1:
            raise ModelFolderError("No model.", "Get one.")
        return make_engine(path, say)

    handle = EngineHandle(project.path, make)
    with qtbot.waitSignal(handle.ended):
        handle.start()
    handle.submit("job")
    handle.start()
    qtbot.waitUntil(lambda: bool(engines) and engines[0].commands == ["job"])
    assert handle.close(CLOSE_TEST_S)


def test_that_closing_a_busy_engine_comes_back_in_time(engine, engines):
    gate = threading.Event()
    engines[-1].have_it(gate.wait)
    assert not engine.close(within_s=0.05)
    gate.set()
    assert engine.close(CLOSE_TEST_S)
    assert not engine.running


def test_that_python_collects_by_itself_again_when_the_collector_is_closed():
    import gc

    collector = Collector()
    assert not gc.isenabled()
    collector.close()
    assert gc.isenabled()
