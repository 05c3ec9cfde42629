"""Files: written whole or not at all, and folders that one process at a time may write."""

from purer_lightning.files.lock import LOCK, locked
from purer_lightning.files.writing import check_writable, is_stdout, remove_leftovers, replacing, sync

__all__ = ["LOCK", "check_writable", "is_stdout", "locked", "remove_leftovers", "replacing", "sync"]
