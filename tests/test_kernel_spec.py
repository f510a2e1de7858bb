"""The language of --kernel: what is understood, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import USAGE
from vm.errors import KernelError
from vm.kernels.spec import (
    BuiltBefore,
    DebianPackage,
    DebianSource,
    Flavour,
    PathSpec,
    SeriesSpec,
    TreeSpec,
    parse_spec,
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linux").mkdir()
    (tmp_path / "series.mbox").touch()


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("bzImage", PathSpec(Path("bzImage"))),
        ("/boot/vmlinuz-6.1", PathSpec(Path("/boot/vmlinuz-6.1"))),
        ("./a:b", PathSpec(Path("./a:b"))),
        ("debian:sid", DebianPackage("sid")),
        ("debian:trixie-backports", DebianPackage("trixie-backports")),
        ("debian:7.3.4-1~bpo13+1", DebianPackage("7.3.4-1~bpo13+1")),
        ("debian-source:7.3", DebianSource("7.3")),
        ("debian-source:7.3 with debug", DebianSource("7.3", Flavour(debug=True))),
        ("debian-source:7.3 with debug,symbols", DebianSource("7.3", Flavour(True, True))),
        ("built:0123abcd", BuiltBefore("0123abcd")),
    ],
)
def test_each_kind_is_understood(text: str, spec: object) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "directory", "revision"),
    [
        ("tree:linux", "linux", ""),
        ("tree:linux@v7.3", "linux", "v7.3"),
        ("tree:linux@HEAD~3", "linux", "HEAD~3"),
        ("tree:none@yet@origin/master", "none@yet", "origin/master"),
    ],
)
def test_a_tree_has_a_directory_and_perhaps_a_revision(
    tmp_path: Path, text: str, directory: str, revision: str
) -> None:
    assert parse_spec(text) == TreeSpec(tmp_path / directory, revision)


def test_a_directory_with_an_at_sign_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "linux@home").mkdir()
    assert parse_spec("tree:linux@home") == TreeSpec(tmp_path / "linux@home")
    assert parse_spec("tree:linux@home@v1") == TreeSpec(tmp_path / "linux@home", "v1")


def test_a_series_is_a_file_or_a_message_id(tmp_path: Path) -> None:
    tree = TreeSpec(tmp_path / "linux", "v7.3")
    mbox = tmp_path / "series.mbox"
    assert parse_spec("series:series.mbox on tree:linux@v7.3") == SeriesSpec(tree, mbox)
    assert parse_spec("series:<20260203.1-a@example.org> on debian-source:7.3") == SeriesSpec(
        DebianSource("7.3"), message_id="20260203.1-a@example.org"
    )
    debug = parse_spec("series:series.mbox on tree:linux with debug,config=my.config")
    assert isinstance(debug, SeriesSpec)
    assert debug.flavour == Flavour(debug=True, config=tmp_path / "my.config")


@pytest.mark.parametrize(
    "text",
    [
        "debian:sid", "debian-source:7.3", "debian-source:7.3 with debug,symbols", "built:0123ab",
        "tree:/src/linux@v7.3 with config=/etc/my.config", "/boot/vmlinuz",
        "series:a.b-1@example.org on tree:/src/linux with symbols",
    ],
)  # fmt: skip
def test_the_text_of_a_specification_names_the_same(text: str) -> None:
    assert str(parse_spec(text)) == text
    assert parse_spec(str(parse_spec(text))) == parse_spec(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("debian:", "takes a suite or a version"),
        ("debian:si/d", "takes a suite or a version"),
        ("debian-source:newest", "takes a version"),
        ("tree:", "takes the directory"),
        ("tree:linux@", "after @ the name of a commit"),
        ("series:series.mbox", "needs a base"),
        ("series: on tree:linux", "needs a base"),
        ("series:series.mbox on bzImage", r"goes on tree:DIR\[@REV\] or on debian-source"),
        ("series:none.mbox on tree:linux", "there is no file none.mbox, and a message id"),
        ("tree:linux with lockdep", "after 'with' come debug, symbols or config=FILE"),
        ("built:xyz", "takes a key"),
        ("ubuntu:noble", "no kind of kernel is called 'ubuntu'; --kernel takes a bzImage"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(KernelError, match=reason) as caught:
        parse_spec(text)
    assert caught.value.exit_status == USAGE
    assert "\n" not in str(caught.value) and repr(text) in str(caught.value)


def test_the_specifications_own_flavour_goes_before_the_given_one() -> None:
    spec = parse_spec("tree:linux with symbols", Flavour(debug=True))
    assert isinstance(spec, TreeSpec) and spec.flavour == Flavour(symbols=True)


@pytest.mark.parametrize(
    ("flavour", "name"),
    [
        (Flavour(), "tiny"),
        (Flavour(debug=True), "debug"),
        (Flavour(symbols=True), "tiny+symbols"),
        (Flavour(True, True, Path("/a/mine")), "config:mine+debug+symbols"),
    ],
)
def test_flavours_have_names(flavour: Flavour, name: str) -> None:
    assert flavour.name == name
