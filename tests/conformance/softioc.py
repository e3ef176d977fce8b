"""The process of the C IOC: loads one .db file, says that it runs, and ends when its stdin does."""

import os
import sys

from epicscorelibs.ioc import start_ioc

if __name__ == "__main__":
    start_ioc(dbs=[(sys.argv[1], "")])
    sys.stdout.write("the C IOC runs\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Not through base's exit handlers, which may wait for their threads.
    os._exit(0)
