"""Stack traces in a report, and which function of them is at fault.

The function at fault is the first one that is not a helper: one that only reports, checks,
copies, locks or sleeps for whoever called it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Frame", "at_fault", "frames", "is_frame", "own_stack", "plain_name"]

_SYMBOL = r"(?P<name>[A-Za-z_][\w.$]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)"
_WHERE = r"(?: \[(?P<module>\w+)[^\]]*\])?(?: (?P<where>[\w./-]+:\d+))?"
_FRAME = re.compile(rf"\s+(?:\[<[0-9a-fx]+>\] )?(?P<guess>\? )?{_SYMBOL}{_WHERE}")
_BARE = re.compile(rf"(?:\[<[0-9a-fx]+>\] )?(?P<guess>\? )?{_SYMBOL}{_WHERE}\s*$")
_INLINE = re.compile(r"\s+(?P<name>[A-Za-z_]\w*) (?P<where>[\w./-]+:\d+) \[inline\]")
_RIP = re.compile(rf"\s*(?:RIP: 0010:|RIP: 0010:\[<\w+>\] +\[<\w+>\] |pc : ){_SYMBOL}{_WHERE}")
_OTHER_TASK = re.compile(
    r"(?:Allocated|Freed|Last potentially related work creation|Object was|Uninit was)\b"
    r"|Modules linked in|Showing all locks|the existing dependency chain"
)
"""What follows is the stack of another moment, or no stack at all."""

_SUFFIX = re.compile(r"(?:\.(?:isra|constprop|part|cold|llvm|lto_priv)(?:\.\d+)*)+$")

_HELPERS = re.compile(
    r"(?:__)?dump_stack\w*|show_(?:stack|trace|regs)\w*|(?:__)?print_\w+|(?:__)?warn\w*|__report_bug"
    r"|report_bug|handle_bug|panic|check_panic_on_warn|vpanic|oops_\w+|die\w*|exc_\w+|asm_\w+"
    r"|do_(?:error_)?trap\w*|do_user_addr_fault|do_general_protection|page_fault_oops"
    r"|fixup_bug|(?:do_)?invalid_op|error_entry|sysvec_\w+|(?:__)?sysrq\w*|nmi_\w+|\w*_?backtrace\w*"
    r"|(?:__)?k[acm]san_\w+|__[ak]san_\w+|__tsan_\w+|__msan_\w+|check_memory_region\w*|kfence_\w+"
    r"|check_bytes|check_canary\w*|set_track\w*|save_stack\w*|stack_trace_\w+|instrument_\w+"
    r"|(?:__)?mem(?:cpy|set|move|cmp|chr)\w*|str(?:n|l|s|r)?(?:cpy|cmp|len|chr|str|casecmp)\w*|rb_\w+|__rb_\w+"
    r"|__?(?:arch_)?copy_(?:to|from)_user\w*|copy_(?:to|from)_user\w*|rep_(?:movs|stos)\w*"
    r"|_?copy_(?:to|from)_iter\w*|(?:__)?ubsan\w*|handle_overflow"
    r"|refcount_\w+|__refcount_\w+|kref_\w+|__kref_\w+|arch_static_\w+"
    r"|__?list_\w+|list_\w+|hlist_\w+|__hlist_\w+"
    r"|(?:__)?(?:debug|odebug)_(?:object|print|check|timer)\w*|(?:__)?check_heap_object|usercopy_\w+"
    r"|__check_object_size|lock_acquire\w*|lock_release\w*|(?:__)?lock_(?:is|pin|unpin|set)\w*"
    r"|(?:__)?lockdep_\w+|check_(?:prev|prevs|deadlock|noncircular|irq)\w*|validate_chain"
    r"|mark_(?:lock|usage|held)\w*|valid_state|register_lock_class|assign_lock_key|add_lock_to_list"
    r"|debug_(?:check|locks|mutex|rt|spin)\w*|spin_(?:bug|dump)|rwlock_bug|do_raw_\w+|osq_lock|fortify_panic|__fortify_\w+"
    r"|_?raw_(?:spin|read|write)_\w+|__raw_\w+|(?:__)?might_(?:sleep|fault|resched|alloc)\w*"
    r"|(?:__)?schedule\w*|io_schedule\w*|preempt_schedule\w*|(?:__)?cond_resched\w*|context_switch|__switch_to\w*|__x86_\w+"
    r"|schedule_debug|(?:__)?mutex_lock\w*|(?:__)?ww_mutex\w*|mutex_unlock\w*|__down\w*|down_\w+"
    r"|down|rwsem_\w+|(?:__)?percpu_down\w*|percpu_rwsem\w*|call_rwsem\w*|up_(?:read|write)\w*"
    r"|(?:__)?wait_(?:on|for|event|woken)_\w+|do_wait_for_common|(?:__)?wait_rcu_gp\w*"
    r"|bit_wait\w*|out_of_line_wait\w*|prepare_to_wait\w*|finish_wait|(?:__)?synchronize_\w+"
    r"|folio_wait_\w+|folio_lock\w*|__folio_lock\w*|wait_on_\w+|__lock_page\w*|__lock_buffer"
    r"|flush_work\w*|__flush_work\w*|__cancel_work\w*|blk_mq_(?:freeze|run|submit|get)\w*"
    r"|rcu_\w+|__rcu_\w+|check_(?:cpu_stall|preemption_disabled|wait_context)|print_stall\w*"
    r"|sched_show_task|dump_cpu_task|___might_sleep|(?:__this_cpu|debug_smp|__check)_\w+|__sanitizer_cov\w*|__lock_\w+|ldsem_\w+"
    r"|kthread_stop|__?filemap_fdatawait\w*|perf_trace_lock\w*|smp_call_function\w*"
    r"|(?:__)?k[vmz]+alloc\w*|kv?free\w*|v?realloc\w*|free_large_kmalloc\w*|krealloc\w*|__alloc_\w*pages\w*"
    r"|crc\w*|hex_\w+|skb_panic|assertfail|kmem_cache_\w+|__slab_\w+|slab_(?:alloc|free)\w*|___slab_\w+"
    r"|(?:local_)?\w*apic\w*|update_process_times|tick_\w+|(?:__)?hrtimer\w*"
    r"|watchdog\w*|call_timer_fn|run_timer\w*|handle_irq\w*|common_interrupt|irq_\w+|do_softirq\w*"
    r"|__do_softirq|handle_softirqs|trace_hardirqs\w*|native_\w+|pv_\w+|__raw_callee\w*"
    r"|bad_page\w*|(?:__)?free_(?:pages|one|unref|frozen)\w*|free_tail_page\w*|check_(?:new|free)_page\w*"
    r"|should_fail\w*|fail_dump|__should_fail\w*|fei_\w+|aggr_pre_handler|\w*kprobe\w*|optimized_callback|int3_\w+"
    r"|dump_header|warn_alloc|__warn_printk|warn_slowpath\w*"
    r"|object_err|slab_(?:err|bug|fix|pad_check)\w*|check_(?:slab|object)\w*|on_freelist|print_trailer"
    r"|entry_SYSCALL\w*|do_syscall_\w+|ret_from_fork\w*|kthread|x64_sys_call|memory_failure\w*"
)


@dataclass(frozen=True)
class Frame:
    """One line of a stack trace. `where` is `FILE:LINE` if the log or symbols tell it.

    `offset` and `size` are bytes, None for an inlined function; `guess` marks what the
    unwinder only found lying on the stack (`?`).
    """

    name: str
    offset: int | None = None
    size: int | None = None
    module: str | None = None
    where: str | None = None
    guess: bool = False

    def __str__(self) -> str:
        text = self.name
        if self.offset is not None and self.size is not None:
            text += f"+{self.offset:#x}/{self.size:#x}"
        if self.module:
            text += f" [{self.module}]"
        return f"{text} {self.where}" if self.where else text


def plain_name(name: str) -> str:
    """A function's name without the suffixes that the compiler gives to its copies."""
    return _SUFFIX.sub("", name)


