"""How each kind of complaint begins, ends and is called.

Titles follow those of syzbot where it has one, so that they can be looked up there. A
title names the kind and the function at fault and nothing that changes from run to run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.trace import ComplaintKind as Kind

__all__ = ["CUT_HERE", "END", "INJECTED", "RULES", "Rule", "stable"]

CUT_HERE = re.compile(r"-+\[ cut here \]-+")
END = re.compile(r"---\[ end (?:trace|Kernel panic)")
"""The last line of the reports that have one."""
INJECTED = "FAULT_INJECTION: forcing a failure"
"""How the kernel says that it lets something fail because it was asked to (lib/fault-inject.c)."""

_F = r"(?P<function>[A-Za-z_][\w.$]*)"
_FAT = rf"{_F}\+0x"


@dataclass(frozen=True)
class Rule:
    """A kind of complaint: `start` matches its first line, from the line's beginning.

    `title` is a format of the groups of `start` and of `function`, the function at fault;
    `bare` the title where no function is known (default: `title` up to its last ` in `).
    `lines` is how far its report goes: a single line (`one`), to its stack trace's end
    (`trace`), to the mark that ends it (`mark`), or to a line of `=` (`rule`).
    `at` matches the line that names the function, if a stack trace does not; `fatal` tells
    that an oops or a panic may follow as part of it.
    """

    kind: Kind
    start: re.Pattern[str]
    title: str
    lines: str = "one"
    bare: str | None = None
    at: re.Pattern[str] | None = None
    fatal: bool = False

    def untraced(self) -> str:
        """The format of the title where no function is known."""
        return self.bare or re.sub(r"(?: in)? \{function\}.*", "", self.title)


def _rule(
    kind: Kind,
    start: str,
    title: str,
    lines: str = "one",
    *,
    bare: str | None = None,
    at: str | None = None,
    fatal: bool = False,
) -> Rule:
    return Rule(kind, re.compile(start), title, lines, bare, re.compile(at) if at else None, fatal)


_ACQUIRED = rf".*(?:, at: |^at: )(?:\[<[0-9a-fx]+>\] )?{_FAT}"
_SECONDS = r"(?: in I/O wait)? for more than \d+ seconds"

_MEMORY = (
    _rule(Kind.KASAN, rf"BUG: KASAN: (?P<bug>[\w-]+) (?:on \w+ )?in {_F}",
          "KASAN: {bug}{access} in {function}", "rule", fatal=True),
    _rule(Kind.KASAN, r"BUG: KASAN: (?P<bug>[\w-]+)", "KASAN: {bug}", "rule", fatal=True),
    _rule(Kind.KFENCE, rf"BUG: KFENCE: (?P<bug>[\w -]+?) in {_F}", "KFENCE: {bug} in {function}",
          "rule"),
    _rule(Kind.KMSAN, rf"BUG: KMSAN: (?P<bug>[\w-]+) in {_F}", "KMSAN: {bug} in {function}",
          "rule"),
    _rule(Kind.KCSAN, r"BUG: KCSAN: (?P<bug>[\w -]+?) in (?P<pair>.+)", "KCSAN: {bug} in {pair}",
          "rule"),
    _rule(Kind.UBSAN, r"UBSAN: (?P<bug>[\w -]+?) in \S+?:\d+", "UBSAN: {bug} in {function}",
          "mark"),
    _rule(Kind.MEMORY, r"pagealloc: (?P<bug>memory corruption|single bit error)",
          "pagealloc: {bug}", "trace"),
    _rule(Kind.MEMORY, r"BUG (?P<cache>[\w-]+) ?\((?:Not t|T)ainted[^)]*\): (?P<bug>[\w /-]+)",
          "slab corruption: {bug} in {cache}", "trace"),
    _rule(Kind.MEMORY, r"BUG: Bad (?P<bug>page state|page map|page cache|rss-counter state)",
          "BUG: Bad {bug}", "trace"),
    _rule(Kind.MEMORY, r"list_\w+ corruption|(?:list|hlist)_\w+ (?:double add|corruption)",
          "BUG: corrupted list in {function}", "mark", fatal=True),
)  # fmt: skip

_LOCKS = (
    _rule(Kind.LOCKDEP, r"WARNING: possible (?:circular|recursive|irq lock inversion)"
          r"|WARNING: \w+IRQ-\w+ -> \w+IRQ-\w+ lock order|(?:\[ )?INFO: \w+-safe -> "
          r"|(?:\[ )?INFO: possible (?:circular|recursive|irq)",
          "possible deadlock in {function}", "trace", at=_ACQUIRED),
    _rule(Kind.LOCKDEP, r"(?:WARNING|\[ INFO): inconsistent lock state",
          "inconsistent lock state in {function}", "trace", at=_ACQUIRED),
    _rule(Kind.LOCKDEP, r"(?:WARNING: |\[ BUG: )(?P<bug>bad unlock balance|held lock freed"
          r"|bad contention)(?: detected)?!", "WARNING: {bug} in {function}", "trace"),
    _rule(Kind.LOCKDEP, r"(?:WARNING: |\[ BUG: )(?P<bug>lock held when returning to user space)!",
          "WARNING: {bug} in {function}", "trace", at=_ACQUIRED),
    _rule(Kind.LOCKDEP, r"(?:WARNING: |\[ BUG: )\S+/\d+ still has locks held!",
          "WARNING: still has locks held in {function}", "trace"),
    _rule(Kind.LOCKDEP, r"(?:WARNING: |\[ INFO: )(?P<bug>Nested lock was not taken"
          r"|suspicious RCU usage|chain_key collision)", "WARNING: {bug} in {function}", "trace"),
    _rule(Kind.LOCKDEP, r"\[ BUG: (?P<bug>Invalid wait context) \]",
          "BUG: {bug} in {function}", "trace", at=_ACQUIRED),
    _rule(Kind.LOCKDEP, r"INFO: trying to register non-static key",
          "INFO: trying to register non-static key in {function}", "trace"),
    _rule(Kind.LOCKDEP, r"BUG: (?P<bug>MAX_LOCK\w+ too low|MAX_STACK_TRACE_ENTRIES too low"
          r"|looking up invalid subclass|key \S+ has not been registered)", "BUG: {bug}", "trace"),
)  # fmt: skip

_STALLS = (
    _rule(Kind.RCU, r"(?:rcu: )?INFO: \w+ (?:self-)?detected (?:expedited )?stalls?",
          "INFO: rcu detected stall in {function}", "trace"),
    _rule(Kind.HUNG, rf"INFO: task .+ blocked{_SECONDS}",
          "INFO: task hung in {function}", "trace"),
    _rule(Kind.LOCKUP, r"(?:(?:NMI )?watchdog: )?BUG: soft lockup",
          "BUG: soft lockup in {function}", "trace"),
    _rule(Kind.LOCKUP, r"(?:(?:NMI )?watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP",
          "BUG: hard lockup in {function}", "trace"),
    _rule(Kind.LOCKUP, r"BUG: workqueue lockup", "BUG: workqueue lockup"),
    _rule(Kind.ATOMIC, r"BUG: (?P<bug>sleeping function called from invalid context)",
          "BUG: {bug} in {function}", "trace"),
    _rule(Kind.ATOMIC, r"BUG: (?P<bug>scheduling while atomic"
          r"|scheduling in a non-blocking section)",
          "BUG: {bug} in {function}", "trace"),
    _rule(Kind.LOCKDEP, r"BUG: (?P<bug>(?:spinlock|rwlock) [a-z ]+?) on CPU",
          "BUG: {bug} in {function}", "trace"),
    _rule(Kind.ATOMIC, r"BUG: (?P<bug>workqueue leaked [a-z ,]*[a-z])", "BUG: {bug}", "trace"),
    _rule(Kind.ATOMIC, r"BUG: (?P<bug>using \w+\(\)) in preemptible",
          "BUG: {bug} in preemptible code in {function}", "trace"),
)  # fmt: skip

_DEATHS = (
    _rule(Kind.OOPS, r"(?:BUG: (?:kernel|unable to handle kernel)|Unable to handle kernel)"
          r" NULL pointer dereference",
          "BUG: unable to handle kernel NULL pointer dereference in {function}", "mark",
          fatal=True),
    _rule(Kind.OOPS, r"(?:BUG: u|U)nable to handle (?:page fault|kernel paging request)",
          "BUG: unable to handle kernel paging request in {function}", "mark", fatal=True),
    _rule(Kind.OOPS, r"(?:Oops: )?(?:segment-related )?general protection fault\b(?!.* ip:)",
          "general protection fault in {function}", "mark", fatal=True),
    _rule(Kind.OOPS, r"(?:Oops: |Internal error: )(?P<bug>[A-Za-z][\w ,-]*?)(?:: [0-9a-f]+| - )",
          "{bug} in {function}", "mark", bare="{bug}", fatal=True),
    _rule(Kind.OOPS, r"(?P<bug>divide[ _]error|invalid opcode|stack segment): [0-9a-f]{4} \[#",
          "{bug} in {function}", "mark", bare="{bug}", fatal=True),
    _rule(Kind.OOPS, r"Oops: [0-9a-f]{4}|Internal error: Oops", "Oops in {function}", "mark",
          bare="Oops", fatal=True),
    _rule(Kind.MEMORY, r"kernel BUG at lib/list_debug\.c", "BUG: corrupted list in {function}",
          "mark", fatal=True),
    _rule(Kind.BUG, r"kernel BUG at ", "kernel BUG in {function}", "mark", fatal=True),
    _rule(Kind.BUG, r"Assertion failure in (?P<function>\w+)\(\)",
          "kernel BUG in {function}", "mark", fatal=True),
    _rule(Kind.PANIC, r"Kernel panic - not syncing: stack-protector: .* corrupted in: "
          r"(?P<function>[\w.]+)", "kernel panic: stack is corrupted in {function}", "mark",
          fatal=True),
    _rule(Kind.OOPS, r"(?:PANIC|traps: PANIC): double fault", "PANIC: double fault in {function}",
          "mark", fatal=True),
    _rule(Kind.PANIC, r"Kernel panic - not syncing: (?P<text>.*)", "kernel panic: {text}",
          "mark", fatal=True),
)  # fmt: skip

_WARNINGS = (
    _rule(Kind.WARNING, rf"WARNING: (?:CPU: \d+ PID: -?\d+ )?(?:\[[^\]]*\] )?(?:at )?"
          rf"(?:[\w./-]+:\d+ )?(?:at )?{_FAT}", "WARNING in {function}", "mark"),
    _rule(Kind.WARNING, r"WARNING: (?:CPU: \d+ PID: -?\d+ )?(?:\[[^\]]*\] )?(?:at )?[\w./-]+:\d+\b",
          "WARNING in {function}", "mark"),
)  # fmt: skip

_FILE_SYSTEM = (
    _rule(Kind.EXT4_ERROR, r"EXT4-fs error \(device [^)]+\)(?::| in) (?P<function>\w+):\d+",
          "EXT4-fs error in {function}"),
    _rule(Kind.EXT4_WARNING, r"EXT4-fs warning \(device [^)]+\): (?P<function>\w+):\d+",
          "EXT4-fs warning in {function}"),
    _rule(Kind.EXT4, r"EXT4-fs \([^)]*\): (?P<text>Delayed block allocation failed)",
          "EXT4-fs: {text}"),
    _rule(Kind.EXT4, r"(?i)EXT4-fs(?: \([^)]*\))?: (?!i_reserved_data_blocks=)"
          r"(?P<text>.*(?:warning|error|fail|corrupt|invalid|bad |wrong|inconsisten|lost"
          r"|not cleared|tracked as orphan|should not happen"
          r"|reserved.data.blocks|unable to).*)", "EXT4-fs: {text}"),
    _rule(Kind.JBD2, r"(?P<text>Aborting journal) on device", "JBD2: {text}"),
    _rule(Kind.JBD2, r"JBD2: (?!(?:Clearing|Ignoring) recovery information)(?P<text>.*)",
          "JBD2: {text}"),
    _rule(Kind.JBD2, r"(?P<text>(?:__)?jbd2_\w+: .*)", "JBD2: {text}"),
    _rule(Kind.IO, r"Buffer I/O error on dev(?:ice)? [^,]+, logical block \w+(?P<text>.*)",
          "Buffer I/O error{text}"),
    _rule(Kind.IO, r"(?:\w+: )?(?:I/O|critical \w+|[\w ]+) error, dev \S+ sector \d+(?: op"
          r" 0x\w+:\((?P<text>\w+)\))?", "I/O error: {text}"),
    _rule(Kind.BUG, r"VFS: Busy inodes after unmount", "VFS: Busy inodes after unmount"),
    _rule(Kind.BUG, r"BUG: Dentry .*still in use", "BUG: Dentry still in use", "mark"),
)  # fmt: skip

_REST = (
    _rule(Kind.INJECTED, INJECTED, "what was asked for failed in {function}", "trace"),
    _rule(Kind.MEMORY, r".+: page allocation failure: order", "page allocation failure", "trace"),
    _rule(Kind.MEMORY, r"SLUB: Unable to allocate memory", "SLUB: unable to allocate memory"),
    _rule(Kind.MEMORY, r"kmemleak: \d+ new suspected", "kmemleak: suspected memory leaks"),
    _rule(Kind.OOM, r".+ invoked oom-killer", "out of memory", "trace"),
    _rule(Kind.OOM, r"Out of memory|oom-kill:", "out of memory"),
    _rule(Kind.USER, r"(?:traps: )?(?P<task>[\w-]+)\[\d+\][: ]+(?P<bug>segfault|general protection"
          r"|trap [\w ]+?)\b.* (?:ip|at)[: ]", "{bug} of {task} in user space"),
    _rule(Kind.LOST, r"\[kernel log messages were overwritten", "kernel log messages were lost"),
    _rule(Kind.BUG, r"BUG: (?P<text>.+)", "BUG: {text}", "trace", fatal=True),
    _rule(Kind.WARNING, r"WARNING: (?P<text>.+)", "WARNING: {text}", "trace"),
)  # fmt: skip

RULES = (
    *_MEMORY, *_LOCKS, *_STALLS, *_DEATHS, *_WARNINGS, *_FILE_SYSTEM, *_REST,
)  # fmt: skip
"""In the order in which they are tried: the special before the general."""

_CHANGING = (
    (re.compile(r"\s*\([^()]*\)"), ""),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+"), "UUID"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[0-9a-f]*\d)[0-9a-f]{8,})\b"), "ADDR"),
    (re.compile(r"\b(?:loop|vd|sd|nvme|dm-|sr|xvd)[a-z]*\d*(?:[np]\d+)*(?:-\d+)?\b"), "DEV"),
    (re.compile(r"(?<![A-Za-z_])-?\d+"), "N"),
)


def stable(text: str) -> str:
    """`text` without what changes from run to run: numbers, addresses, devices, brackets.

    Of several sentences only the first is kept.
    """
    for pattern, instead in _CHANGING:
        text = pattern.sub(instead, text)
    return re.split(r"(?<=[a-z])\. |  | exitcode=", text)[0].strip().rstrip(".:")
