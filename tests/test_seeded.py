"""Seeded bugs: each fits in one place, is told and kept as a kernel, and has a row in docs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from toy_kernel import Toy, script

from harness import cli
from harness.errors import AGREE, MACHINERY, USAGE
from harness.programs import read_program
from vm.errors import HostToolError, KernelError, PatchError
from vm.kernels import seeded
from vm.kernels.build import build, source_of
from vm.kernels.seeded import Bug, bugs, find_bug
from vm.kernels.sources import Source
from vm.kernels.spec import BugSpec, TreeSpec, parse_spec
from workloads.files import CATALOGUE
from workloads.program import workloads

MADE_UP = (Path(__file__).parent / "data/made_up_ext4.c").read_text()
PAGE = Path(__file__).parents[1] / "docs/seeded-bugs.md"
ALL = bugs()
NAMES = [bug.name for bug in ALL]

needs_spatch = pytest.mark.skipif(
    shutil.which("spatch") is None, reason="apt-get install coccinelle"
)


@pytest.fixture
def tree(toy: Toy) -> Toy:
    """A toy kernel whose ext4 is made up."""
    for file in {bug.file for bug in ALL}:
        toy.write(file, MADE_UP)
    toy.commit("ext4: made up")
    return toy


def source(tree: Toy, bug: Bug | str) -> Source:
    name = bug if isinstance(bug, str) else bug.name
    return source_of(BugSpec(TreeSpec(tree.path), name))


def change(found: Source) -> tuple[list[str], list[str]]:
    """The files that a seeded source changes, and the lines that go out and come in."""
    git = found.workshop.repository.git()
    text = git.output("diff", "-U0", found.base, found.commit)
    lines = [line for line in text.splitlines() if re.match(r"[-+](?![-+][-+] )", line)]
    return re.findall(r"^\+\+\+ b/(.+)$", text, re.M), lines


# --- each of them -------------------------------------------------------------------------


def test_there_are_enough() -> None:
    assert len(ALL) >= 14 and len({bug.function for bug in ALL}) >= 12


@needs_spatch
@pytest.mark.parametrize("bug", ALL, ids=NAMES)
def test_it_changes_one_place_of_its_function(bug: Bug, tree: Toy) -> None:
    found = source(tree, bug)
    files, lines = change(found)
    assert files == [bug.file]
    start = re.search(rf"^\w+ {bug.function}\(", MADE_UP, re.M)
    assert start is not None
    body = MADE_UP[start.start() :].partition("\n}\n")[0]
    gone = [line[1:] for line in lines if line.startswith("-")]
    assert "\n".join(gone) in body and 0 < len(lines) <= 6
    assert found.base == tree.git("rev-parse", "HEAD")
    assert found.series == (f"[seeded bug] {bug.name}: {bug.what}",)


@pytest.mark.parametrize("bug", ALL, ids=NAMES)
def test_it_names_a_program_of_the_catalogue_and_a_configuration_of_that(bug: Bug) -> None:
    program = read_program(CATALOGUE / f"{bug.program}.ops")
    names = [workload.config.name for workload in workloads(program)]
    assert bug.config in [re.sub(r"-\d+[a-z]?@", "@", name) for name in names]  # without sizes
    assert bug.what.endswith(".") and bug.shows and "?" not in bug.shows


# --- where it does not fit ----------------------------------------------------------------


@needs_spatch
def test_one_that_fits_nowhere_or_twice_is_refused(tree: Toy) -> None:
    bug = find_bug("append-forgets-disksize")
    line = "\t\text4_update_i_disksize(inode, new_size);\n"
    head = tree.git("rev-parse", "HEAD")
    for text, where in (("", "nowhere in"), (line + "\t\tother();\n" + line, "in 2 places of")):
        tree.write(bug.file, MADE_UP.replace(line, text))
        with pytest.raises(PatchError, match=rf"{where} ext4_da_do_write_end\(\) of tree:") as why:
            source(tree, bug)
        assert why.value.exit_status == USAGE and "\n" not in str(why.value)
    assert tree.git("rev-parse", "HEAD") == head


def test_a_kernel_without_the_file_is_told(tree: Toy, toy_spatch: Path) -> None:
    bug = find_bug("punch-one-block-more")
    (tree.path / bug.file).unlink()
    with pytest.raises(PatchError, match=f"has no {bug.file}, where {bug.name} belongs"):
        source(tree, bug)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(KernelError, match=r"did you mean punch-one-block-more\?"):
        find_bug("punch-one-block")
    with pytest.raises(KernelError, match="`ext4diff kernel bugs` lists them"):
        find_bug("xyz")


def test_without_coccinelle_the_package_is_named(
    tree: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(program: str) -> str:
        raise HostToolError(program)

    monkeypatch.setattr(seeded, "find_program", missing)
    with pytest.raises(HostToolError, match=r"needs Coccinelle; run: .*install -y .* coccinelle$"):
        source(tree, ALL[0])


def test_what_coccinelle_says_of_its_failure_is_told(tree: Toy, toy_spatch: Path) -> None:
    script(toy_spatch, "#!/bin/sh\necho 'minus: parse error' >&2\nexit 255\n")
    with pytest.raises(HostToolError, match="spatch failed: minus: parse error"):
        source(tree, ALL[0])


# --- as a kernel --------------------------------------------------------------------------


@pytest.fixture
def toy_spatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spatch that takes the last statement out of ext4_punch_hole; counts its calls."""
    program = script(
        tmp_path / "spatch",
        '#!/bin/sh\necho . >> "$0.calls"\nfor file; do :; done\n'
        'sed -i "/ext4_update_inode_fsync_trans/d" "$file"\n',
    )
    monkeypatch.setattr(seeded, "find_program", lambda _: str(program))
    return program


