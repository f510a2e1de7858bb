"""Seeded bugs: small changes that break ext4 on purpose, to prove that the harness sees them.

Each is a semantic patch (`bugs/NAME.cocci`), which Coccinelle applies to one function of a
kernel's source, whatever stands around it. Its first lines say what breaks and who sees it:

    // Punching a hole frees the block behind it as well.
    // file: fs/ext4/inode.c
    // caught by: fallocate/punch-edges on 4k@delalloc
    // shows as: extents
"""

from __future__ import annotations

import difflib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import HostToolError, KernelError, PatchError
from vm.host_tools import find_program, missing_error
from vm.kernels.progress import progress
from vm.kernels.sources import Source
from vm.scratch import scratch

__all__ = ["Bug", "bugs", "find_bug", "seed"]

_HERE = Path(__file__).parent / "bugs"
_SECONDS = 300
"""For Coccinelle, which needs one or two of processor time for a file of ext4."""
_FUNCTION = re.compile(r"^(\w+)\(\.\.\.\)$", re.M)
_FACT = re.compile(r"^// (file|caught by|shows as): (.+)$", re.M)


@dataclass(frozen=True)
class Bug:
    """A seeded bug: `patch` breaks `function` of `file` so that `what` is true of the kernel.

    `program` of the catalogue is the first that catches it, on the configuration `config`;
    `shows` is the field, finding or complaint that differs first there.
    """

    name: str
    what: str
    file: str
    function: str
    program: str
    config: str
    shows: str
    patch: str

    @property
    def subject(self) -> str:
        """As the subject of a patch, which logs and artifacts carry."""
        return f"[seeded bug] {self.name}: {self.what}"


def bugs() -> tuple[Bug, ...]:
    """All of them, by name."""
    return tuple(_read(path) for path in sorted(_HERE.glob("*.cocci")))


def find_bug(name: str) -> Bug:
    """The one called `name`. Raises `KernelError`."""
    known = {bug.name: bug for bug in bugs()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`ext4diff kernel bugs` lists them"
    raise KernelError(f"no seeded bug is called {name!r}; {hint}")


def _read(path: Path) -> Bug:
    text = path.read_text("utf-8")
    what = text.splitlines()[0].removeprefix("// ")
    facts = dict(_FACT.findall(text))
    functions = _FUNCTION.findall(text)
    if len(functions) != 1 or len(facts) != 3:
        raise ValueError(f"{path.name}: not one function, or a fact is missing")
    program, _, config = facts["caught by"].partition(" on ")
    return Bug(
        path.stem, what, facts["file"], functions[0], program, config, facts["shows as"], text
    )


def seed(base: Source, bug: Bug, label: str) -> Source:
    """`base` with `bug` in it; from the cache if it was put there before.

    Raises `PatchError` where it does not fit in just one place, and `HostToolError`
    without Coccinelle.
    """
    shop = base.workshop
    digest = cache.key_of(bug.file, bug.patch)
    reference = f"refs/seeded/{cache.key_of(base.commit, digest)}"
    own = shop.repository.git()
    with cache.locked(shop.path / "apply.lock"):
        commit = own.commit(reference)
        if not commit:
            progress(f"seeding {bug.name} into {bug.function}() of {bug.file}")
            with scratch("seeded") as folder:
                commit = _commit(base, bug, folder)
            own.output("update-ref", reference, commit)
    return Source(shop, commit, label, base.base, (*base.series, bug.subject), (digest,))


def _commit(base: Source, bug: Bug, folder: Path) -> str:
    """The commit on top of `base` that has the broken file."""
    repository = base.workshop.repository
    git = repository.git(GIT_INDEX_FILE=str(folder / "index"))
    whole = git.run("show", f"{base.commit}:{bug.file}")
    if whole.returncode != 0:
        raise PatchError(f"{base.label} has no {bug.file}, where {bug.name} belongs")
    source = folder / Path(bug.file).name
    source.write_bytes(whole.stdout)
    _spatch(bug, source)
    blob = git.output("hash-object", "-w", "--no-filters", "--", str(source))
    changed = git.output("diff", "-U0", "--no-ext-diff", f"{base.commit}:{bug.file}", blob)
    places = sum(line.startswith("@@ ") for line in changed.splitlines())
    if places != 1:
        where = f"in {places} places of" if places else "nowhere in"
        raise PatchError(
            f"the seeded bug {bug.name} fits {where} {bug.function}() of {base.label}; "
            "it was written for debian-source:7.3"
        )
    git.output("read-tree", base.commit)
    git.output("update-index", "--cacheinfo", f"100644,{blob},{bug.file}")
    return repository.commit_tree(git.output("write-tree"), bug.subject, base.commit)


def _spatch(bug: Bug, source: Path) -> None:
    """Apply the semantic patch of `bug` to the file `source`."""
    try:
        program = find_program("spatch")
    except HostToolError:
        reason = "seeding a bug needs Coccinelle"
        raise missing_error(["coccinelle"], reason) from None
    patch = source.with_name("bug.cocci")
    patch.write_text(bug.patch, "utf-8")
    command = [
        program, "--very-quiet", "--no-includes", "--in-place", "--sp-file", patch.name,
        source.name,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=source.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise HostToolError(f"spatch did not finish within {_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
        raise HostToolError(f"spatch failed: {said[-1]}")
