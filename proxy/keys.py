"""API keys: who may use the service.

    python -m proxy.keys add NAME        makes a key, and prints it once
    python -m proxy.keys remove NAME
    python -m proxy.keys list

The file is the environment variable KEYS_FILE; the service reads it anew when it changes. It holds a name and the
SHA-256 of its key a line. Keys are 256 random bits, so that a plain digest is not to be reversed; they need no salt.
"""

import argparse
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from proxy.errors import ProxyError, SettingsError
from proxy.files import file_version

logger = logging.getLogger(__name__)

LINE = re.compile(r"([A-Za-z0-9._-]{1,64}) ([0-9a-f]{64})")
RELOAD_S = 1.0
"""How often the file is looked at, at most."""


class Keys:
    """The keys of a file.

    Raises:
        SettingsError: The file cannot be read, is open to other users, or is no key file.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._digests = read_digests(path)
        self._version = file_version(path)
        self._looked_at = clock()

    def owner(self, key: bytes) -> str | None:
        """Return the name of a key, or None for one that is unknown; in constant time."""
        self._reload()
        digest = hashlib.sha256(key).hexdigest()
        found = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None

    def _reload(self) -> None:
        if self._clock() - self._looked_at < RELOAD_S:
            return
        self._looked_at = self._clock()
        version = file_version(self._path)
        if version != self._version:
            self._version = version
            try:
                self._digests = read_digests(self._path)
            except SettingsError as exc:
                logger.error("the keys stay as they were: %s", exc)  # noqa: TRY400  (one line says it all)


def read_digests(path: Path) -> dict[str, str]:
    """Return the digests by name.

    Raises:
        SettingsError: The file cannot be read, is open to other users, or is no key file.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SettingsError(f"KEYS_FILE={str(path)!r} is open to other users: chmod 600 {path}")
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"KEYS_FILE={str(path)!r} cannot be read: {exc}") from exc
    digests = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise SettingsError(f"KEYS_FILE={str(path)!r}: line {number} is not `NAME SHA256`")
        digests[match[1]] = match[2]
    return digests


def write_digests(path: Path, digests: Mapping[str, str]) -> None:
    """Write the file anew, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{name} {digest}\n" for name, digest in digests.items())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m proxy.keys", description="Manage API keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("add", "make a key and print it once"), ("remove", "take a key away")):
        commands.add_parser(name, help=text).add_argument("name", metavar="NAME")
    commands.add_parser("list", help="print the names")
    parsed = parser.parse_args(arguments)
    try:
        output = _run(parsed.command, getattr(parsed, "name", ""))
    except ProxyError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    sys.stdout.write(output)
    return 0


def _run(command: str, name: str) -> str:
    if not os.environ.get("KEYS_FILE"):
        raise SettingsError("KEYS_FILE is not set: name the file that holds the keys")
    path = Path(os.environ["KEYS_FILE"])
    digests = read_digests(path) if path.exists() else {}
    if command == "list":
        return "".join(f"{known}\n" for known in digests)
    if command == "remove":
        if name not in digests:
            raise SettingsError(f"there is no key {name!r}")
        write_digests(path, {known: digest for known, digest in digests.items() if known != name})
        return ""
    if not LINE.fullmatch(f"{name} {'0' * 64}"):
        raise SettingsError(f"{name!r} is no name: 1 to 64 letters, digits, dots, dashes and underscores")
    if name in digests:
        raise SettingsError(f"there is a key {name!r} already")
    key = secrets.token_urlsafe(32)
    write_digests(path, {**digests, name: hashlib.sha256(key.encode()).hexdigest()})
    return f"{key}\n"


if __name__ == "__main__":
    sys.exit(main())
