"""What a kernel can do: it is booted, and the agent tries everything that runs make use of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from harness.trace import Complaint
from vm import mkfs
from vm.boot_failure import lacking_error, remedy
from vm.channel import Row
from vm.errors import AgentDiedError, KernelError, KernelPanicError
from vm.guest import Guest
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.log.parser import complaints_in
from workloads.images import IMAGES

__all__ = ["ABILITIES", "Ability", "Answer", "Probe", "probe"]


@dataclass(frozen=True)
class Ability:
    """Something that a kernel may be able to do.

    `needed` says what is lost without it; `options` which configuration gives it, empty if
    none does; `module` which module does, if it may be one.
    """

    name: str
    needed: str
    options: str = ""
    module: str = ""


_FAULTS = "CONFIG_FAULT_INJECTION=y, CONFIG_FAULT_INJECTION_DEBUG_FS=y"

ABILITIES = (
    Ability("buffered_iomap", "the iomap path is not tested"),
    Ability("reservation tracepoints", "no workload runs: their events are compared",
            "CONFIG_FTRACE=y, CONFIG_ENABLE_DEFAULT_TRACERS=y"),
    Ability("large folios, buffer_head", "folios of one page only on the buffer_head path"),
    Ability("large folios, iomap", "folios of one page only on the iomap path"),
    Ability("es cache ioctl", "the extent status tree cannot be looked at"),
    Ability("page poison", "freed pages keep their content, so stale memory shows less often",
            "CONFIG_PAGE_POISONING=y"),
    Ability("quota netlink", "quota warnings are not compared",
            "CONFIG_QUOTA=y, CONFIG_QUOTA_NETLINK_INTERFACE=y, CONFIG_QFMT_V2=y", "quota_v2"),
    Ability("netconsole", "a kernel that dies is heard by the serial line only",
            "CONFIG_NETCONSOLE=y, CONFIG_VIRTIO_NET=y, CONFIG_INET=y", "netconsole"),
    Ability("debugfs", "fault injection cannot be set up", "CONFIG_DEBUG_FS=y"),
    Ability("failslab", "slab allocations cannot be made to fail",
            f"{_FAULTS}, CONFIG_FAILSLAB=y"),
    Ability("fail_page_alloc", "page allocations cannot be made to fail",
            f"{_FAULTS}, CONFIG_FAIL_PAGE_ALLOC=y"),
    Ability("fail_make_request", "I/O requests cannot be made to fail",
            f"{_FAULTS}, CONFIG_FAIL_MAKE_REQUEST=y"),
    Ability("fail_function", "functions cannot be made to fail",
            f"{_FAULTS}, CONFIG_FUNCTION_ERROR_INJECTION=y, CONFIG_FAIL_FUNCTION=y"),
    Ability("dm-flakey", "no disk that loses writes", "CONFIG_BLK_DEV_DM=y, CONFIG_DM_FLAKEY=y",
            "dm-flakey"),
    Ability("dm-log-writes", "the order of writes cannot be recorded",
            "CONFIG_BLK_DEV_DM=y, CONFIG_DM_LOG_WRITES=y", "dm-log-writes"),
    Ability("mglru", "nothing: the guest switches it off", "CONFIG_LRU_GEN=y"),
    Ability("lockdep", "wrong orders of locks are not noticed", "CONFIG_PROVE_LOCKING=y"),
    Ability("kasan", "wrong accesses to memory are not noticed", "CONFIG_KASAN=y"),
    Ability("kfence", "wrong accesses to memory are not noticed by sampling", "CONFIG_KFENCE=y"),
    Ability("config.gz", "its configuration is known only from a file beside the image",
            "CONFIG_IKCONFIG_PROC=y"),
)  # fmt: skip
"""In the order in which people want to read them."""


@dataclass(frozen=True)
class Answer:
    """Whether a kernel has an ability; None if it could not be told. `detail` may be empty."""

    ability: Ability
    has: bool | None
    detail: str

    @property
    def remedy(self) -> str:
        """What gives the ability to a kernel that lacks it."""
        if self.has is not False or not self.ability.options:
            return ""
        return self.ability.options


@dataclass(frozen=True)
class Probe:
    """What a boot of one kernel told.

    `seconds` is from the kernel's first moment to the agent's first word; `accel` how it
    was run; `complaints` what the kernel said against itself in all that.
    """

    kernel: KernelIdentity
    image: str
    accel: str
    seconds: float
    answers: tuple[Answer, ...]
    complaints: tuple[Complaint, ...]


def probe(kernel: Kernel, accel: str = "auto") -> Probe:
    """Boot `kernel` and try everything.

    Raises `KernelError` if it does not boot or does not mount an ext4, other
    `MachineryError`s if it cannot be told whose fault it is.
    """
    with Guest.start(kernel, accel, bare=True) as guest:
        if "/dev/vda" in guest.hello["lacking"]:
            raise lacking_error(kernel, guest.hello["lacking"])
        guest.disk.reset(mkfs.image_file(IMAGES["4k"]))
        request = {"cmd": "probe", "device": "/dev/vda"}
        try:
            done = guest.ask(request, guest.deadlines.step, "probing")
            log = guest.ask({"cmd": "log"}, guest.deadlines.step, "probing")["done"]
        except KernelPanicError as error:
            raise KernelError(f"{kernel.image} does not survive a look: {error}") from error
        except AgentDiedError as error:
            reason = f"{kernel.image} does not run workloads: {error}"
            raise KernelError(f"{reason}\nwhat to do: {remedy(reason)}") from error
        _refuse_unmounted(kernel, done)
        return Probe(
            kernel=guest.kernel,
            image=str(kernel.image),
            accel=guest.accel.name,
            seconds=float(guest.hello["uptime"]),
            answers=tuple(_answers(kernel, guest, done["done"])),
            complaints=complaints_in(log),
        )


def _refuse_unmounted(kernel: Kernel, row: Row) -> None:
    if "error" in row:
        said = "".join(f"\n  {line}" for line in row.get("log", ())[-4:])
        raise KernelError(
            f"{kernel.image} does not mount ext4 ({row['error']}): it needs CONFIG_EXT4_FS=y and"
            f" CONFIG_VIRTIO_BLK=y{said}"
        )


def _answers(kernel: Kernel, guest: Guest, told: dict[str, Row]) -> list[Answer]:
    knows = guest.knows_buffered_iomap
    own: dict[str, Row] = {
        "buffered_iomap": {"has": knows, "detail": ""},
        "large folios, iomap": {"has": False, "detail": "there is no iomap path"},
        "netconsole": {"has": not guest.netconsole, "detail": guest.netconsole},
    }
    rows = {**own, **told}
    answers = []
    for ability in ABILITIES:
        row = rows[ability.name]
        answer = Answer(ability, row["has"], row["detail"])
        if answer.has is False and _is_module(kernel, ability.module) and not answer.detail:
            detail = f"the module {ability.module} is there; the guest does not load it"
            answer = dataclasses.replace(answer, detail=detail)
        answers.append(answer)
    return answers


def _is_module(kernel: Kernel, name: str) -> bool:
    if not name or kernel.modules is None:
        return False
    return any(kernel.modules.rglob(f"{name}.ko*"))
