"""Without PyTorch the test run says which tests it left out."""

import subprocess
import sys

from scripts.campaigns.process import ROOT
from tests.runs import environment


def test_names_what_it_left_out():
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'torch' else real(n, *a)\n"
        "import pytest\n"
        "sys.exit(pytest.main(['-n', '0', 'tests/parity']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out, for want of the extra `parity`" in done.stdout, done.stdout + done.stderr
    assert "test_components.py: test_up_conv, test_attention" in done.stdout
