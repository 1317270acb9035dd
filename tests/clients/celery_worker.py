"""A celery worker does single tasks, a chain and a chord."""

import os
import subprocess
import sys

os.environ["SERVER"] = f"redis://{sys.argv[1]}:{sys.argv[2]}/0"
from celery import chain, chord
from celery_tasks import add, app, total

worker = subprocess.Popen(
    [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "solo", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"],
    stdout=subprocess.DEVNULL,
)
try:
    results = [add.delay(n, 1) for n in range(10)]
    assert [result.get(timeout=60) for result in results] == list(range(1, 11))
    assert chain(add.s(1, 2), add.s(10))().get(timeout=60) == 13
    assert chord([add.s(n, n) for n in range(5)], total.s())().get(timeout=60) == 20
    assert app.control.ping(timeout=5)
finally:
    worker.terminate()
    worker.wait()
print("done")
