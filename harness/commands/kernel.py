"""`ext4diff kernel`: build a kernel, list and remove those that were built."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from harness.commands import kernel_probe
from harness.errors import AGREE, UsageError
from vm import cache
from vm.kernels import store
from vm.kernels.build import build
from vm.kernels.seeded import bugs
from vm.kernels.sources import Workshop
from vm.kernels.spec import (
    BugSpec,
    BuiltBefore,
    DebianPackage,
    DebianSource,
    Flavour,
    PathSpec,
    SeriesSpec,
    TreeSpec,
    parse_spec,
)
from vm.kernels.store import Built

__all__ = ["add", "run"]

HELP = "build a kernel from a tree, a series or Debian's source; list, probe or remove kernels"
_SPEC = (
    "tree:DIR[@REV], debian-source:VERSION, or 'series:MBOX|MESSAGE-ID on' or 'bug:NAME on' "
    "one of these"
)


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = actions.add_parser("build", help="build one, unless the same was built before")
    made.add_argument("spec", metavar="SPEC", help=_SPEC)
    made.add_argument(
        "--debug", action="store_true", help="lockdep, KASAN, page poisoning, DEBUG_ATOMIC_SLEEP"
    )
    made.add_argument("--symbols", action="store_true", help="debugging information for gdb")
    made.add_argument(
        "--config", type=Path, metavar="FILE", help="your .config, with what we need merged in"
    )
    made.add_argument("--mirror", metavar="URL", help="Debian mirror of the source")
    made.add_argument("--refresh", action="store_true", help="look for a newer package or series")
    made.set_defaults(act=_build)
    probed = actions.add_parser("probe", help=kernel_probe.HELP, description=kernel_probe.HELP)
    kernel_probe.add(probed)
    probed.set_defaults(act=kernel_probe.run)
    listed = actions.add_parser("list", help="what was built, and the sources that are kept")
    listed.set_defaults(act=_list)
    broken = actions.add_parser("bugs", help="the seeded bugs, which prove that the harness sees")
    broken.set_defaults(act=_bugs)
    removed = actions.add_parser("remove", help="remove built kernels, or the sources")
    removed.add_argument("keys", nargs="*", metavar="KEY", help="as `kernel list` shows it")
    removed.add_argument("--all", action="store_true", help="every built kernel")
    removed.add_argument(
        "--sources", action="store_true",
        help="repositories, checkouts and objects: the next build is a whole one",
    )  # fmt: skip
    removed.set_defaults(act=_remove)
    for action in (made, listed, broken):
        action.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run one of them."""
    return int(options.act(options))


def _rows(kernel: Built) -> dict[str, object]:
    """What programs get to know of a kernel."""
    identity = {name: getattr(kernel.identity, name) for name in kernel.identity.__struct_fields__}
    return {"key": kernel.key, "path": str(kernel.path), **identity}


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


# --- build ------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> int:
    config = options.config.expanduser().absolute() if options.config else None
    flavour = Flavour(options.debug, options.symbols, config)
    spec = parse_spec(options.spec, flavour)
    if not isinstance(spec, TreeSpec | DebianSource | SeriesSpec | BugSpec):
        raise UsageError(f"{_why_not_built(spec)}; kernel build takes {_SPEC}")
    began = time.monotonic()
    kernel = build(spec, options.mirror, options.refresh)
    if options.json:
        _print_json(_rows(kernel))
        return AGREE
    print("\n".join(_describe(kernel)))
    seconds = time.monotonic() - began
    print(f"done in {seconds:.0f} s; to test it: ext4diff run --kernel '{spec}' ...")
    return AGREE


def _why_not_built(spec: PathSpec | DebianPackage | BuiltBefore) -> str:
    if not isinstance(spec, PathSpec):
        return f"{spec} is a kernel already"
    path = spec.path
    if not path.exists():
        return f"there is no file or directory {path}"
    if path.is_dir():
        return f"{path} is a directory; to build the source in it give tree:{path}"
    return f"{path} is a file, and only sources are built"


def _describe(kernel: Built) -> list[str]:
    identity = kernel.identity
    rows = [
        *kernel_probe.origin_rows(identity),
        ("compiler", identity.compiler),
        ("build id", identity.build_id),
        ("config", f"sha256 {identity.config_sha256}"),
        ("image", str(kernel.image)),
        ("vmlinux", str(kernel.image.with_name("vmlinux"))),
    ]
    return [f"{name:9}{value}" for name, value in rows if value]


# --- list and remove --------------------------------------------------------------------


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _list(options: argparse.Namespace) -> int:
    kernels = list(store.built())
    if options.json:
        _print_json([_rows(kernel) for kernel in kernels])
        return AGREE
    if not kernels:
        print("no kernel was built yet; `ext4diff kernel build` builds one")
    for kernel in kernels:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(kernel.path.stat().st_mtime))
        size = _megabytes(store.used_bytes(kernel.path))
        identity = kernel.identity
        print(f"{kernel.key[:8]}  {identity.release:22} {identity.flavour:14} {size:>8}  {used}")
        print(f"          {identity.source}")
        for subject in identity.series:
            print(f"            {subject}")
    sources = store.source_sizes()
    if sources:
        print("\nsources, kept so that the next build is short (`kernel remove --sources`)")
    for path, taken in sources.items():
        print(f"  {path.name:42} {_megabytes(taken):>8}")
    return AGREE


def _bugs(options: argparse.Namespace) -> int:
    found = bugs()
    if options.json:
        rows = [{"name": bug.name, "what": bug.what, "file": bug.file, "function": bug.function,
                 "caught_by": bug.program, "on": bug.config, "shows_as": bug.shows}
                for bug in found]  # fmt: skip
        _print_json(rows)
        return AGREE
    for bug in found:
        print(f"{bug.name}  ({bug.function}, {bug.file})")
        print(f"    {bug.what}")
        print(f"    caught by {bug.program} on {bug.config}: {bug.shows}")
    print(f"\nto break a kernel: ext4diff kernel build 'bug:{found[0].name} on debian-source:7.3'")
    return AGREE


def _remove(options: argparse.Namespace) -> int:
    if not (options.keys or options.all or options.sources):
        raise UsageError("kernel remove takes keys of `kernel list`, --all or --sources")
    kernels = [store.find(key) for key in options.keys]
    if options.all:
        kernels = list(store.built())
    paths = list(dict.fromkeys(kernel.path for kernel in kernels))
    if options.sources:
        paths += store.source_sizes()
    if not paths:
        print("there is nothing to remove", file=sys.stderr)
    freed = sum(_remove_one(path) for path in paths)
    print(f"removed {len(paths)} from {cache.cache_root()}, {_megabytes(freed)} freed")
    return AGREE


def _remove_one(path: Path) -> int:
    """Remove an entry; a source only when nobody builds from it."""
    shop = Workshop(path)
    if not shop.repository.path.is_dir():
        return store.remove(path)
    with shop.locked():
        return store.remove(path)
