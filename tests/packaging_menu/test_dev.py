"""The menu that sets everything up: what it takes, what it skips and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

MENU = Path(__file__).parents[2] / "packaging" / "dev.py"


def menu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", MENU)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dev"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The menu, looking at a checkout of its own whose environments are empty; commands are noted, not run."""
    module = menu()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    files = [tmp_path / "pyproject.toml"]
    for environment in (module.OWN, module.PARITY, module.BENCH):
        files += [environment.python, environment.path / "pyvenv.cfg", *environment.pins]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first")
    module.ran = []
    module.codes = {}

    def run(command, **environ):
        module.ran.append(command)
        return next((code for word, code in module.codes.items() if word in " ".join(command)), 0)

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "loads", lambda library: True)
    return module


def test_that_a_second_call_installs_nothing(dev):
    assert dev.prepare_environment(dev.OWN)
    assert [c[1:4] for c in dev.ran] == [["-m", "pip", "install"]]
    assert dev.prepare_environment(dev.OWN)
    assert len(dev.ran) == 1


@pytest.mark.parametrize("changed", ["pyproject.toml", "packaging/constraints.txt", ".venv/pyvenv.cfg"])
def test_that_a_change_of_what_is_wanted_installs_again(dev, changed: str):
    dev.prepare_environment(dev.OWN)
    (dev.ROOT / changed).write_text("second")
    dev.prepare_environment(dev.OWN)
    assert len(dev.ran) == 2


def test_that_every_environment_has_its_own_folder_extras_versions_and_stamp(dev):
    assert dev.prepare_environment(dev.OWN)
    assert dev.prepare_environment(dev.PARITY)
    assert dev.prepare_environment(dev.BENCH)
    for environment, command in zip((dev.OWN, dev.PARITY, dev.BENCH), dev.ran, strict=True):
        assert command[0] == str(environment.python)
        assert command[-1] == f"{dev.ROOT}[{environment.extras}]"
        told = [command[place + 1] for place, word in enumerate(command) if word == "--constraint"]
        assert told == [str(file) for file in environment.pins]
    assert len({environment.stamp.read_text() for environment in (dev.OWN, dev.PARITY, dev.BENCH)}) == 3
    (dev.ROOT / "packaging" / "constraints-parity.txt").write_text("second")
    dev.prepare_environment(dev.OWN)
    dev.prepare_environment(dev.BENCH)
    assert len(dev.ran) == 3, "neither the program's own environment nor the other TRL's knows of this one"
    dev.prepare_environment(dev.PARITY)
    assert len(dev.ran) == 4
    assert all(file.exists() for environment in (menu().PARITY, menu().BENCH) for file in environment.pins)


def test_that_a_moved_checkout_installs_again(dev, tmp_path: Path):
    before = dev.stamp(dev.OWN)
    dev.ROOT = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert dev.stamp(dev.OWN) != before


def test_that_a_failed_installation_leaves_no_stamp_and_says_so_in_one_line(dev, capsys: pytest.CaptureFixture[str]):
    dev.prepare_environment(dev.OWN)
    (dev.ROOT / "pyproject.toml").write_text("second")
    dev.codes = {"pip": 1}
    assert not dev.prepare_environment(dev.OWN)
    assert not dev.OWN.stamp.exists()
    assert capsys.readouterr().err.count("\n") == 1
    assert dev.main(["check"]) == 1
    assert dev.main(["parity"]) == 1
    assert all("pip" in command for command in dev.ran), "nothing is checked in a half-made environment"


