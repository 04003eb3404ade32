"""What is said of a process that ends without a word, and of one that ends as it should."""

import subprocess
import sys

import pytest

ENDS = {
    "in its C++": ("words = LastWords('gone')\nos._exit(1)", "gone\n"),
    "killed": ("words = LastWords('gone')\nos.kill(os.getpid(), 9)", "gone\n"),
    "as it should": ("words = LastWords('gone')", ""),
    "by an error": ("words = LastWords('gone')\nsys.exit('no')", "no\n"),
    "unsaid": ("words = LastWords('gone')\nwords.unsay()\nwords.unsay()\nos._exit(0)", ""),
    "forgotten": ("LastWords('gone')\nos._exit(0)", ""),
}


@pytest.mark.parametrize(("ends", "said"), ENDS.values(), ids=ENDS)
def test_a_line_is_said_only_of_a_process_that_ends_without_a_word(ends, said):
    code = f"import os, sys\nfrom cfcam.jobs.cluster.last_words import LastWords\n{ends}"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == said  # which is whole once the small process has ended too
