"""Data goes one way: who may import whom (docs/architecture.md)."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGES = ("harness", "model", "reports", "vm", "workloads")
SHARED = ("harness.trace", "harness.errors")
ALLOWED: dict[str, tuple[str, ...]] = {
    "workloads": ("workloads",),
    "model": ("model", "workloads", *SHARED),
    "vm": ("vm", "workloads", *SHARED),
    "reports": (
        "reports", "workloads", "harness.extent", "harness.verdict", "harness.known",
        "harness.known_issue", "harness.differences.intended", "harness.differences.table",
        "harness.signature", "harness.specification", "harness.artifacts.manifest", *SHARED,
    ),
    "harness": PACKAGES,
}  # fmt: skip
JUDGES = (
    "harness.trace", "harness.complaint", "harness.extent", "harness.image.form",
    "harness.image.difference", "harness.errors", "harness.verdict", "harness.comparison",
    "harness.known", "harness.known_issue", "harness.differences", "harness.kinds",
    "harness.signature", "harness.specification", "harness.artifacts.manifest",
)  # fmt: skip
"""What others import of harness; it may import nothing but workloads and itself."""


def imports(path: Path) -> set[str]:
    """The project's modules that the file imports, with full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
            if (TOP / node.module.replace(".", "/")).is_dir():  # from harness import pairs
                found.discard(node.module)
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def below(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)


def files(package: str) -> list[Path]:
    return sorted((TOP / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP).with_suffix("").parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_left_of_it(package):
    assert files(package)
    wrong = {
        f"{path.relative_to(TOP)} imports {name}"
        for path in files(package)
        for name in imports(path)
        if not below(name, ALLOWED[package])
    }
    assert not wrong


def needs(module: str) -> set[str]:
    """The modules of its own package that `module` imports, anywhere in its text."""
    path = TOP / (module.replace(".", "/") + ".py")
    package = module.partition(".")[0]
    return {name for name in imports(path) if below(name, (package,))} if path.exists() else set()


@pytest.mark.parametrize("package", ["harness", "reports", "vm", "workloads"])
def test_no_module_imports_what_imports_it(package):
    """`TopologicalSorter` raises `CycleError`; an import inside a function counts too.

    `model` is left out: two of its pairs of modules name each other's types.
    """
    names = {module_of(path) for path in files(package)}
    order = TopologicalSorter({name: needs(name) for name in names})
    assert names <= set(order.static_order())


def test_what_others_import_of_the_harness_stays_free_of_the_rest():
    found = [path for path in files("harness") if below(module_of(path), JUDGES)]
    wrong = {
        f"{path.relative_to(TOP)} imports {name}"
        for path in found
        for name in imports(path)
        if not below(name, ("workloads", *JUDGES))
    }
    assert {name for name in JUDGES for path in found if below(module_of(path), (name,))} == {
        *JUDGES
    }
    assert not wrong


def test_the_on_disk_format_is_free_of_the_model():
    wrong = {
        f"{path.relative_to(TOP)} imports {name}"
        for path in files("model/image")
        for name in imports(path)
        if not below(name, ("model.image", "workloads.host_files", *SHARED))
    }
    assert files("model/image")
    assert not wrong


def test_relative_imports_stay_inside_the_agent():
    """The agent runs in the guest without the project, so it imports only itself."""
    relative = {
        path.parent.relative_to(TOP).as_posix()
        for package in PACKAGES
        for path in files(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert relative <= {"vm/agent"}
    for path in files("vm/agent"):
        assert not imports(path), path


def test_the_check_sees_a_wrong_import(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        "import vm.guest\nfrom harness.running import runner\nfrom model.run import Model\n"
    )
    assert imports(path) == {"vm.guest", "harness.running.runner", "model.run"}
    assert not below("harness.running.runner", ALLOWED["vm"])
