"""Which faiss is installed: `faiss-cpu` and `faiss-gpu` own the same folder, and two of them break one silently."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from shotlake.errors import PreflightError

DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs", "faiss")


@cache
def check_one_faiss() -> str:
    """Name and version of the one faiss distribution, as recorded in manifests. Errors: PreflightError."""
    found = installed()
    if not found:
        raise PreflightError("faiss is not installed; install shotlake[cpu] or shotlake[gpu]")
    if len(found) > 1:
        names = " and ".join(found)
        raise PreflightError(f"{names} overwrite each other's files; uninstall all of them, then install one again")
    return " ".join(*found.items())


def installed() -> dict[str, str]:
    """Version of every faiss distribution that is installed, by name."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
