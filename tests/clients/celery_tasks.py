"""A celery application: broker and results in the server under test."""

import os

from celery import Celery

app = Celery("shop", broker=os.environ["SERVER"], backend=os.environ["SERVER"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)
