"""The time until the first step, of the first run of a process and of the next."""

import subprocess
import sys

CODE = """
import sys, time
time.sleep(0.3)
from llmtrain.launch import clock
clock.begin()
first = clock.waited()
clock.begin()
second = clock.waited()
print(first >= 0.3 or not sys.platform.startswith("linux"), second < 0.3)
"""


def test_the_first_run_began_with_its_process_and_the_next_when_it_began():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
