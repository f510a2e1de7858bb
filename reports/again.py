"""The command that runs one of a night's programs again, as it was run."""

from __future__ import annotations

import re
import shlex

import msgspec

__all__ = ["again"]

MEMORY = 384
"""MiB that a guest has if nothing is asked for."""
_SIZE = re.compile(r"-\d+[mk]@")
"""What a program's own size adds to the name of its image."""


_SUFFIX = re.compile(r"(, strictly)?(, observed at the end only)?$")


class _Programs(msgspec.Struct, frozen=True):
    configs: tuple[str, ...] = ()


class _Asked(msgspec.Struct, frozen=True):
    """What of `Night.plan` a single program needs."""

    plan: _Programs
    kernel: str | None = None
    against: str = "model"
    strict: bool = False
    observe: str = "steps"
    memory: int = MEMORY
    program_time: float | None = None


def again(plan: str, line: str, program: str, config: str) -> str:
    """The command for `program` (`Row.program`) on `config`, in a night of `plan` and `line`.

    Nothing if it is not known: another program follows from a seed where its configuration was
    asked for than where the seed has chosen it, and only the plan says which.
    """
    try:
        asked = msgspec.json.decode(plan, type=_Asked)
    except msgspec.MsgspecError:
        asked = None
    kind, _, numbers = program.partition(":")
    seed, _, number = numbers.rpartition(":")
    on = ["--on", _SIZE.sub("@", config.removesuffix(",buffered_iomap"))]
    words = ["ext4diff", "differential"]
    if kind == "catalogue":
        words += ["-k", numbers.partition("::")[0].rpartition("/")[2], *on]
    elif not number.isdecimal():
        return ""
    elif not seed:
        words += [f"--{kind}", f"{number}:{int(number) + 1}", *on]
    elif asked is None:
        return ""
    else:
        words += [f"--{kind}", f"{seed}:{number}:{int(number) + 1}"]
        words += on if asked.plan.configs else []
    return shlex.join([*words, *(_options(asked, line) if asked is not None else [])])


def _options(asked: _Asked, line: str) -> list[str]:
    """Those of the night that a single program needs, too."""
    kernel, _, rest = line.partition(" against ")
    words = ["--kernel", _unpinned(asked.kernel, kernel)] if asked.kernel else []
    if asked.against != "model":
        words += ["--against", _unpinned(asked.against, _SUFFIX.sub("", rest))]
    words += ["--strict-model"] if asked.strict else []
    words += ["--observe", asked.observe] if asked.observe != "steps" else []
    words += ["--memory", str(asked.memory)] if asked.memory != MEMORY else []
    if asked.program_time is not None:
        words += ["--program-time", f"{asked.program_time:g}"]
    return words


def _unpinned(spec: str, asked: str) -> str:
    """A kernel in the user's words: which build that was at the time only one machine knows."""
    return asked if asked and spec.startswith("built:") else spec