def test_the_specification_is_read_and_written(tmp_path: Path) -> None:
    text = "bug:punch-one-block-more on debian-source:7.3 with symbols"
    spec = parse_spec(text)
    assert isinstance(spec, BugSpec) and str(spec) == text and spec.flavour.symbols
    for wrong, reason in (
        ("bug:x", "a bug needs a base"),
        ("bug: on debian-source:7.3", "a bug needs a base"),
        ("bug:x on debian:sid", "goes on tree:DIR"),
    ):
        with pytest.raises(KernelError, match=reason):
            parse_spec(wrong)


def test_it_is_built_by_compiling_one_file_and_known_by_its_name(
    tree: Toy, toy_tools: None, toy_spatch: Path
) -> None:
    build(TreeSpec(tree.path))
    before = tree.state()
    spec = f"bug:fdatasync-forgets-punch on tree:{tree.path}"
    kernel = build(parse_spec(spec))  # type: ignore[arg-type]
    log = (kernel.path / "build.log").read_text()
    assert re.findall(r"  CC +(\S+)", log) == ["fs/ext4/inode.o"]
    assert kernel.identity.source == spec
    assert kernel.identity.series == (find_bug("fdatasync-forgets-punch").subject,)
    assert build(parse_spec(spec)).key == kernel.key  # type: ignore[arg-type]
    assert toy_spatch.with_name("spatch.calls").read_text() == ".\n"
    assert tree.state() == before


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernel", "bugs"]) == AGREE
    out = capsys.readouterr().out
    assert all(f"{bug.name}  ({bug.function}, {bug.file})" in out for bug in ALL)
    assert cli.main(["kernel", "bugs", "--json"]) == AGREE
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == NAMES
    assert rows[0]["caught_by"] == ALL[0].program


def test_the_command_tells_what_is_wrong(tree: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernel", "build", f"bug:xyz on tree:{tree.path}"]) == USAGE
    assert "no seeded bug is called 'xyz'" in capsys.readouterr().err
    assert HostToolError.exit_status == MACHINERY


# --- the page -----------------------------------------------------------------------------


def test_the_pages_table_has_a_row_for_each_as_the_command_lists_it() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| `(\w+)` \| `([\w/-]+)` on (\S+?) \| (.+?) \|",
                      PAGE.read_text("utf-8"), re.M)  # fmt: skip
    told = [(b.name, b.what.removesuffix("."), b.function, b.program, b.config, b.shows)
            for b in ALL]  # fmt: skip
    assert rows == told
