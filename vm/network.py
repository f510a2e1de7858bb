"""A network of the guest's own: an anonymous namespace with a TAP device and a UDP socket.

It carries netconsole, the kernel's log by UDP, which arrives even when the console and the
agent are dead. The namespace lives by the descriptors that were opened in it and has no
name, so that the kernel removes it with them, also after `kill -9`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass

from vm.errors import MachineryError

__all__ = ["GUEST", "HOST", "Network", "NetworkUnavailableError", "make_network"]

HOST, GUEST, PREFIX = "10.0.2.1", "10.0.2.2", 24
PORT, SOURCE_PORT = 6666, 6665
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_NAME = "tap0"
_MAC = "02:00:00:00:00:01"
"""The host's side in every namespace: a guest that was kept goes on in another one."""
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 16 << 20
_WITHOUT = "no netconsole, only the serial log"


class NetworkUnavailableError(MachineryError):
    """The host does not allow a network namespace or a TAP device; the message says why."""


@dataclass(frozen=True)
class Network:
    """`tap` is the descriptor for QEMU, `mac` the host's side, `socket` gets the messages."""

    tap: int
    mac: str
    socket: socket.socket

    @property
    def netconsole(self) -> str:
        """The module parameter that makes the guest send its log here.

        See Documentation/networking/netconsole.rst.
        """
        return f"netconsole={SOURCE_PORT}@{GUEST}/eth0,{PORT}@{HOST}/{self.mac}"

    @property
    def boot_parameter(self) -> str:
        """The same for the command line of a kernel that has netconsole built in."""
        return f"netconsole.{self.netconsole}"

    def close_tap(self) -> None:
        """Close this process's TAP descriptor, once QEMU has its own."""
        os.close(self.tap)

    def close(self) -> None:
        """Close both descriptors."""
        self.close_tap()
        self.socket.close()


def make_network() -> Network:
    """A namespace of its own with everything in it; `NetworkUnavailableError` if not allowed.

    A thread moves into the new namespace and makes the devices; the caller stays where it
    is.
    """
    made: list[Network] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(_make_in_new_namespace())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if not failed:
        return made[0]
    error = failed[0]
    if isinstance(error, OSError):
        raise NetworkUnavailableError(f"{_WITHOUT}: {error.strerror}") from error
    raise error


def try_network() -> tuple[Network | None, str]:
    """A network, or the reason why there is none."""
    try:
        return make_network(), ""
    except NetworkUnavailableError as error:
        return None, str(error)


def _make_in_new_namespace() -> Network:
    _unshare_network()
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        _make_tap()
        request = struct.pack("16sH22x", _NAME.encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(tap, _TUNSETIFF, request)
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A panic sends the whole log at once, in packets that count as a KiB each.
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        receiver.bind((HOST, PORT))
    except BaseException:
        os.close(tap)
        raise
    return Network(tap, _MAC, receiver)


def _make_tap() -> None:
    """Make the TAP device, with the host's address, and set it up."""
    # A third of what importing the harness would cost; most commands start no guest.
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415

    try:
        with IPRoute() as route:
            route.link("add", ifname=_NAME, kind="tuntap", mode="tap")
            (index,) = route.link_lookup(ifname=_NAME)
            route.addr("add", index=index, address=HOST, prefixlen=PREFIX)
            route.link("set", index=index, address=_MAC, state="up")
    except NetlinkError as error:
        raise NetworkUnavailableError(f"{_WITHOUT}: {error.args[-1]}") from error


def _unshare_network() -> None:
    """Move the calling thread into a new network namespace (`os.unshare` is new in 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")
