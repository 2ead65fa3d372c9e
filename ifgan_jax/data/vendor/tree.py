"""A delivered folder as one flat list of files: sub-folders, zip and rar parts, links; read only.

Nothing is ever unpacked to disk. Archives that cannot be read here are remembered with the command
that unpacks them; the caller decides whether their content is missed.
"""

import logging
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ifgan_jax.files import LARGEST, read_file

LOGGER = logging.getLogger(__name__)

LARGEST_TEXT = 2**24  # bytes of a label file: RAF-DB's list, the longest, has 0.3 MB
HIGHEST_RATIO = 300  # unpacked to packed size, for files above 16 MiB: bombs reach 1000
UNPACK = {".7z": "7z x {}", ".tar": "tar -xf {}", ".gz": "tar -xzf {}", ".tgz": "tar -xzf {}"}


class LayoutError(ValueError):
    """A delivered file is not what its owner documents; names the file and the remedy."""


class Tree:
    """Files below `root` by their relative path; a file of an archive is "part.zip/folder/file".

    Attributes:
      files: sorted paths, "/" between folders, in the letters found on disk.
      unread: archive → the command that unpacks it, for those that cannot be read here.
    """

    def __init__(self, root: str | Path, password: str | None = None) -> None:
        """List everything.

        Raises:
          FileNotFoundError: no such folder.
          LayoutError: a damaged archive, a wrong password, a member outside its archive's folder,
            or one that would unpack to an unreasonable size.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"{self.root}: no such folder; give the one the owner delivered"
            )
        self.unread: dict[str, str] = {}
        self._password = password
        self._members: dict[str, tuple[Any, Any]] = {}  # path → open archive, member
        plain = [path for path in walk(self.root) if (self.root / path).is_file()]
        for path in plain:
            suffix = Path(path).suffix.lower()
            if suffix in (".zip", ".rar"):
                self._open_archive(path, suffix)
            elif suffix in UNPACK:
                self.unread[path] = UNPACK[suffix].format(shlex.quote(str(self.root / path)))
        self.files = sorted([*plain, *self._members])

    def read(self, path: str) -> bytes:
        """The content of one of `files`; LayoutError if it cannot be read."""
        try:
            if path not in self._members:
                return read_file(self.root / path)
            archive, member = self._members[path]
            with archive.open(member) as stream:
                return stream.read(LARGEST)
        except Exception as error:  # the archives' libraries have no common error
            raise LayoutError(f"{self.root / path}: cannot be read ({error})") from error

    def read_text(self, path: str) -> str:
        """A small text: UTF-8 with or without mark, or UTF-16 with one; any kind of line end."""
        content = self.read(path)
        if len(content) > LARGEST_TEXT:
            raise LayoutError(f"{self.root / path}: {len(content)} bytes are no label file")
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        try:
            return content.decode("utf-16" if utf16 else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise LayoutError(f"{self.root / path}: is not UTF-8 text ({error})") from error

    def named(self, pattern: str) -> dict[str, re.Match[str]]:
        """Path → match of the files whose whole base name fits `pattern`, upper or lower case."""
        expression = re.compile(pattern, re.IGNORECASE | re.ASCII)
        matches = ((path, expression.fullmatch(path.rpartition("/")[2])) for path in self.files)
        return {path: match for path, match in matches if match}

    def one_of(self, first: str, second: str) -> str:
        """The first of two copies of one file; LayoutError when their contents differ."""
        if self.read(first) != self.read(second):
            raise LayoutError(
                f"{self.root / first} and {second} have one name and two contents: remove one"
            )
        return first

    def _open_archive(self, path: str, suffix: str) -> None:
        """Add the members of an archive, or remember how to unpack it."""
        full = self.root / path
        try:
            archive, members = (_zip if suffix == ".zip" else _rar)(full, self._password)
        except _CannotReadError:
            tool = "7z x" if suffix == ".zip" else "unrar x"
            self.unread[path] = f"{tool} {shlex.quote(str(full))}"
            return
        for member in members:
            self._members[f"{path}/{_safe_name(full, member)}"] = (archive, member)


class _CannotReadError(Exception):
    """A password or a reader is missing on this machine."""


def _zip(path: Path, password: str | None) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    try:
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
        locked = [member for member in members if member.flag_bits & 1]
        if locked and not password:
            raise _CannotReadError
        if locked:
            archive.setpassword(str(password).encode())
            archive.open(locked[0]).close()
    except _CannotReadError:
        raise
    except NotImplementedError as error:  # AES, or a compression that zipfile lacks
        raise _CannotReadError from error
    except RuntimeError as error:
        raise LayoutError(f"{path}: the password does not fit") from error
    except Exception as error:  # zipfile raises whatever it meets
        raise LayoutError(f"{path}: damaged archive ({error}); fetch it again") from error
    return archive, members


def _rar(path: Path, password: str | None) -> tuple[Any, list[Any]]:
    """By `rarfile` (extra `align`), which needs unrar, unar, 7z or bsdtar for packed members."""
    try:
        import rarfile
    except ImportError as error:
        raise _CannotReadError from error
    try:
        archive = rarfile.RarFile(path)
        if password:
            archive.setpassword(password)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if members:
            archive.open(members[0]).close()
    except (rarfile.RarCannotExec, rarfile.PasswordRequired, rarfile.NoCrypto) as error:
        raise _CannotReadError from error
    except rarfile.RarWrongPassword as error:
        raise LayoutError(f"{path}: the password does not fit") from error
    except Exception as error:
        raise LayoutError(f"{path}: damaged archive ({error}); fetch it again") from error
    return archive, members


def _safe_name(archive: Path, member: Any) -> str:
    """The member's relative path; LayoutError for one that leads out or blows up."""
    name = member.filename.replace("\\", "/")
    if name.startswith("/") or ":" in name or ".." in name.split("/"):
        raise LayoutError(f"{archive}: its member {member.filename!r} lies outside; do not use it")
    packed = max(1, member.compress_size)
    if member.file_size > LARGEST or (
        member.file_size > 2**24 and member.file_size / packed > HIGHEST_RATIO
    ):
        raise LayoutError(
            f"{archive}: its member {member.filename!r} would take {member.file_size} bytes "
            f"unpacked from {packed}; do not use it"
        )
    return name


def walk(root: Path) -> Iterator[str]:
    """Relative paths of all that is no folder; links are followed, each folder once.

    Tells a folder that cannot be listed.
    """
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=_unlisted, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        for name in sorted(names):
            yield Path(folder, name).relative_to(root).as_posix()


def _unlisted(error: OSError) -> None:
    LOGGER.warning("%s cannot be listed (%s): nothing of it is read", error.filename, error)
