"""Freed memory is kept by the process that asks for it."""

import subprocess
import sys

import pytest

PAGES_AFRESH = """
import resource
{setting}
bytearray(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytearray(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(setting: str) -> int:
    code = PAGES_AFRESH.format(setting=setting)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_memory_used_again_costs_no_page_faults() -> None:
    setting = "from purer_lightning.compute.memory import keep_freed_memory; keep_freed_memory()"
    assert _page_faults(setting) < 0.1 * _page_faults("")
