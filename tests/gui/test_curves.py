from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication, QLabel

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.curves.board import CurveBoard, grouped
from desktop_rlhf.gui.curves.panel import curve_pen
from desktop_rlhf.gui.curves.series import BLOCK, BUCKETS, DRAWN_IN_FULL, Series, decayed_sums, thinned
from desktop_rlhf.runs.spec import Metric
from desktop_rlhf.workbench.algorithms import TRAINABLE

METRICS = (
    Metric("loss", "loss", "nats", "surprise", "−log p", "falls", "a paper", "loss"),
    Metric("kl_k1", "KL (k1)", "nats", "distance", "−log r", "0 to 10", "another", "kl", "above 20: raise `kl_coef`"),
    Metric("score", "score", "reward", "mean score", "s", "rises", "a third", "reward"),
    Metric("score/best", "best score", "reward", "best score", "max s", "rises", "a third", "reward"),
)


@pytest.fixture
def board(qtbot):
    made = CurveBoard(METRICS)
    qtbot.addWidget(made)
    made.resize(1200, 700)
    made.show()
    qtbot.waitExposed(made)
    return made


def wait_drawn(qtbot, board):
    qtbot.waitUntil(lambda: not board._dirty)


def panel_of(board, name):
    return next(panel for panel in board.panels if name in panel.series)


def test_that_reward_and_kl_come_first():
    assert [title for title, _ in grouped(METRICS)] == ["Reward", "KL divergence", "Loss"]


def test_that_curves_of_different_units_do_not_share_axes():
    length, ended = ("a", "length", "tokens"), ("b", "ended", "share")
    mixed = [
        Metric(*known, sentence="", formula="", healthy="", source="", panel="length") for known in (length, ended)
    ]
    assert [(title, [m.name for m in members]) for title, members in grouped(mixed)] == [
        ("Length", ["a"]),
        ("Ended", ["b"]),
    ]


@pytest.mark.parametrize("spec", TRAINABLE)
def test_that_every_declared_curve_of_every_algorithm_is_drawn(qtbot, spec):
    board = CurveBoard(spec.metrics)
    qtbot.addWidget(board)
    drawn = [name for panel in board.panels for name in panel.series]
    assert sorted(drawn) == sorted(m.name for m in spec.metrics)


def test_that_added_points_stand_on_the_curve_and_in_the_legend(qtbot, board):
    board.add(1, {"loss": 0.75, "score": -1.5})
    board.add(2, {"loss": 0.5, "undeclared": 3.0})
    wait_drawn(qtbot, board)
    x, y = panel_of(board, "loss")._lines["loss"].getData()
    assert x.tolist() == [1, 2]
    assert y.tolist() == [0.75, 0.5]
    assert board.findChild(QLabel, "value-loss").text() == "0.5 nats"
    assert board.findChild(QLabel, "value-score").text() == "−1.5 reward"


def test_that_a_negative_zero_is_read_out_as_a_zero(qtbot, board):
    board.add(1, {"loss": -0.0})
    wait_drawn(qtbot, board)
    assert board.findChild(QLabel, "value-loss").text() == "0 nats"


def test_that_a_burst_of_points_is_painted_at_once(qtbot, board):
    wait_drawn(qtbot, board)
    before = board.redraws
    for step in range(500):
        board.add(step, {"loss": 1.0})
    wait_drawn(qtbot, board)
    assert board.redraws - before == 1
    assert len(board.series("loss")) == 500


def test_that_a_hidden_board_keeps_points_and_paints_when_shown(qtbot):
    board = CurveBoard(METRICS)
    qtbot.addWidget(board)
    board.add(1, {"loss": 1.0})
    assert board.redraws == 0
    board.show()
    assert board.redraws == 1


def test_that_load_replaces_and_clear_empties(qtbot, board):
    board.add(9, {"loss": 9.0})
    board.load({"loss": [(1, 2.0), (2, 1.0)]})
    assert board.series("loss").values.tolist() == [2.0, 1.0]
    board.clear()
    assert len(board.series("loss")) == 0


def test_that_what_is_loaded_is_drawn_without_a_wait(qtbot, board):
    wait_drawn(qtbot, board)
    board.load({"loss": [(1, 2.0), (2, 1.0)]})
    QApplication.processEvents()
    assert panel_of(board, "loss")._lines["loss"].getData()[0].tolist() == [1, 2]


def test_that_a_board_says_that_its_curves_are_read_and_gives_no_part_of_them_away(qtbot, board):
    board.set_reading(True)
    board.load_curve("loss", np.array([[1, 2.0], [2, 1.0]]))
    wait_drawn(qtbot, board)
    assert "Reading" in board.status.text()
    assert not board.export.isEnabled()
    board.set_reading(False)
    wait_drawn(qtbot, board)
    assert board.status.text() == ""
    assert board.export.isEnabled()


