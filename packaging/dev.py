"""The one menu: `python3 packaging/dev.py app | test | check | demo | study | parity | breaks | bench | gpu`.

Standard library only.

The first call makes a virtual environment (.venv in the checkout), installs the program into it and fetches the starter
model. Later calls see that all this stands, ask no network and start at once.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Environment:
    """A virtual environment in the checkout with the program in it.

    Attributes:
        folder:      its name in the checkout.
        extras:      the program's optional dependencies that go in, as pip writes them.
        constraints: the files in packaging/ that say at which versions.
    """

    folder: str
    extras: str
    constraints: tuple[str, ...]

    @property
    def path(self) -> Path:
        return ROOT / self.folder

    @property
    def bin(self) -> Path:
        return self.path / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        return self.bin / ("python.exe" if os.name == "nt" else "python")

    @property
    def pins(self) -> list[Path]:
        return [ROOT / "packaging" / file for file in self.constraints]

    @property
    def stamp(self) -> Path:
        return self.path / "installed.sha256"


OWN = Environment(".venv", "setup,dev", ("constraints.txt",))
PARITY = Environment(".venv-parity", "dev,parity", ("constraints.txt", "constraints-parity.txt"))
BENCH = Environment(".venv-bench", "bench", ("constraints.txt", "constraints-bench.txt"))

VERBS = {
    "app": "open the window, with the starter model proposed for a new project",
    "check": "format, lint, types, import contracts and the quick tests",
    "test": "check, then the slow tests with the starter model",
    "demo": "walk the whole road once without a window; --json FILE writes down what came out",
    "study": "measure the trainers where the best possible is known; --full, --hh FILE, --trl, --out FOLDER",
    "parity": "compare losses, rewards and gradients with TRL's, in an environment of its own",
    "breaks": "break each detail of training in a copy and see a test fail; --only ROW",
    "bench": "measure speed and memory; --against trl, --only WORKS, --rounds N, --pairs FILE, --json FILE, --small",
    "gpu": "run the tests for a GPU on the one there is, then measure on it; --json FILE, --device cpu --small",
}

# What the Qt wheels take from the system: shared library -> the Debian and Ubuntu package that has it.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
}
# Only a window on an X server needs these.
QT_X11_LIBRARIES = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}

MODULE = [str(OWN.python), "-m"]
CHECKS = [
    [*MODULE, "ruff", "format", "--check", "."],
    [*MODULE, "ruff", "check", "."],
    [*MODULE, "mypy"],
    [str(OWN.bin / "lint-imports")],
    [*MODULE, "pytest", "-m", "not slow and not parity and not gpu"],
]
MODULES = ("study", "breaks", "bench")  # packages beside this file
SLOW_TESTS = [*MODULE, "pytest", "-m", "slow"]
GPU_TESTS = [*MODULE, "pytest", "-m", "gpu", "tests/gpu"]
PARITY_TESTS = [str(PARITY.python), "-m", "pytest", "-m", "parity", "tests/parity"]


def main(arguments: list[str] | None = None) -> int:
    verb, rest = parse(arguments)
    if verb != "demo" and (missing := missing_packages(verb)):
        return fail(f"Qt needs libraries that this system lacks. Install them: {apt_line(missing)}")
    if verb == "parity":
        return run_all([PARITY_TESTS]) if prepare_environment(PARITY) else 1
    if not (prepare_environment(OWN) and fetch_starter_model()):
        return 1
    if verb == "app":
        return run([*MODULE, "desktop_rlhf", "--new-starter", *rest])
    if verb == "demo":
        return run([*MODULE, "desktop_rlhf", "demo", *rest])
    against_trl = verb == "bench" and not {"trl", "--against=trl"}.isdisjoint(rest)
    if against_trl and not (prepare_environment(PARITY) and prepare_environment(BENCH)):
        return 1
    if verb in MODULES:
        return run_module(verb, *rest)
    if verb == "gpu":
        return test_and_measure_gpu(rest)
    return run_all([*CHECKS, SLOW_TESTS] if verb == "test" else CHECKS)


def test_and_measure_gpu(rest: list[str]) -> int:
    """Both on the GPU; on the CPU there is nothing to be tested that the quick tests do not, so only the measuring."""
    if {"cpu", "--device=cpu"}.isdisjoint(rest):
        if code := run_module("bench.gpu", "--look", *rest):
            return code
        if code := run_all([GPU_TESTS]):
            return code
    return run_module("bench.gpu", *rest)


def run_module(name: str, *rest: str) -> int:
    """Run a module beside this file."""
    path = os.pathsep.join([str(ROOT / "packaging"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run([*MODULE, name, *rest], PYTHONPATH=path, QT_QPA_PLATFORM="offscreen")


def parse(arguments: list[str] | None = None) -> tuple[str, list[str]]:
    """The verb, and what the program behind it is to be told."""
    verbs = "\n".join(f"  {verb:<6} {meaning}" for verb, meaning in VERBS.items())
    handed_on = " or ".join(("app", "demo", *MODULES, "gpu"))
    parser = argparse.ArgumentParser(
        prog="dev.py",
        usage="python3 packaging/dev.py {" + ",".join(VERBS) + "} …",
        description=f"Set up what is missing, then:\n{verbs}\n\nWhat follows {handed_on} is handed on.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, help=argparse.SUPPRESS)
    known, rest = parser.parse_known_args(arguments)
    if rest and known.verb in ("test", "check", "parity"):
        parser.error(f"{known.verb} takes nothing more, not {shlex.join(rest)}")
    return known.verb, rest


def missing_packages(verb: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """System packages that Qt lacks for ``verb``, none outside Linux. X11's count only for a window on an X server."""
    if not sys.platform.startswith("linux"):
        return []
    on_x11 = verb == "app" and environ.get("DISPLAY") and environ.get("QT_QPA_PLATFORM", "xcb").startswith("xcb")
    wanted = QT_LIBRARIES | (QT_X11_LIBRARIES if on_x11 else {})
    return [package for library, package in wanted.items() if not loads(library)]


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def apt_line(packages: Iterable[str]) -> str:
    return f"sudo apt-get install {' '.join(packages)}"


