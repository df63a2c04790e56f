"""A command of ``dids`` in a child process that ends with the contest that started it.

``python -m dids.compare.child run FOLDER``: the same as ``dids run FOLDER``, but it stops as soon
as its standard input ends, which happens however the contest ends. The run goes on at the next
call.
"""

import os
import sys
import threading

from dids.cli import main


def _end_with_the_contest() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: it returns at the end
    os._exit(130)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_contest, daemon=True).start()
    main()