def test_that_a_value_that_is_not_finite_is_a_gap_with_a_mark_and_a_sentence(qtbot, board):
    for step, value in enumerate((1.0, math.nan, 2.0, math.inf, 3.0)):
        board.add(step, {"kl_k1": value})
    wait_drawn(qtbot, board)
    panel = panel_of(board, "kl_k1")
    _, drawn = panel._lines["kl_k1"].getOriginalDataset()
    assert np.isnan(drawn).tolist() == [False, True, False, True, False]
    assert [mark.value() for mark in panel._marks] == [1, 3]
    assert not panel.warning.isHidden()
    assert "step 1 and 1 more" in panel.warning.text()
    assert panel_of(board, "loss").warning.isHidden()


def test_that_columns_follow_the_width(qtbot, board):
    def columns():
        return len({board._grid.getItemPosition(board._grid.indexOf(p))[1] for p in board.panels})

    seen = []
    for width in (500, 900, 1400):
        board.resize(width, 700)
        seen.append(columns())
    assert seen == [1, 2, 3]


def test_that_smoothing_draws_an_average_over_the_faint_raw_curve(qtbot, board):
    for step in range(10):
        board.add(step, {"loss": float(step % 2)})
    board.smoothing.setValue(50)
    wait_drawn(qtbot, board)
    panel = panel_of(board, "loss")
    _, faint = panel._faint["loss"].getData()
    _, smooth = panel._lines["loss"].getData()
    assert faint.tolist() == [float(step % 2) for step in range(10)]
    assert np.ptp(smooth[5:]) < np.ptp(faint)


def test_that_the_cursor_reads_every_panel_out_at_the_same_step(qtbot, board):
    for step in range(1, 6):
        board.add(step, {"loss": step / 10, "score": float(step)})
    wait_drawn(qtbot, board)
    panel_of(board, "loss").hovered.emit(2.2)
    assert board.findChild(QLabel, "value-loss").text() == "0.2 nats"
    assert board.findChild(QLabel, "value-score").text() == "2 reward"
    panel_of(board, "loss").hovered.emit(None)
    assert board.findChild(QLabel, "value-loss").text() == "0.5 nats"


def test_that_the_cursor_reads_out_what_is_drawn_now(qtbot, board):
    board.load({"loss": [(1, 0.1), (2, 0.2), (3, 0.3)]})
    panel_of(board, "loss").hovered.emit(2.0)
    board.load({"loss": [(1, 0.5), (2, 0.6)]})
    wait_drawn(qtbot, board)
    assert board.findChild(QLabel, "value-loss").text() == "0.6 nats"


def test_that_the_question_mark_unfolds_sentence_and_source(board):
    panel = panel_of(board, "kl_k1")
    assert panel.explanation.isHidden()
    panel.why.click()
    assert not panel.explanation.isHidden()
    said = "KL (k1) [nats]: distance. Healthy: 0 to 10. If not: above 20: raise kl_coef."
    assert panel.explanation.text() == said
    assert panel_of(board, "loss").explanation.text() == "loss [nats]: surprise. Healthy: falls."
    tip = board.findChild(QLabel, "value-kl_k1").toolTip()
    assert tip.splitlines() == ["kl_k1", said, "Formula, its signs under Help: −log r.", "Source: another."]


def test_that_curves_of_a_panel_differ_by_colour_and_by_dash():
    pens = [curve_pen(i) for i in range(4)]
    assert len({pen.color().name() for pen in pens}) == 4
    assert len({pen.style() for pen in pens}) == 4


def test_that_curves_take_the_colours_of_a_new_theme(qtbot, board):
    app = QApplication.instance()
    try:
        theme.apply(app, theme.DARK)
        panel = panel_of(board, "loss")
        qtbot.waitUntil(lambda: panel._lines["loss"].opts["pen"].color().name() == theme.DARK.curves[0])
    finally:
        theme.apply(app, theme.LIGHT)


def test_that_the_csv_has_a_row_per_step_and_a_column_per_curve(board, tmp_path):
    board.add(1, {"loss": 0.1, "score": 2.0})
    board.add(2, {"loss": math.nan})
    path = tmp_path / "curves.csv"
    assert board.write_csv(path) == 2
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert rows[0]["loss"] == "0.1"
    assert rows[1]["loss"] == "nan"
    assert rows[1]["score"] == ""


