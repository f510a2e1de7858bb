"""A mismatch as a bug report in the kernel's style: plain text, for git send-email."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from harness.artifacts.manifest import FirstBad, Manifest, SideNote
from harness.signature import telling
from harness.specification import rule_noted
from harness.trace import Complaint
from harness.verdict import Compared, Mismatch, Verdict
from reports.blockmap import draw
from reports.panels import pictures_of
from reports.syscalls import call_name, field_name
from reports.words import place_text, value_text
from workloads.syntax import format_op
from workloads.workload import PATH_NAMES

__all__ = ["LIST", "Reproducer", "mail", "subject"]

LIST = "linux-ext4@vger.kernel.org"
REGRESSIONS = "regressions@lists.linux.dev"
WIDTH = 72
SUBJECT = 72
_LOG_LINES = 60
"""Lines of a complaint that are quoted; a report is longer only by what is not its stack."""
_ASCII = str.maketrans({"·": ".", "…": "~"})
_OUR_OWN = re.compile(r" \([^()]*quirk\.[^()]*\)")
"""Remarks in rules that only readers of the specification understand."""
_RESULT = 16
"""Characters of a result that is told."""
_PLACE = re.compile(r"^(?:\w+: )?in .*?: ")
"""How what is said of a panic begins."""
_SHOWN = ("size", "blocks", "extents", "result", "exists")
"""Fields that the program prints."""


class Reproducer(msgspec.Struct, frozen=True):
    """A C program that does what the workload does: `setup` are the commands that make and
    mount the file system, `run` those that build and start it. `missing` says what it lacks."""

    text: str
    setup: Sequence[str]
    run: Sequence[str]
    missing: Sequence[str] = ()


def subject(verdict: Verdict) -> str:
    """The subject line, without `Subject: `; at most `SUBJECT` characters."""
    first = verdict.mismatches[0]
    path = "" if verdict.workload.config.path != "iomap" else "buffered_iomap: "
    start = f"[BUG] ext4: {path}"
    if first.field in ("kernel", "log"):  # of a panic too the kernel's complaint says more
        return _cut(f"{start}{_complaint(verdict)}")
    what = field_name(first.field)
    when = f" after {call_name(first.op)}" if first.op else " after umount"
    if first.field in ("fsck", "image"):
        return _cut(f"{start}{what} complains{when}")
    expected, actual = (" ".join(value_text(value).split()) for value in _values(first))
    if _two(verdict):  # which one is right is for people to say
        whole = f"{start}{what} {expected} or {actual}{when}"
        less = f"{start}{what} differs{when}"
    else:
        whole = f"{start}{what} {actual}, not {expected},{when}"
        less = f"{start}wrong {what}{when}"
    return whole if len(whole) <= SUBJECT else _cut(less)


def mail(
    compared: Compared,
    manifest: Manifest,
    reproducer: Reproducer,
    first_bad: FirstBad | None = None,
    name: str = "",
) -> str:
    """The whole mail with its header; `name` is what the artifact is called.

    Nobody is put into it but the list and, where a commit is to blame, its author; git
    send-email adds who sends it.
    """
    verdict = compared.verdict
    parts = [
        _summary(verdict, manifest),
        _blame(first_bad),
        _differences(verdict),
        _pictures(compared),
        _why(compared),
        _traces(verdict),
        _steps(compared),
        _how(reproducer, verdict),
        _environment(verdict, manifest),
        _footer(manifest, name),
        ["", "==== reproduce.c ====", "", *reproducer.text.splitlines()],
    ]
    body = "\n".join(line.rstrip() for part in parts for line in part).translate(_ASCII)
    return "\n".join([*_header(verdict, first_bad, body), "", body]) + "\n"


def _header(verdict: Verdict, first_bad: FirstBad | None, body: str) -> Iterator[str]:
    yield f"Subject: {subject(verdict)}"
    yield f"To: {LIST}"
    if first_bad is not None:
        yield f"Cc: {first_bad.author}, {REGRESSIONS}"
    if not body.isascii():
        yield "MIME-Version: 1.0"
        yield "Content-Type: text/plain; charset=UTF-8"
        yield "Content-Transfer-Encoding: 8bit"


# --- what happened ----------------------------------------------------------------------


def _summary(verdict: Verdict, manifest: Manifest) -> Iterator[str]:
    first = verdict.mismatches[0]
    config = verdict.workload.config
    place = place_text(first.place, len(verdict.workload.ops))
    what = f' ("{first.op}")' if first.op and len(first.op) < WIDTH else ""
    at = f"at {place}" if isinstance(first.place, int) else place
    kernels = [f"Linux {kernel}" for kernel in dict.fromkeys(verdict.kernels) if kernel]
    where = " and ".join(kernels) or "the kernel"
    yield "Hello,"
    yield ""
    if _two(verdict):
        sides = " and ".join(verdict.subjects)
        said = f"(mounted with {config.mount}) differs between {sides}"
    else:
        said = f"({_path(config.path)}, mounted with {config.mount}) does not do what is expected"
    yield from _filled(f"on {where}, ext4 {said} {at}{what} of the program below:")
    yield ""
    for m in verdict.headline[:1]:
        yield from _pair(m, verdict)
    if manifest.flakiness is not None:
        shown, runs = manifest.flakiness
        yield ""
        yield f"It showed in {shown} of {runs} runs."


def _path(path: str) -> str:
    return "iomap path" if path == "iomap" else "buffer_head path"


def _pair(m: Mismatch, verdict: Verdict) -> Iterator[str]:
    yield f"  {field_name(m.field)}" + (f" of {m.file}" if m.file else "")
    names = verdict.subjects if _two(verdict) else ("expected", "seen")
    width = max(map(len, names))
    for name, value in zip(names, _values(m), strict=True):
        text = value.title if isinstance(value, Complaint) else value_text(value)
        lines = _wrapped(text, WIDTH - width - 6)
        yield f"    {name.ljust(width)}  {lines[0]}"
        yield from (" " * (width + 6) + line for line in lines[1:])


def _differences(verdict: Verdict) -> Iterator[str]:
    rest = verdict.headline[1:]
    if not rest:
        return
    yield from ("", "In the same step also:", "")
    for m in rest:
        yield from _pair(m, verdict)


def _pictures(compared: Compared) -> Iterator[str]:
    for picture in pictures_of(compared):
        yield from draw(picture)


def _why(compared: Compared) -> Iterator[str]:
    """What should happen there, as the specification says, with the functions it follows."""
    verdict = compared.verdict
    if _two(verdict):
        return
    notes = list(dict.fromkeys(note for m in verdict.headline for note in m.because))
    main = telling(notes)
    said = []
    for note in notes:
        rule = rule_noted(note)
        if rule is not None and rule.name in main:
            functions = ", ".join(f"{name}()" for name in rule.kernel)
            gist = _OUR_OWN.sub("", rule.gist.replace("`", ""))
            said += _filled(f"{gist} See {functions}.", "  ")
    if said:
        yield from ("", "What is expected there:", "", *said)


def _traces(verdict: Verdict) -> Iterator[str]:
    seen: set[str] = set()
    for m in verdict.mismatches:
        for value in _values(m):
            if isinstance(value, Complaint) and value.title not in seen:
                seen.add(value.title)
                yield from _trace(value)
        if m.field == "kernel" and str(m.actual) not in seen:
            seen.add(str(m.actual))
            yield from ("", "The kernel ended with:", "", *_filled(str(m.actual), "  "))


def _trace(complaint: Complaint) -> Iterator[str]:
    """The report as the kernel printed it, and its stack with source lines if they are known."""
    when = "" if complaint.step is None else f", in step {complaint.step + 1}"
    yield from ("", f"The kernel's log{when}:", "")
    for line in complaint.lines[:_LOG_LINES]:
        yield f"  {line}"
    if len(complaint.lines) > _LOG_LINES:
        yield f"  ... {len(complaint.lines) - _LOG_LINES} lines more"
    if any(":" in frame for frame in complaint.frames):
        yield from ("", "decoded:", "")
        yield from (f"  {frame}" for frame in complaint.frames)


def _blame(first_bad: FirstBad | None) -> Iterator[str]:
    if first_bad is None:
        return
    yield ""
    yield from _filled(
        f"Bisected, after {first_bad.tested} kernels, from {first_bad.good}; the"
        " first bad commit is"
    )
    yield ""
    yield f'  {first_bad.sha[:12]} ("{first_bad.subject}")'
    yield ""
    yield f"#regzbot introduced: {first_bad.sha[:12]}"


# --- how to see it ----------------------------------------------------------------------


def _steps(compared: Compared) -> Iterator[str]:
    """What was done, with what each call returned."""
    verdict, first = compared.verdict, compared.verdict.mismatches[0].place
    seen = compared.actual.steps if compared.actual is not None else ()
    results = [step.result for step in seen]
    texts = [format_op(op, index) for index, op in enumerate(verdict.workload.ops)]
    width = max((len(text) for text in texts if len(text) <= 40), default=0)
    yield from ("", "Steps (offsets and lengths in bytes):", "")
    for index, text in enumerate(texts):
        mark = ">" if index == first else " "
        call = call_name(text)
        more = f" = {results[index]}" if index < len(results) else ""
        if len(more) > _RESULT:  # the digest of what was read, or ranges
            more = ""
        line = text.ljust(width) + more
        named = f"  ({call})" if call != text.partition(" ")[0] else ""
        if len(line + named) <= WIDTH - 7:
            line, named = line + named, ""
        lines = [*_wrapped(line, WIDTH - 9), *([named] if named else [])]
        yield f" {mark}{index + 1:3}  {lines[0]}"
        yield from (" " * 9 + line for line in lines[1:])
    if first == "final":
        yield " >     (then sync, drop_caches, umount, mount)"


def _how(reproducer: Reproducer, verdict: Verdict) -> Iterator[str]:
    yield from ("", "Reproducer (the C program is at the end of this mail), as root:", "")
    yield from (f"  {line}" for line in (*reproducer.setup, *reproducer.run))
    yield ""
    if reproducer.missing:
        yield from _filled("The program is not complete:")
        yield from (f"  {line}" for line in reproducer.missing)
        return
    if set(verdict.subjects) == set(PATH_NAMES.values()):
        yield from _filled("Mounted with nobuffered_iomap it takes the other path.")
    first = verdict.mismatches[0]
    where = f"step {first.place + 1}" if isinstance(first.place, int) else "the end"
    bare = first.field.partition(",")[0]
    if bare in _SHOWN:
        yield from _filled(
            "It prints the result of each step and then size, st_blocks and extents of each"
            f" file; the lines of {where} show it."
        )
    else:
        yield from _filled(
            f"It does the same system calls, but does not print {field_name(bare)} itself."
        )


# --- where it was seen ------------------------------------------------------------------


def _environment(verdict: Verdict, manifest: Manifest) -> Iterator[str]:
    config = verdict.workload.config
    yield from ("", "Environment:", "")
    yield from _filled(
        f"file system: mke2fs {' '.join(config.image.options)}, {config.image.size >> 20} MiB",
        "  ",
        "    ",
    )
    yield from _filled(f"mount options: noatime,{config.mount}", "  ", "    ")
    known: dict[str, SideNote] = {}
    for side, note in manifest.sides.items():
        if note.identity not in (other.identity for other in known.values()):
            known[side] = note
    for side, note in known.items():
        title = "kernel" if len(known) == 1 else f"kernel ({side})"
        for name, value in _known(note):
            yield from _filled(f"{name or title}: {value}", "  ", "    ")


def _known(note: SideNote) -> Iterator[tuple[str, str]]:
    known = note.identity
    source = known.get("kernel", "")
    if source.startswith(("/", "~", ".")):  # where it lies here tells nobody anything
        source = ""
    yield "", f"{known.get('release', 'unknown')}{source and ', '}{source}"
    for name, title in (
        ("build_id", "build id"),
        ("base", "base commit"),
        ("series", "patches on top"),
        ("flavour", "configuration"),
        ("compiler", "compiler"),
    ):
        if known.get(name):
            yield title, known[name]
    yield "machine", f"QEMU {known.get('qemu', '?')}, {known.get('accel', '?')}, x86_64"


def _footer(manifest: Manifest, name: str) -> Iterator[str]:
    how = "on a kernel and on a model of ext4"
    if manifest.against != "model":
        how = "on two kernels, or two paths of one,"
    yield ""
    yield from _filled(
        f"Found by ext4diff {manifest.harness}, which runs a program {how}, and compares them"
        " after every system call. Traces, disk images, the kernel's log and configuration are"
        f" in {name or 'its artifact'}, which ext4diff replay runs again."
    )


# --- words ------------------------------------------------------------------------------


def _two(verdict: Verdict) -> bool:
    """Whether two kernels, or two paths, were compared, and neither is what is expected."""
    return verdict.kernels[0] is not None


def _values(m: Mismatch) -> tuple[object, object]:
    return m.expected, m.actual


def _complaint(verdict: Verdict) -> str:
    """What the kernel complains of in the first diverging step, or how it ended there."""
    values = (value for m in verdict.headline for value in _values(m))
    titles = [value.title for value in values if isinstance(value, Complaint)]
    return titles[0] if titles else _PLACE.sub("", str(verdict.mismatches[0].actual))


def _cut(text: str) -> str:
    return text if len(text) <= SUBJECT else f"{text[: SUBJECT - 3].rstrip()}..."


def _filled(text: str, indent: str = "", later: str | None = None) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent if later is None else later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _wrapped(text: str, width: int) -> Sequence[str]:
    """Lines of a value; what has no blanks stays whole."""
    return [
        piece
        for line in text.splitlines() or [""]
        for piece in textwrap.wrap(
            line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
        )
        or [""]
    ]