def test_that_a_missing_library_gives_one_apt_line_and_stops(dev, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(dev, "loads", lambda library: library not in ("libEGL.so.1", "libdbus-1.so.3"))
    for verb in ("app", "check", "test", "parity"):
        assert dev.main([verb]) == 1
        said = capsys.readouterr().err
        assert "sudo apt-get install libegl1 libdbus-1-3\n" in said
        assert said.count("\n") == 1
    assert dev.ran == []
    assert dev.main(["demo"]) == 0, "the demo opens no window"


def test_that_x11_libraries_count_only_for_a_window_on_x11(dev, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(dev, "loads", lambda library: library != "libxcb-cursor.so.0")
    assert dev.missing_packages("app", {"DISPLAY": ":0"}) == ["libxcb-cursor0"]
    assert dev.missing_packages("app", {"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen"}) == []
    assert dev.missing_packages("app", {}) == []
    assert dev.missing_packages("test", {"DISPLAY": ":0"}) == []


def test_that_no_library_is_looked_for_outside_linux(dev, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dev, "loads", lambda library: False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert dev.missing_packages("app", {"DISPLAY": ":0"}) == []


def test_that_a_library_that_is_not_there_is_noticed():
    assert not menu().loads("libthereisnosuchlibrary.so.1")


def test_that_app_and_demo_hand_the_rest_to_the_program(dev):
    assert dev.main(["demo", "--json", "out.json"]) == 0
    assert dev.ran[-1][1:] == ["-m", "desktop_rlhf", "demo", "--json", "out.json"]
    assert dev.main(["app", "--project", "here"]) == 0
    assert dev.ran[-1][1:] == ["-m", "desktop_rlhf", "--new-starter", "--project", "here"]


@pytest.mark.parametrize(
    ("verb", "rest"),
    [("study", ["--full", "--hh", "pairs.jsonl"]), ("breaks", ["--only", "P3"]), ("bench", ["--only", "dpo"])],
)
def test_that_a_module_in_packaging_is_run_from_there_and_handed_the_rest(
    dev, monkeypatch: pytest.MonkeyPatch, verb: str, rest: list[str]
):
    seen = {}
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setattr(dev, "fetch_starter_model", lambda: True)
    monkeypatch.setattr(dev, "prepare_environment", lambda environment: True)
    monkeypatch.setattr(dev, "run", lambda command, **environ: seen.update(command=command, **environ) or 0)
    assert dev.main([verb, *rest]) == 0
    assert seen["command"][1:] == ["-m", verb, *rest]
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(dev.ROOT / "packaging"), "mine"]
    assert (MENU.parent / verb / "__main__.py").exists()


@pytest.mark.parametrize("against", [["--against", "trl"], ["--against=trl"], []])
def test_that_bench_makes_trls_environments_only_when_it_is_measured_against_it(dev, against: list[str]):
    assert dev.main(["bench", "--only", "dpo", *against]) == 0
    made = [Path(command[0]).parents[1].name for command in dev.ran if "pip" in command]
    assert made == [".venv", *([".venv-parity", ".venv-bench"] if against else [])]
    assert dev.ran[-1][1:3] == ["-m", "bench"]


def test_that_gpu_looks_for_one_then_tests_and_then_measures_on_it(dev):
    assert dev.main(["gpu", "--json", "out.json"]) == 0
    look, tests, figures = dev.ran[-3:]
    assert look[1:] == ["-m", "bench.gpu", "--look", "--json", "out.json"]
    assert tests == dev.GPU_TESTS
    assert figures[1:] == ["-m", "bench.gpu", "--json", "out.json"]


@pytest.mark.parametrize(("failing", "steps"), [("--look", 1), ("tests/gpu", 2)])
def test_that_nothing_is_measured_without_a_gpu_or_on_one_that_fails_its_tests(dev, failing: str, steps: int):
    dev.prepare_environment(dev.OWN)
    dev.fetch_starter_model()
    before, dev.codes = len(dev.ran), {failing: 1}
    assert dev.main(["gpu"]) == 1
    assert len(dev.ran) - before == 1 + steps, "the starter model is looked for first"


def test_that_gpu_measures_on_the_cpu_alone_when_it_is_told_to(dev):
    assert dev.main(["gpu", "--device", "cpu", "--small"]) == 0
    assert dev.ran[-1][1:] == ["-m", "bench.gpu", "--device", "cpu", "--small"]
    assert not any("pytest" in command or "--look" in command for command in dev.ran)


def test_that_nothing_is_measured_against_a_peer_that_could_not_be_installed(dev):
    dev.codes = {".venv-bench": 1}
    assert dev.main(["bench", "--against", "trl"]) == 1
    assert not any("bench" in command for command in dev.ran)


def test_that_every_check_runs_and_the_first_failure_is_the_exit_code(dev):
    dev.codes = {"ruff check": 3, "mypy": 4}
    assert dev.run_all(dev.CHECKS) == 3
    assert dev.ran == dev.CHECKS
    dev.codes = {}
    assert dev.run_all(dev.CHECKS) == 0


def test_that_test_is_check_and_the_slow_tests(dev):
    dev.main(["test"])
    assert dev.ran[-len(dev.CHECKS) - 1 :] == [*dev.CHECKS, dev.SLOW_TESTS]
    dev.main(["check"])
    assert dev.ran[-len(dev.CHECKS) :] == dev.CHECKS


def test_that_parity_runs_its_tests_in_its_own_environment_and_the_other_verbs_leave_them_out(dev):
    assert dev.main(["parity"]) == 0
    assert dev.ran[0][1:4] == ["-m", "pip", "install"]
    assert dev.ran[1:] == [dev.PARITY_TESTS]
    assert dev.PARITY_TESTS[1:] == ["-m", "pytest", "-m", "parity", "tests/parity"]
    assert dev.PARITY_TESTS[0] == str(menu().PARITY.python)
    assert dev.CHECKS[-1][-1] == "not slow and not parity and not gpu"
    dev.codes = {"pytest": 1}
    assert dev.main(["parity"]) == 1


def test_that_a_starter_model_that_did_not_come_stops_everything(dev):
    dev.codes = {"starter_model.py": 1}
    assert dev.main(["demo"]) == 1
    assert not any("desktop_rlhf" in command for command in dev.ran)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["check", "more"], ["parity", "more"]])
def test_that_a_wrong_call_is_told_the_verbs(arguments: list[str]):
    told = subprocess.run([sys.executable, MENU, *arguments], capture_output=True, text=True, env=dict(os.environ))
    assert told.returncode == 2
    assert all(
        verb in told.stderr for verb in ("app", "test", "check", "demo", "study", "parity", "breaks", "bench", "gpu")
    )
