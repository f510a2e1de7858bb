"""Programs: the operations of a workload file and the configurations that they matter on."""

from __future__ import annotations

import msgspec

from workloads.images import IMAGES, Image
from workloads.ops import AnyOp
from workloads.workload import Config, Workload

__all__ = [
    "DEFAULT", "DEFAULT_CONFIGS", "Note", "Program", "config_of", "resized", "workloads",
]  # fmt: skip

DEFAULT = "default"
"""The word that stands for `DEFAULT_CONFIGS` after `on:`."""

DEFAULT_CONFIGS: tuple[str, ...] = (
    "4k@delalloc",
    "4k@nodelalloc",
    "1k@delalloc",
    "1k@nodelalloc",
    "bigalloc16k@delalloc",
)


class Note(msgspec.Struct, frozen=True):
    """A comment of a workload file.

    It stands on a line of its own before operation `index` (-1: above the header, the
    number of operations: at the end), or `beside` it, at the end of its line.
    """

    index: int
    text: str
    beside: bool = False


class Program(msgspec.Struct, frozen=True):
    """What a workload file holds.

    `on` names configurations (`image@mount`) as written, `DEFAULT` among them; `rules`
    are the ids of semantic rules that it is about; `size` replaces the images' size
    (bytes). `kept` is the image in a file that `on` may name beside those of `IMAGES`.
    """

    name: str
    ops: tuple[AnyOp, ...]
    shows: str = ""
    on: tuple[str, ...] = (DEFAULT,)
    rules: tuple[str, ...] = ()
    size: int | None = None
    notes: tuple[Note, ...] = ()
    kept: Image | None = None

    @property
    def configs(self) -> tuple[Config, ...]:
        """The configurations behind `on`, each once, in order; KeyError if unknown."""
        names: dict[str, None] = {}
        for name in self.on:
            names.update(dict.fromkeys(DEFAULT_CONFIGS if name == DEFAULT else (name,)))
        return tuple(config_of(name, self.size, self.kept) for name in names)


def resized(image: Image, size: int) -> Image:
    """`image` with `size` bytes; its name says so, `4k-20m` or `4k-2000k`."""
    mib, rest = divmod(size, 1024 * 1024)
    text = f"{size // 1024}k" if rest else f"{mib}m"
    return Image(f"{image.name}-{text}", size, image.options)


def config_of(name: str, size: int | None = None, kept: Image | None = None) -> Config:
    """The configuration called `image@mount`, `size` bytes large; KeyError if unknown.

    `kept` is an image in a file, which has its size.
    """
    image, _, mount = name.partition("@")
    if kept is not None and image == kept.name:
        return Config(kept, mount)
    found = IMAGES[image]
    return Config(found if size is None else resized(found, size), mount)


def workloads(program: Program) -> list[Workload]:
    """`program` on each of its configurations."""
    return [
        Workload(program.name, config, program.ops, program.shows) for config in program.configs
    ]
