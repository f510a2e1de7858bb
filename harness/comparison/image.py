"""Compare images in canonical form: every field of each path, and of the whole."""

from __future__ import annotations

from harness.comparison.findings import Findings
from harness.extent import Extent, runs
from harness.image.difference import WHOLE, differences
from harness.image.form import FORM, Canonical

__all__ = ["IMAGE", "compare_forms"]

IMAGE = "image "
"""What the fields of images in canonical form begin with."""


def compare_forms(found: Findings, expected: Canonical | None, actual: Canonical | None) -> None:
    """The images in canonical form: every field of each path, and of the whole."""
    if expected is None or actual is None:
        # Without the kernel's there was nothing to compare the other one with.
        found.skip(None, FORM, expected is None and actual is not None, actual is None)
        return
    reasons = {**found.reasons[1], **found.reasons[0]}
    left_open = {
        key: why
        for key, why in reasons.items()
        if key != FORM and f".{IMAGE}" in f".{key}"  # `image FIELD`, `PATH.image FIELD`
    }
    for key, why in left_open.items():
        found.not_compared[key[key.index(IMAGE) :], why] += 1
    found.compared += expected.fields - len(left_open)
    for each in differences(expected, actual):
        file = None if each.path == WHOLE else each.path
        field = f"{IMAGE}{each.field}"
        if (field if file is None else f"{file}.{field}") not in left_open:
            found.differ(file, field, _form_value(each.first), _form_value(each.second))


def _form_value(value: object) -> object:
    """A field of a canonical form as reports show it."""
    if isinstance(value, tuple) and any(isinstance(item, Extent) for item in value):
        return runs(value)
    return "nothing" if value is None else value
