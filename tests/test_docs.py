"""What the pages of docs/ name is there: tests, files, other pages, commands with examples."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
COMMAND_PAGE = ROOT / "docs" / "commands.md"
_TEST = re.compile(r"`(?:(tests/\w+\.py))?(?:::(\w+))?`")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.M)


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    file = None
    for match in _TEST.finditer(page.read_text("utf-8")):
        if match[1]:
            file = ROOT / match[1]
            assert file.is_file(), f"{page.name} names {match[1]}"
        if match[2] and file is not None:
            assert match[2] in _functions(file), f"{page.name} names {match[0]} of {file.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text("utf-8")):
        if "://" not in match[1]:
            assert (page.parent / match[1]).exists(), f"{page.name} links to {match[1]}"


def _anchors(page: Path) -> set[str]:
    """The anchors that a forge gives the headings of `page`."""
    headings = _HEADING.findall(page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_sections_lead_somewhere(page: Path) -> None:
    for name, anchor in _LINK.findall(page.read_text("utf-8")):
        if anchor and "://" not in name:
            other = page.parent / name if name else page
            assert anchor in _anchors(other), f"{page.name} links to {name}#{anchor}"


def test_the_readme_sums_up_every_finding() -> None:
    readme, page = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/findings.md"))
    named = re.findall(r"^\| \[(\d+)\]\(docs/findings", readme, re.M)
    found = re.findall(r"^### (\d+)\.", page, re.M)
    assert sorted(map(int, named)) == sorted(map(int, found))


def test_the_readme_names_every_page() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    missing = [page.name for page in DOCS if f"docs/{page.name}" not in text]
    assert missing == []


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, cwd=ROOT,
        check=True, timeout=600,
    )  # fmt: skip
    listed = re.findall(r"^    ([a-z][a-z-]*)(?: |$)", done.stdout, re.M)
    assert sorted(listed) == sorted(COMMANDS)


def _sections() -> dict[str, str]:
    """Each command's section of the page of commands."""
    parts = re.split(r"^## ext4diff ([a-z-]+)$", COMMAND_PAGE.read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_of_commands_has_a_section_for_each() -> None:
    assert list(_sections()) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_an_example_with_its_output(command: str) -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", _sections()[command], re.M | re.S)
    examples = [block for block in blocks if re.match(rf"\$ ext4diff {command}\b", block)]
    assert examples, f"no example of ext4diff {command}"
    assert any(len(block.splitlines()) > 1 for block in examples)
