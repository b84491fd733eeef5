from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from desktop_rlhf import settings
from desktop_rlhf.__main__ import main
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import Run
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import RunSaid, StartRun
from desktop_rlhf.workbench.project import Project

JUDGE = Path(__file__).parent.parent / "road" / "judge.py"
FIRST_WINS = """import sys
for _ in sys.stdin: print('{"choice": 0}', flush=True)"""
"""A judge that ranks every pair; how many the other one ties depends on what was sampled."""


def judge(*arguments: object) -> str:
    return shlex.join([sys.executable, str(JUDGE), *map(str, arguments)])


@pytest.fixture
def verb(capfd):
    """Carry out a verb with --json; gives its status and its answer."""

    def carry_out(*words: object) -> tuple[int, dict]:
        capfd.readouterr()
        status = main([*map(str, words), "--json"])
        out = capfd.readouterr().out.strip().splitlines()
        return status, json.loads(out[-1])

    return carry_out


@pytest.fixture
def project(tmp_path, tiny_model_path, verb):
    path = tmp_path / "project"
    assert verb("new", path, "--base-model", tiny_model_path)[0] == 0
    return path


@pytest.fixture
def sampled(project, verb):
    assert verb("sample", project, "--prompts", 10, "--max-new-tokens", 6)[0] == 0
    return project


def test_that_a_verb_says_in_the_log_how_it_computes(project, verb) -> None:
    assert verb("sample", project, "--prompts", 1, "--max-new-tokens", 2)[0] == 0
    assert "the model is kept on" in settings.log_path().read_text()


def test_that_import_and_export_are_each_others_inverse(project, verb, tmp_path) -> None:
    for name in ("prompts.jsonl", "prompts.csv"):
        status, answer = verb("export", project, tmp_path / name, "--what", "prompts")
        assert (status, answer["written"] > 200) == (0, True)
        status, again = verb("import", project, tmp_path / name)
        assert (status, again["prompts"], again["duplicates"]) == (0, 0, answer["written"])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00bad", b'{"prompt": 3}', b"{"])
def test_that_a_bad_file_is_one_clear_error_and_status_1(project, verb, tmp_path, content) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    before = verb("export", project, tmp_path / "a.jsonl", "--what", "prompts")[1]["written"]
    status, answer = verb("import", project, tmp_path / "bad.jsonl")
    assert status == 1
    assert "bad.jsonl" in answer["error"]
    assert verb("export", project, tmp_path / "a.jsonl", "--what", "prompts")[1]["written"] == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((4, "exit"), "ended with status 3"),
        ((4, "nonsense"), "not a choice"),
        ((4, '{"choice": 2}'), "not a choice"),
        ((4, '{"choice": true}'), "not a choice"),
        ((4, '{"pick": 0}'), "not a choice"),
    ],
)
def test_that_a_judge_that_breaks_is_an_error_and_its_answers_are_kept(sampled, verb, arguments, said) -> None:
    status, answer = verb("label", sampled, "--judge-command", judge(*arguments))
    assert status == 1
    assert said in answer["error"]
    assert "kept" in answer["next_step"]
    status, answer = verb("label", sampled, "--judge-command", judge())
    assert (status, answer["judged"], answer["waiting"]) == (0, 6, 0)


def test_that_a_judge_that_ends_with_an_error_after_its_last_answer_is_an_error(sampled, verb, tmp_path) -> None:
    script = tmp_path / "late.py"
    script.write_text(JUDGE.read_text() + "\nsys.exit(5)\n")
    status, answer = verb("label", sampled, "--judge-command", shlex.join([sys.executable, str(script)]))
    assert (status, "status 5" in answer["error"]) == (1, True)
    assert verb("label", sampled, "--judge-command", judge())[1]["judged"] == 0


def test_that_a_judge_that_is_not_there_is_an_error(sampled, verb) -> None:
    status, answer = verb("label", sampled, "--judge-command", "no-such-judge --x")
    assert (status, "could not be started" in answer["error"]) == (1, True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [("betta=1", "no setting named"), ("beta=-1", "cannot be -1"), ("beta=abc", "not a value"),
     ("beta", "not a setting"), ("batch_size=1.5", "not a value"), ("beta=nan", "cannot be nan")],
)  # fmt: skip
def test_that_a_wrong_setting_is_a_clear_error(project, verb, setting, said) -> None:
    status, answer = verb("train", project, "dpo", "--set", setting)
    assert (status, said in answer["error"]) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "reward"), "at least 8 comparisons"),
        (("train", "dpo"), "learns from comparisons"),
        (("train", "ppo"), "needs a reward model"),
        (("train", "magic"), "no algorithm named"),
        (("train", "dpo", "--from", "nobody"), "no policy adapter"),
        (("compare", "--judge-command", "true"), "no policy adapter to compare"),
    ],
)
def test_that_a_stage_too_early_says_what_is_missing(project, verb, words, said) -> None:
    status, answer = verb(words[0], project, *words[1:])
    assert (status, said in answer["error"]) == (1, True)
    assert answer["next_step"]