def stamp(environment: Environment) -> str:
    """What the installation depends on, in one hash: what is wanted, at which versions, in which Python, and where."""
    files = (ROOT / "pyproject.toml", *environment.pins, environment.path / "pyvenv.cfg")
    parts = [str(ROOT).encode(), environment.extras.encode()]
    parts += [file.read_bytes() if file.exists() else b"" for file in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def prepare_environment(environment: Environment) -> bool:
    """Make the environment and install the program into it, unless its stamp says that this stands already."""
    python, stamped = environment.python, environment.stamp
    if python.exists() and stamped.exists() and stamped.read_text() == stamp(environment):
        return True
    if not python.exists():
        print(f"Making a virtual environment in {environment.path} …", flush=True)
        try:
            venv.create(environment.path, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"It could not be made: {error}. On Debian and Ubuntu: sudo apt-get install python3-venv")
            return False
    print("Installing the program and what it needs (some minutes the first time) …", flush=True)
    stamped.unlink(missing_ok=True)
    pinned = [word for file in environment.pins for word in ("--constraint", str(file))]
    wanted = f"{ROOT}[{environment.extras}]"
    if run([str(python), "-m", "pip", "install", "--quiet", *pinned, "--editable", wanted]):
        fail("Installing failed; pip says why above. Without a network, connect once and start again.")
        return False
    stamped.write_text(stamp(environment))
    return True


def fetch_starter_model() -> bool:
    return run([str(OWN.python), str(ROOT / "packaging" / "starter_model.py")]) == 0


def run_all(commands: Iterable[list[str]]) -> int:
    """Run every command, whatever the ones before it said; return the first exit code that is not 0."""
    codes = []
    for command in commands:
        print(f"\n$ {shlex.join([Path(command[0]).name, *command[1:]])}", flush=True)
        codes.append(run(command, QT_QPA_PLATFORM="offscreen"))
    print(f"\n{sum(code == 0 for code in codes)} of {len(codes)} steps passed.", flush=True)
    return next((code for code in codes if code), 0)


def run(command: list[str], **environ: str) -> int:
    return subprocess.run(command, cwd=ROOT, env=os.environ | environ).returncode


def fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
