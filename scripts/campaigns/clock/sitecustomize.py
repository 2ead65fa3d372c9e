"""Found by Python as it starts with this folder on PYTHONPATH: `time.time` runs backwards.

It begins CLOCK_OFFSET seconds from now and loses a second each second. Only this one function:
what reads the clock elsewhere (datetime, file times) does not see it.
"""

import os
import time

_START = time.time()
_OFFSET = float(os.environ["CLOCK_OFFSET"])
_real = time.time
time.time = lambda: 2 * _START - _real() + _OFFSET
