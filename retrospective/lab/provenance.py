"""What was true of the machine and the programs when a trial was made. No host's, user's or folder's name."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import servers
from retrospective import paths
from retrospective.lab.peers import PEERS

_PACKAGES = (
    *(
        "jinja2",
        "matplotlib",
        "meson",
        "nbclient",
        "ninja",
        "numpy",
        "pandas",
        "papermill",
        "psutil",
        "pyarrow",
    ),
    *("pypandoc_binary", "scipy", "seaborn", "tqdm", "typst"),
)
#: What each CPU is for. An experiment that needs more names them itself.
CPU_MAP = {"server": 0, "client": 1, "lab": 1}


def provenance() -> dict[str, Any]:
    """Everything that a reader needs to judge whether two recorded sets can be compared."""
    return {
        "machine": machine_id(),
        "cpu": {
            "model": cpu_model(),
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "mhz": _cpuinfo("cpu MHz"),
            "cache": _cpuinfo("cache size"),
            "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "virtualisation": virtualisation(),
            "mitigations": _mitigations(),
        },
        "memory_gib": memory_gib(),
        "kernel": {
            "release": os.uname().release,
            "version": os.uname().version,
            "clocksource": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            "congestion": _sysctl("net.ipv4.tcp_congestion_control"),
            "transparent_hugepages": _chosen(_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        },
        "permissions": {
            "root": os.geteuid() == 0,
            "perf_event_paranoid": _sysctl("kernel.perf_event_paranoid"),
            "io_uring_disabled": _sysctl("kernel.io_uring_disabled"),
            "max_user_namespaces": _sysctl("user.max_user_namespaces"),
            "unprivileged_userns_clone": _sysctl("kernel.unprivileged_userns_clone"),
            "apparmor_restrict_unprivileged_userns": _sysctl("kernel.apparmor_restrict_unprivileged_userns"),
        },
        "distribution": _distribution(),
        "build": compiler(),
        "binaries": _binaries(),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "peers": {name: peer.version() for name, peer in PEERS.items()},
        "cpu_map": CPU_MAP,
    }


@functools.cache
def machine_id() -> str:
    """Hash of CPU model, cores, memory and virtualisation: equal for equal machines, nobody's identity."""
    parts = (cpu_model(), os.cpu_count(), memory_gib(), virtualisation(), platform.machine())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def cpu_model() -> str:
    """Return the CPU's name for itself."""
    return _cpuinfo("model name") or _cpuinfo("Hardware") or platform.processor() or platform.machine()


def memory_gib() -> int:
    """Memory, rounded to GiB."""
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


@functools.cache
def virtualisation() -> str:
    """``none``, or by what this machine is made: the hypervisor's name where it gives one."""
    vendor = _text("/sys/class/dmi/id/sys_vendor") or ""
    hypervisor = _text("/sys/hypervisor/type")
    if hypervisor:
        return hypervisor
    for sign, name in (
        ("Amazon EC2", "amazon"),
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("innotek", "virtualbox"),
        ("Microsoft", "hyper-v"),
        ("Google", "google"),
    ):
        if sign in vendor:
            return name
    flags = _cpuinfo("flags") or ""
    return "virtual machine" if " hypervisor" in f" {flags} " else "none"


def compiler(variant: str = "release") -> dict[str, Any]:
    """Compiler and flags of a build, from Meson's own record; empty if it has not been built."""
    folder = servers.build_root() / variant
    try:
        language = json.loads((folder / "meson-info" / "intro-compilers.json").read_text())["host"]["c"]
        command = json.loads((folder / "compile_commands.json").read_text())[0]["command"].split()
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    flags = [
        word for word in command if re.match(r"-(O|f(?!file-prefix)|m|std|D|W)", word) and "/" not in word
    ]
    return {
        "compiler": language["id"],
        "version": language["version"],
        "full_version": language.get("full_version"),
        "flags": flags,
        "variant": variant,
    }


def commit() -> dict[str, Any]:
    """Commit, and whether the tree differs from it; works in another user's clone, and without git."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {"hash": None, "dirty": None}
    return {"hash": head, "dirty": bool(changed)}


def _git(*arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(paths.ROOT), "--no-optional-locks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def _binaries() -> dict[str, str]:
    return {
        name: servers.binary_hash(servers.binary(name))[:16]
        for name in (*servers.designs(), *servers.stack_designs(), *servers.PROGRAMS)
        if name not in servers.unavailable()
    }


def _mitigations() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    if not folder.is_dir():
        return {}
    return {entry.name: _text(entry) or "" for entry in sorted(folder.iterdir())}


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


@functools.cache
def _cpuinfo(key: str) -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _sysctl(name: str) -> str | None:
    return _text("/proc/sys/" + name.replace(".", "/"))


def _chosen(text: str | None) -> str | None:
    """Return the bracketed word of a kernel's list of choices."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found[1] if found else text


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
