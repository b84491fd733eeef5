"""The libraries are loaded without a compiler, and whoever asks for the compiler gets it all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from desktop_rlhf.adapters import libraries

NOT_NEEDED = ("torch._dynamo", "torch._inductor", "sympy", "torch.distributed.tensor")
"""What libraries load for compilers and other machines: seconds, and 70 MB."""

RUNS = """
import sys
from pathlib import Path
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.model import RewardHead
from desktop_rlhf.runs.stop import StopToken
import torch
folder, work, dtype = Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3])
model = ResidentModel.load(str(folder), dtype)
model.new_adapter("judge", rank=2, alpha=4, seed=0)
model.save_adapter("judge", work / "judge", head=RewardHead(model.hidden_size).state_dict())
model.detach("judge")
prompts = tuple(Prompt(str(i), (Message("user", f"say {i}"),)) for i in range(2))
spec = PpoSpec(updates=2, prompts_per_update=2, completions_per_prompt=1, max_new_tokens=4, ppo_epochs=2)
inputs = TrainingInputs(model, None, (), prompts, work / "judge", work / "trained")
print([type(event).__name__ for event in resolve(PpoSpec)(spec, inputs, StopToken())][-1])
print(sorted(set(sys.argv[4:]) & set(sys.modules)))
"""


def said(code: str, *arguments: object, **environment: str) -> list[str]:
    """What a new process prints, by line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    own = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=own)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_that_reading_a_model_sampling_and_training_load_no_compiler(tiny_model_path, tmp_path, dtype) -> None:
    *_, last, loaded = said(RUNS, tiny_model_path, tmp_path, dtype, *NOT_NEEDED, DESKTOP_RLHF_DATA=str(tmp_path))
    assert (last, loaded) == ("AdapterSaved", "[]")


def test_that_the_compiler_is_the_real_one_afterwards() -> None:
    code = """
import sys
from desktop_rlhf.adapters import libraries
assert "torch._dynamo" not in sys.modules
import torch, torch._dynamo
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
print(type(torch._dynamo).__name__, callable(torch._dynamo.optimize), TransformGetItemToIndex.__module__)
print(torch.compiler.disable(len)("ab"))
"""
    assert said(code) == ["module True torch._dynamo._trace_wrapped_higher_order_op", "2"]


@pytest.mark.parametrize(
    "asked",
    [
        "torch._dynamo.optimize",
        "importlib.import_module('torch._dynamo.backends.registry').list_backends",
        "importlib.import_module('torch._dynamo.decorators').disable",
    ],
)
def test_that_whoever_asks_for_more_meanwhile_gets_the_real_one(asked) -> None:
    code = f"""
import importlib, sys
import torch
from desktop_rlhf.adapters.libraries import without_compiler
with without_compiler():
    assert torch._dynamo.disable(len) is len
    assert torch._dynamo.allow_in_graph(len) is len
    assert torch.compiler.disable(recursive=False)(len) is len
    assert type(sys.modules["torch._dynamo"]).__name__ == "_StandIn"
    print(callable({asked}))
    print(type(sys.modules["torch._dynamo"]).__name__)
print(type(sys.modules["torch._dynamo"]).__name__, len(sys.meta_path))
with without_compiler():
    print(len(sys.meta_path))
"""
    first, meanwhile, afterwards, again = said(code)
    assert (first, meanwhile) == ("True", "module")
    assert afterwards == f"module {again}"


def test_that_a_mask_made_by_vmap_is_what_it_was() -> None:
    code = """
import torch
from desktop_rlhf.adapters.libraries import LlamaConfig
from transformers import masking_utils
print(masking_utils.TransformGetItemToIndex.__module__)
seen = torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()
mask = masking_utils.sdpa_mask(batch_size=2, q_length=3, kv_length=3, attention_mask=seen, use_vmap=True)
print((mask[:, 0] == (seen[:, None] & torch.ones(3, 3).tril().bool())).all().item())
"""
    module, alike = said(code)
    assert module == libraries.__name__
    assert alike == "True"


def test_that_torch_says_that_it_reaches_no_other_machine() -> None:
    code = """
import torch
from desktop_rlhf.adapters import libraries
from transformers.utils import is_torch_distributed_available
print(torch.distributed.is_available(), is_torch_distributed_available())
"""
    assert said(code) == ["False False"]


def test_that_the_libraries_are_taken_from_there_alone() -> None:
    root = Path(libraries.__file__).parents[1]
    others = [file for file in root.rglob("*.py") if file != Path(libraries.__file__)]
    starts = ("import transformers", "from transformers", "import peft", "from peft")
    assert [
        f"{file.name}: {line}"
        for file in others
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(starts)
    ] == []
