"""Checksums without OpenSSL, whose library costs the guest a tenth of a second to load."""

from __future__ import annotations

__all__ = ["Sha256", "md5"]

try:
    from _md5 import md5 as _md5

    from _sha2 import sha256 as Sha256
except ImportError:  # before Python 3.12, or built without them
    from hashlib import md5 as _md5
    from hashlib import sha256 as Sha256


def md5(data: bytes) -> str:
    """The MD5 of `data` in hexadecimal."""
    return str(_md5(data).hexdigest())
