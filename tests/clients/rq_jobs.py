"""What rq's workers run."""


def add(a, b):
    return a + b


def fail():
    raise ValueError("as planned")
