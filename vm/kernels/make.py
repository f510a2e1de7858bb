"""Running make on a kernel: a counter for people, a log for the rest, the compiler's errors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import BuildError
from vm.kernels.git import clean_environment
from vm.kernels.progress import Counter
from vm.kernels.tools import Compiler
from vm.process import ending_with_parent

__all__ = ["Make", "errors_in"]

_COMPILED = re.compile(r"^\s+(?:HOSTCC|CC|AS|LD|AR|HOSTLD)\s+(?:\[M\]\s+)?(\S+)$")
_PLACED = re.compile(r"^\S[^:]*:\d+(?::\d+)?: (?:fatal |internal compiler )?error\b|: syntax error")
_UNPLACED = re.compile(
    r"undefined reference to|multiple definition of|^ld: |^ERROR: modpost|error: objtool|^cc1: "
    r"|: error: |No rule to make target|not found|Permission denied"
)
_MAKE = re.compile(r"^make(?:\[\d+\])?: ")
_FOREIGN = re.compile(
    r"ARCH|SUBARCH|CROSS_COMPILE|LLVM.*|LOCALVERSION|KBUILD_.*|KCONFIG_.*|KCFLAGS|KCPPFLAGS|KAFLAGS"
    r"|INSTALL_.*|MAKEFLAGS|MFLAGS|MAKELEVEL|MAKEOVERRIDES|GNUMAKEFLAGS|O|V|W|C|M"
)
_LIMIT = 12
"""Lines of errors that a message has; the log has the rest."""
_TERM_SECONDS = 10.0


@dataclass(frozen=True)
class Make:
    """make for the kernel source `tree`, whose products go to `out`; all it says goes to `log`."""

    tree: Path
    out: Path
    log: Path
    compiler: Compiler

    def __call__(self, *targets: str, **variables: str) -> None:
        """Make `targets`. Raises `BuildError` with the compiler's own words.

        Whatever ends this process ends make and its children, too.
        """
        command = [
            "make", "-C", str(self.tree), f"O={self.out}", f"-j{len(os.sched_getaffinity(0))}",
            f"CC={self.compiler.command}", f"HOSTCC={self.compiler.command}",
            *(f"{name}={value}" for name, value in variables.items()), *targets,
        ]  # fmt: skip
        with cache.disk_errors(self.log), self.log.open("a", 1, "utf-8") as log:
            log.write(f"{' '.join(command)}\n")
            lines = self._run(command, log.write)
        if lines is not None:
            self._fail(targets, lines)

    def _run(self, command: list[str], write: Callable[[str], object]) -> list[str] | None:
        """Run `command`; None if it succeeded, else its output."""
        counter = Counter("files compiled")
        lines: list[str] = []
        try:
            with _started(command) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    write(line)
                    lines.append(line.rstrip("\n"))
                    if match := _COMPILED.match(line):
                        counter.step(match[1])
        finally:
            counter.close()
        return lines if process.returncode != 0 else None

    def _fail(self, targets: tuple[str, ...], lines: list[str]) -> None:
        if any("No space left on device" in line for line in lines):
            raise cache.full_error(self.out)
        errors = errors_in(lines, self.tree)
        text = "".join(f"\n  {line}" for line in errors)
        raise BuildError(
            f"the kernel does not build (make {' '.join(targets)}):{text}\n"
            f"the complete log is {self.log}"
        )


def _environment() -> dict[str, str]:
    """Without what would change the build behind our back: another make's or kernel's settings."""
    return {
        name: value for name, value in clean_environment().items() if not _FOREIGN.fullmatch(name)
    }


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """`command` in a process group of its own, which is ended if the body is left early."""
    process = subprocess.Popen(
        command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", process_group=0,
        # SIGTERM, because make then ends its children and removes half-written files.
        preexec_fn=ending_with_parent(signal.SIGTERM),  # noqa: PLW1509 - no threads here
    )  # fmt: skip
    try:
        yield process
        process.wait()
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TERM_SECONDS)
                break
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def errors_in(lines: Iterable[str], tree: Path) -> list[str]:
    """The lines in which compiler, linker or kconfig say what is wrong, with paths from `tree`.

    If there are none, make's own last words.
    """
    kept = [line.replace(f"{tree}/", "").strip() for line in lines]
    kept = [re.sub(r"^(?:\.\./)+tree/", "", line) for line in kept if line]
    placed = [line for line in kept if _PLACED.search(line)]
    found = placed or [line for line in kept if _UNPLACED.search(line) and not _MAKE.match(line)]
    found = list(dict.fromkeys(found)) or [line for line in kept if "***" in line] or kept[-3:]
    more = len(found) - _LIMIT
    return [*found[:_LIMIT], *([f"... and {more} more"] if more > 0 else [])]