def test_that_a_series_grows_past_its_first_room():
    series = Series()
    for step in range(1000):
        series.append(step, step * 2)
    assert series.steps.tolist() == list(range(1000))
    assert series.values[-1] == 1998


def test_that_a_step_said_again_replaces_what_followed_it():
    series = Series()
    series.replace([(1, 1.0), (2, 2.0), (3, 3.0)])
    series.append(2, 9.0)
    assert series.steps.tolist() == [1, 2]
    assert series.values.tolist() == [1.0, 9.0]


def test_that_the_average_starts_at_the_first_value_and_survives_a_gap():
    series = Series(smoothing=0.9)
    series.replace([(1, 5.0), (2, math.nan), (3, 5.0)])
    assert series.smoothed[0] == pytest.approx(5.0)
    assert math.isnan(series.smoothed[1])
    assert series.smoothed[2] == pytest.approx(5.0)


def test_that_sums_by_blocks_are_the_sums_one_by_one():
    drawn = np.random.default_rng(0).normal(size=2 * BLOCK + 3)
    for count in (0, 1, BLOCK, len(drawn)):
        one_by_one, last = [], 4.0
        for value in drawn[:count]:
            last = 0.9 * last + value
            one_by_one.append(last)
        assert decayed_sums(drawn[:count], 0.9, 4.0) == pytest.approx(one_by_one)


def test_that_the_average_is_the_same_whether_it_is_read_once_or_after_every_point():
    values = [math.nan, 3.0, 1.0, math.inf, -2.0, *np.random.default_rng(0).normal(size=3 * BLOCK)]
    at_once, live = Series(smoothing=0.9), Series(smoothing=0.9)
    at_once.replace(enumerate(values))
    for step, value in enumerate(values):
        live.append(step, value)
        assert len(live.smoothed) == step + 1
    assert live.smoothed == pytest.approx(at_once.smoothed, nan_ok=True)
    # The definition, on the first two values that are finite.
    assert at_once.smoothed[2] == pytest.approx((0.9 * 0.1 * 3.0 + 0.1 * 1.0) / (0.9 * 0.1 + 0.1))


def test_that_thinning_keeps_the_lowest_and_the_highest_of_every_stretch():
    values = np.random.default_rng(0).normal(size=DRAWN_IN_FULL + 7)
    values[0] = math.nan
    steps, drawn = thinned(np.arange(len(values), dtype=float), values)
    kept = set(steps.astype(int).tolist())
    width = -(-len(values) // BUCKETS)
    for start in range(0, len(values), width):
        stretch = values[start : start + width]
        assert {start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))} <= kept
    assert {0, len(values) - 1} <= kept
    assert np.isnan(drawn).tolist() == [True, *[False] * (len(drawn) - 1)]


def test_that_thinning_keeps_peaks_gaps_and_both_ends():
    count = 20 * DRAWN_IN_FULL
    steps, values = np.arange(count, dtype=float), np.zeros(count)
    values[41_234], values[50_001], values[70_000] = 7.0, -7.0, math.inf
    x, y = thinned(steps, values)
    assert len(x) <= 3 * BUCKETS + 2
    assert np.nanmax(y) == 7.0
    assert np.nanmin(y) == -7.0
    assert 70_000 in x[np.isnan(y)]
    assert (x[0], x[-1]) == (0, count - 1)
    assert (np.diff(x) > 0).all()


def test_that_few_points_are_drawn_in_full():
    steps = np.arange(DRAWN_IN_FULL, dtype=float)
    assert len(thinned(steps, steps)[0]) == DRAWN_IN_FULL


def test_that_a_long_curve_is_drawn_with_few_points(qtbot, board):
    steps = 20 * DRAWN_IN_FULL
    board.load({metric.name: [(step, step % 7) for step in range(steps)] for metric in METRICS})
    wait_drawn(qtbot, board)
    for panel in board.panels:
        for line in panel._lines.values():
            assert 0 < len(line.getData()[0]) <= 3 * BUCKETS + 2
    assert len(board.series("loss")) == steps


def test_that_loaded_points_and_added_ones_make_one_curve():
    series = Series(smoothing=0.5)
    for points in ([], [(1, 1.0)], [(step, step * 2.0) for step in range(200)]):
        series.replace(points)
        one_by_one = Series(smoothing=0.5)
        for step, value in [*points, (500, 5.0), (501, 6.0)]:
            one_by_one.append(step, value)
        series.append(500, 5.0)
        series.append(501, 6.0)
        assert series.steps.tolist() == one_by_one.steps.tolist()
        assert series.smoothed.tolist() == one_by_one.smoothed.tolist()
    series.replace([(3, 1.0), (2, 2.0)])
    assert series.steps.tolist() == [2]
