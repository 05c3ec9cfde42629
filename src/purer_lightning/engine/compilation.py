"""The C++ kernels as a library: compiled once a machine by the compiler that is there, kept, and loaded by ctypes."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from purer_lightning.files import replacing

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.hpp")))
# No option that lets the compiler reorder or drop floating-point operations.
OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC", "-std=c++17")
THREADS = "-fopenmp"  # the library of that name is in the process already: torch's own
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT = 120  # seconds; it takes about five


class Library(NamedTuple):
    """What the machine has to offer.

    Attributes:
        functions: the loaded kernels; None where they could not be made.
        problem: why they could not, one clause; empty if they could.
        compile_seconds: what compiling them took; 0.0 where an earlier run had kept them.
    """

    functions: ctypes.CDLL | None
    problem: str = ""
    compile_seconds: float = 0.0


@functools.cache
def library() -> Library:
    """Load the kernels, after compiling them if no earlier run has."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(os.environ.get("CXX", name)))), None)
    if compiler is None:
        return Library(None, f"there is no C++ compiler ({', '.join(COMPILERS)})")
    begin = time.perf_counter()
    try:
        kept = cache_folder() / f"kernels-{fingerprint(compiler)}.so"
        fresh = not kept.exists()
        if fresh:
            compile_into(kept, compiler)
        return Library(ctypes.CDLL(str(kept)), compile_seconds=time.perf_counter() - begin if fresh else 0.0)
    except (OSError, subprocess.SubprocessError) as error:
        return Library(None, f"the kernels could not be compiled by {compiler} ({error})")


def compile_into(kept: Path, compiler: str) -> None:
    """Compile the kernels, with threads if the compiler knows how; several processes may do so at once.

    Raises:
        OSError: nothing can be written or run there.
        subprocess.SubprocessError: the compiler refused.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as temporary:
        command = [compiler, *OPTIONS, "-o", str(temporary), *map(str, SOURCES)]
        threaded = subprocess.run([*command, THREADS], capture_output=True, timeout=TIMEOUT, check=False)
        if threaded.returncode != 0:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)


def cache_folder() -> Path:
    """Return where compiled kernels are kept: the user's cache folder, or a temporary one where that is read-only."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "purer-lightning"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="purer-lightning-"))


def fingerprint(compiler: str) -> str:
    """Return a name for source, options, compiler and processor: code for one processor may not run on another."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    processor = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    sources = (path.read_text(encoding="utf-8") for path in (*SOURCES, *HEADERS))
    told = (*sources, *OPTIONS, compiler, platform.machine(), *sorted(processor))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
