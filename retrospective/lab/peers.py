"""Servers that others wrote, run under the same load as the designs: found on PATH, or visibly absent."""

from __future__ import annotations

import os
import re
import resource
import shutil
import string
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CONFIGURATIONS = Path(__file__).resolve().parent / "peer_configs"
#: Debian keeps servers where only root's PATH looks.
_SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


#: The root of the lab's user namespace may not call initgroups(3), which a server that takes on an identity does. One
#: namespace further in it is nobody, who is left alone, and all that it may touch it still may: to the kernel it is
#: the user that it was. Everyone else starts the server as it is.
_AS_NOBODY = ("/bin/sh", "-c", '[ "$(id -u)" -ne 0 ] || exec unshare --user "$@"; exec "$@"', "sh")


def _may_set_groups() -> bool:
    """Whether this process is a root who may take on any identity (user_namespaces(7))."""
    return os.geteuid() == 0 and Path("/proc/self/setgroups").read_text().strip() == "allow"


@dataclass(frozen=True)
class Peer:
    """A server known by its executable and its committed configuration.

    ``defaults`` are the options a trial may set, with what they are if it does not; ``changes_user`` says that
    it takes on a user's identity whenever it starts as root.
    """

    name: str
    executable: str
    version_flag: str
    arguments: tuple[str, ...]  # {config} and {scratch} are filled in
    defaults: Mapping[str, Any] = field(default_factory=dict)
    changes_user: bool = False

    def path(self) -> Path | None:
        """Return the executable, or ``None``: then ``make system`` (as root) installs it."""
        found = shutil.which(self.executable, path=_SEARCH)
        return Path(found).resolve() if found else None

    def version(self) -> str | None:
        """Return its version, or ``None`` if it is absent."""
        path = self.path()
        if path is None:
            return None
        said = subprocess.run([path, self.version_flag], capture_output=True, text=True, timeout=10)
        found = re.search(r"(?:/|version )(\d[\w.]*)", said.stdout + said.stderr)
        return found[1] if found else None

    def configuration(self, root: Path, address: str, options: Mapping[str, Any], scratch: str | Path) -> str:
        """Text of its configuration; ``ValueError`` names the options it has."""
        unknown = sorted(set(options) - set(self.defaults))
        if unknown:
            raise ValueError(
                f"{self.name} has no option {', '.join(unknown)}: it has {', '.join(self.defaults)}"
            )
        host, port = address.rsplit(":", 1)
        values = {**self.defaults, **options, "root": root, "scratch": scratch, "address": address}
        values |= {"host": host, "port": port, "max_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1]}
        values["user"] = "user: root" if _may_set_groups() else "# user: whoever starts it"
        template = (_CONFIGURATIONS / f"{self.name}.conf").read_text()
        head, body = template.split("\n", 1)  # the first line explains the template
        return head + "\n" + string.Template(body).substitute(values)

    def argv(self, config: str | Path, scratch: str | Path) -> list[str]:
        """Command line, given where the configuration lies."""
        path = self.path()
        if path is None:
            raise FileNotFoundError(f"{self.name} is not installed; as root: make system")
        command = [str(path), *(word.format(config=config, scratch=scratch) for word in self.arguments)]
        return [*_AS_NOBODY, *command] if self.changes_user and not _may_set_groups() else command

    def command(self, root: Path, address: str, options: Mapping[str, Any], scratch: Path) -> list[str]:
        """Write the configuration into ``scratch`` and return the command line."""
        config = Path(scratch) / f"{self.name}.conf"
        config.write_text(self.configuration(root, address, options, scratch))
        return self.argv(config, scratch)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "nginx",
            "nginx",
            "-v",
            ("-p", "{scratch}", "-e", "stderr", "-c", "{config}"),
            {"sendfile": "off", "multi_accept": "off", "backlog": 128, "max_connections": 15000},
        ),
        Peer(
            "lighttpd",
            "lighttpd",
            "-v",
            ("-D", "-f", "{config}"),
            {"backend": "sendfile", "backlog": 128, "max_connections": 15000},
        ),
        Peer("h2o", "h2o", "-v", ("-c", "{config}"), {"max_connections": 15000}, changes_user=True),
    )
}
