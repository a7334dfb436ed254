"""Writing files whole or not at all."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new empty file in the folder of `path` that takes its place at the end of the block, if nothing was raised.

    The old file stays until the new one is whole and on disk; permissions are those of any new file.

    Args:
        path: The file to write.

    Raises:
        OSError: If the folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(target) as work:
        ...     _ = work.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    work = path.parent / f".srzoo-{secrets.token_hex(6)}{path.suffix}"
    os.close(os.open(work, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    mode = stat.S_IMODE(work.stat().st_mode)
    try:
        yield work
        work.chmod(mode)  # some writers, such as safetensors, put a private file in its place
        with open(work, "r+b") as file:  # Windows syncs only what may be written to
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