def test_that_a_folder_without_a_project_is_an_error(verb, tmp_path) -> None:
    status, answer = verb("runs", tmp_path / "nothing")
    assert (status, "holds no project" in answer["error"]) == (1, True)


@pytest.mark.parametrize("spoil", ["pickled", "code", "missing"])
def test_that_a_base_model_that_is_not_plain_data_is_refused(verb, tmp_path, spoil) -> None:
    base = tmp_path / "base"
    if spoil != "missing":
        base.mkdir()
        (base / "config.json").write_text('{"auto_map": {"AutoModel": "x.M"}}' if spoil == "code" else "{}")
        (base / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    status, answer = verb("new", tmp_path / "project", "--base-model", base)
    assert status == 1
    assert answer["error"]
    assert not (tmp_path / "project").exists()


def test_that_sampling_again_writes_other_completions_and_a_seed_the_same(project, verb) -> None:
    texts = []
    for seed in ([], [], ["--seed", 5], ["--seed", 5]):
        verb("sample", project, "--prompts", 400, "--max-new-tokens", 2, *seed)
        rows = Project.open(project)
        newest = [
            c for c in rows._store.db.query("SELECT text, prompt_id FROM completions ORDER BY rowid DESC LIMIT 300")
        ]
        texts.append(sorted((c["prompt_id"], c["text"]) for c in newest))
        rows.close()
    assert texts[0] != texts[1]
    assert texts[2] == texts[3]


def test_that_prompts_whose_completions_read_the_same_are_counted(project, verb) -> None:
    status, answer = verb("sample", project, "--prompts", 3, "--max-new-tokens", 2, "--temperature", 0)
    assert (status, answer["groups"], answer["waiting"], answer["passed_over"]) == (0, 0, 0, 3)


@pytest.mark.parametrize("temperature", ["nan", "inf", "-1"])
def test_that_a_temperature_that_is_none_is_a_clear_error(project, verb, temperature) -> None:
    status, answer = verb("sample", project, f"--temperature={temperature}")
    assert (status, "sampler" in answer["error"]) == (1, True)


def test_that_what_a_completion_holds_reaches_a_pipe_of_few_letters(project, tmp_path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2])}
    for json_or_text in (["--json"], []):
        command = [sys.executable, "-m", "desktop_rlhf", "runs", str(tmp_path / "kein Projekt – ü"), *json_or_text]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 1
        assert "holds no project" in done.stderr


def test_that_what_a_run_left_out_is_in_its_answer_and_in_the_list_of_runs(sampled, verb, capfd) -> None:
    labelled = Project.open(sampled)
    ranked = 0
    for number in range(10):
        showing = labelled.next_showing()
        differ = len({completion.text for completion in showing.completions}) == 2
        ranks = (1, 2) if differ and number < 7 else ()
        labelled.save_comparison(showing, Outcome.RANKED if ranks else Outcome.TIE, ranks)
        ranked += bool(ranks)
    labelled.close()
    sizes = ("--set", "lora_rank=2", "--set", "batch_size=4")
    status, answer = verb("train", sampled, "dpo", *sizes)
    assert (status, answer["report"]["learned_from"], answer["report"]["left_out"]) == (0, ranked, {"tie": 10 - ranked})
    (told,) = answer["notes"]
    assert told.startswith(f"Learns from {ranked} of 10 comparisons. Left out: {10 - ranked} ties.")
    (run,) = verb("runs", sampled)[1]["runs"]
    assert (run["report"], run["notes"]) == (answer["report"], answer["notes"])
    assert main(["train", str(sampled), "dpo", *sizes]) == 0
    assert told in capfd.readouterr().out


def test_that_a_stopped_run_is_resumed_by_a_verb(sampled, verb) -> None:
    verb("label", sampled, "--judge-command", shlex.join([sys.executable, "-c", FIRST_WINS]))
    assert verb("resume", sampled)[0] == 1

    def say(news) -> None:
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken):
            engine.stop("job")

    engine = Engine(sampled, say)
    engine.submit(StartRun("job", "dpo", {"lora_rank": 2, "batch_size": 2}, name="mine"))
    engine.run_until_idle()
    engine.close()
    (run,) = verb("runs", sampled)[1]["runs"]
    assert (run["status"], run["resumable"]) == ("stopped", True)
    status, answer = verb("resume", sampled, run["id"][:6])
    assert (status, answer["status"], answer["run_id"]) == (0, "completed", run["id"])
    assert (answer["resumable"], answer["report"]["steps"] > 1) == (False, True)
    assert verb("resume", sampled)[0] == 1
    (run,) = verb("runs", sampled)[1]["runs"]
    assert (run["adapter"]["id"], run["adapter"]["name"]) == (answer["adapter_id"], "mine")
    assert verb("sample", sampled, "--prompts", 1, "--max-new-tokens", 2, "--adapter", "mine, stopped")[0] == 0


