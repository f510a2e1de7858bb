"""A kernel's configuration: fragments of ours on a small base, and whether it came out so.

kconfig drops silently what an option's dependencies do not allow, so each option of the
fragments is looked up in the .config that came out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import BuildError, KernelError
from vm.kernels.spec import Flavour

__all__ = [
    "LEVELS",
    "Option",
    "config_key",
    "describe",
    "missing_options",
    "read_fragment",
    "write_config",
]

_HERE = Path(__file__).parent
LEVELS = ("Needed", "Wanted", "Where known")
"""How a fragment's comment begins: what follows for a kernel that can't have its options."""

_LEVEL = re.compile(rf"# ({'|'.join(LEVELS)}): ")
_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")


@dataclass(frozen=True)
class Option:
    """A line of a fragment: `value` is as in a .config, `n` for an option that is off."""

    name: str
    value: str
    level: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def _fragments(flavour: Flavour) -> list[Path]:
    """Files of ours, in the order in which they are merged."""
    names = ["tiny", *["debug"] * flavour.debug, *["symbols"] * flavour.symbols]
    return [_HERE / f"{name}.config" for name in names]


def read_fragment(path: Path) -> list[Option]:
    """The options of a fragment, each with the level of the comment above it."""
    level, options = LEVELS[0], []
    for line in path.read_text("utf-8").splitlines():
        if match := _LEVEL.match(line):
            level = match[1]
        elif match := _SET.fullmatch(line):
            options.append(Option(match[1], match[2], level))
    return options


def _values(text: str) -> dict[str, str]:
    """Names and values of a .config; options that are off have `n`."""
    values = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line):
            values[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            values[match[1]] = "n"
    return values


def _user_config(path: Path) -> str:
    """The user's .config without its modules, which the guest would not get anyway.

    With CONFIG_MODULES=n kconfig builds everything in that is `m`: thousands of drivers.
    """
    try:
        if path.exists() and not path.is_file():
            raise KernelError(f"the configuration {path} is no regular file; give a .config")
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise KernelError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KernelError(f"{path} is no kernel configuration: {error.reason}") from error
    if not any(_SET.fullmatch(line) for line in lines):
        raise KernelError(f"{path} is no kernel configuration: it sets no CONFIG_ option")
    return "".join(f"{line}\n" for line in lines if not line.endswith("=m"))


def config_key(flavour: Flavour) -> str:
    """A key of all that decides about the configuration."""
    texts = [path.read_text("utf-8") for path in _fragments(flavour)]
    own = _user_config(flavour.config) if flavour.config else "allnoconfig"
    return cache.key_of(own, *texts)


def write_config(out: Path, flavour: Flavour, make: Callable[..., None]) -> None:
    """Write `out/.config`; `make` runs make with targets and variables for that directory.

    Without a configuration of the user's the base is allnoconfig. Raises `BuildError`.
    """
    merged = out / "ext4diff-merged.config"
    texts = [path.read_text("utf-8") for path in _fragments(flavour)]
    if flavour.config is None:
        merged.write_text("".join(texts))
        make("allnoconfig", KCONFIG_ALLCONFIG=str(merged))
        return
    # Of two lines for one option kconfig takes the later.
    merged.write_text("".join([_user_config(flavour.config), *texts]))
    (out / ".config").write_bytes(merged.read_bytes())
    make("olddefconfig")


def missing_options(config: Path, flavour: Flavour, knows: Callable[[str], bool]) -> list[Option]:
    """Options of the fragments that did not come out, except those that need not.

    `knows` says whether the tree's Kconfig files define an option. Raises `BuildError`
    that names them if one of them is needed.
    """
    values = _values(config.read_text("utf-8"))
    wanted = {option.name: option for path in _fragments(flavour) for option in read_fragment(path)}
    absent = [option for option in wanted.values() if not _came_out(option, values)]
    needed = [option for option in absent if option.level == LEVELS[0]]
    if needed:
        reasons = ", ".join(_reason(option, values, knows) for option in needed)
        raise BuildError(
            f"this kernel can't be configured for a guest: {reasons}; no workload would run without"
        )
    return [o for o in absent if o.level == LEVELS[1] or knows(o.name.removeprefix("CONFIG_"))]


def _came_out(option: Option, values: dict[str, str]) -> bool:
    # An empty string that does not show is one whose option depends on something off.
    return values.get(option.name, "n") == option.value or (
        option.value == '""' and option.name not in values
    )


def _reason(option: Option, values: dict[str, str], knows: Callable[[str], bool]) -> str:
    if not knows(option.name.removeprefix("CONFIG_")):
        return f"it knows no {option.name}"
    got = values.get(option.name, "n")
    return f"{option} became {got} (its dependencies: `make menuconfig`, /)"


def describe(options: Iterable[Option], knows: Callable[[str], bool]) -> str:
    """For a note: which options a kernel lacks."""
    return ", ".join(
        str(option) if knows(option.name.removeprefix("CONFIG_")) else f"{option} (not known)"
        for option in options
    )