def _frame(match: re.Match[str]) -> Frame:
    found = match.groupdict()
    offset, size = found.get("offset"), found.get("size")
    return Frame(
        found["name"],
        int(offset, 16) if offset else None,
        int(size, 16) if size else None,
        found.get("module"),
        found.get("where"),
        bool(found.get("guess")),
    )


def is_frame(line: str) -> bool:
    """Whether `line` belongs to a stack trace."""
    return bool(_FRAME.match(line) or _BARE.match(line) or _INLINE.match(line))


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """The stack of the first trace in a report, from where the report was made outwards.

    The instruction pointer of a trap comes in place of the frames before it. Frames that
    are only guessed are left out.
    """
    for line in lines:
        match = _RIP.match(line)
        if match is None:
            match = _FRAME.match(line) or _INLINE.match(line) or _BARE.match(line)
        if match is not None:
            frame = _frame(match)
            if not frame.guess:
                yield frame


def own_stack(lines: Iterable[str]) -> list[str]:
    """The lines of a report before those that show the stacks of other moments."""
    kept = []
    for line in lines:
        if _OTHER_TASK.match(line):
            if not line.startswith("Modules"):
                break
            continue
        kept.append(line)
    return kept


def at_fault(candidates: Iterable[str]) -> str | None:
    """The first name of `candidates` that is no helper; None if all are."""
    for name in candidates:
        plain = plain_name(name)
        if not _HELPERS.fullmatch(plain):
            return plain
    return None