def test_that_demonstrations_and_judgements_go_in_and_out_by_verbs(project, verb, tmp_path) -> None:
    rows = [{"prompt": f"q{i}", "completion": f"a{i}"} | ({} if i < 2 else {"label": i < 4}) for i in range(5)]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    status, answer = verb("import", project, tmp_path / "said.jsonl")
    assert (status, answer["prompts"], answer["demonstrations"], answer["judgements"]) == (0, 5, 2, 3)
    for what, count in (("demonstrations", 2), ("judgements", 3)):
        status, answer = verb("export", project, tmp_path / f"{what}.jsonl", "--what", what)
        assert (status, answer["written"]) == (0, count)
        again = verb("import", project, tmp_path / f"{what}.jsonl")[1]
        assert (again["prompts"], again["demonstrations"], again["judgements"]) == (0, 0, 0)
    status, answer = verb("train", project, "sft", "--set", "lora_rank=2", "--set", "learn_from=demonstrations")
    assert (status, answer["report"]["completions"]) == (0, 2)
    status, answer = verb("train", project, "sft", "--set", "learn_from=rejected")
    assert (status, "learn_from cannot be" in answer["error"]) == (1, True)


def test_that_verbs_that_only_read_do_so_beside_an_open_project(sampled, verb, tmp_path) -> None:
    verb("label", sampled, "--judge-command", shlex.join([sys.executable, "-c", FIRST_WINS]))
    window = Project.open(sampled)
    window._store.runs.add(Run("r", "dpo", {}, None, None, {}, {}))
    status, answer = verb("runs", sampled)
    assert (status, [run["status"] for run in answer["runs"]]) == (0, ["running"])
    status, answer = verb("export", sampled, tmp_path / "out.jsonl")
    assert (status, answer["written"] > 0) == (0, True)
    (tmp_path / "more.txt").write_text("One?")
    for words in (("import", sampled, tmp_path / "more.txt"), ("sample", sampled), ("train", sampled, "dpo")):
        status, answer = verb(*words)
        assert (status, "is open in another window or command" in answer["error"]) == (1, True)
    window.close()
    assert [run["status"] for run in verb("runs", sampled)[1]["runs"]] == ["interrupted"]


def test_that_an_import_says_which_rows_it_left_out(project, verb, tmp_path, capfd) -> None:
    pairs = [{"prompt": "Is it?", "chosen": "Yes.", "rejected": other} for other in ("No.", "Yes.")]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    status, answer = verb("import", project, tmp_path / "pairs.jsonl")
    assert (status, answer["rows"], answer["comparisons"]) == (0, 1, 1)
    assert answer["left_out"] == [{"why": "“chosen” and “rejected” are the same.", "rows": 1, "lines": [2]}]
    assert main(["import", str(project), str(tmp_path / "pairs.jsonl")]) == 0
    assert "1 of 2 rows was left out. “chosen” and “rejected” are the same (line 2)." in capfd.readouterr().out


@pytest.mark.parametrize("what", ["prompts", "comparisons", "demonstrations", "judgements", "verdicts"])
def test_that_exporting_what_there_is_none_of_is_an_error_and_writes_no_file(
    tmp_path, tiny_model_path, verb, what
) -> None:
    verb("new", tmp_path / "project", "--base-model", tiny_model_path, "--no-starter-prompts")
    status, answer = verb("export", tmp_path / "project", tmp_path / "out.jsonl", "--what", what)
    assert (status, answer["error"].startswith(f"There are no {what}"), bool(answer["next_step"])) == (1, True, True)
    assert not (tmp_path / "out.jsonl").exists()


def test_that_an_estimate_is_told_in_words_and_figures_and_trains_nothing(sampled, verb, capfd) -> None:
    assert verb("label", sampled, "--judge-command", judge())[1]["judged"] == 10
    words = ("estimate", sampled, "dpo", "--set", "epochs=3", "--set", "lora_rank=4")
    status, found = verb(*words)
    assert status == 0
    assert found["algorithm"] == "dpo"
    assert found["total_s"] == pytest.approx(sum(found["stages_s"].values()), abs=0.2)
    assert list(found["stages_s"]) == ["training"]
    assert set(found) == {"algorithm", "total_s", "stages_s", "peak_mb", "held_mb", "free_mb", "on_gpu", "fits"}
    assert main([str(word) for word in words]) == 0
    assert capfd.readouterr().out.startswith("About ")
    assert verb("runs", sampled)[1]["runs"] == []


def test_that_an_estimate_takes_what_training_takes(sampled, verb) -> None:
    assert "no setting named" in verb("estimate", sampled, "dpo", "--set", "betta=1")[1]["error"]
    assert "learns from comparisons" in verb("estimate", "dpo", sampled)[1]["error"]
    assert "no policy adapter" in verb("estimate", sampled, "dpo", "--from", "nobody")[1]["error"]
